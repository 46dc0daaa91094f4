"""Where the checkout is, and how many threads its tests compute with."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Tiny models gain nothing from threads, and threads that spin lose a lot on a machine that does
# something else too.
THREADS = os.environ.get("TEST_THREADS", "1")
