"""Two ways of doing the same, timed in turns, so that a busy machine slows both."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from etram_mmdet.benchmarks.clock import Clock


def take_turns(
    ways: dict[str, Callable[[], object]], rounds: int, warm_up: int = 1, device: str = "cpu"
) -> dict[str, np.ndarray]:
    """Seconds of each way in each of ``rounds`` rounds."""
    clock = Clock(torch.device(device))
    for _ in range(warm_up + rounds):
        for name, way in ways.items():
            with clock.part(name):
                way()
    return {name: np.array(values[warm_up:]) for name, values in clock.seconds.items()}


def compared(seconds: dict[str, np.ndarray]) -> dict[str, float]:
    """Medians of ``ours`` and ``reference`` in milliseconds, the median ratio of a round, and that of the best."""
    ours, reference = seconds["ours"], seconds["reference"]
    return dict(
        reference_ms=1e3 * float(np.median(reference)),
        ours_ms=1e3 * float(np.median(ours)),
        ratio=float(np.median(ours / reference)),
        ratio_of_best=float(ours.min() / reference.min()),
    )
