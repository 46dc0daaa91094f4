"""Two ways of doing the same, timed in turns, so that a busy machine slows both."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch


def take_turns(
    ways: dict[str, Callable[[], object]], rounds: int, warm_up: int = 1, device: str = "cpu"
) -> dict[str, np.ndarray]:
    """Seconds of each way in each of ``rounds`` rounds."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(warm_up + rounds):
        for name, way in ways.items():
            _wait(device)
            start = time.perf_counter()
            way()
            _wait(device)
            seconds[name].append(time.perf_counter() - start)
    return {name: np.array(values[warm_up:]) for name, values in seconds.items()}


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def compared(seconds: dict[str, np.ndarray], per: float = 1.0) -> dict[str, float]:
    """Medians of ``ours`` and ``reference`` in milliseconds, divided by ``per``, and the median ratio of a round."""
    ours, reference = seconds["ours"], seconds["reference"]
    return dict(
        reference_ms=1e3 * float(np.median(reference)) / per,
        ours_ms=1e3 * float(np.median(ours)) / per,
        ratio=float(np.median(ours / reference)),
        ratio_of_best=float(ours.min() / reference.min()),
    )
