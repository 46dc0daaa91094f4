"""How long OpenMP's threads spin while they wait for each other.

Import this before PyTorch, which reads the setting once. The threads of PyTorch's CPU kernels spin
for some time before they sleep. That costs nothing on a quiet machine. Beside another busy program
the spinning thread takes the processor from the very thread that it waits for: a training step of
the demo took three times as long, and one in twenty five times. A short spin keeps the quiet
machine's speed.
"""

from __future__ import annotations

import os

SPINS = "1000"

if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():  # a user's own setting stays
    os.environ["GOMP_SPINCOUNT"] = SPINS
