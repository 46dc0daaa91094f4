"""Times of parts of a step. A GPU works in the background, so its work is waited for."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from etram_mmdet.analysis.speed import cuda


class Clock:
    """Collects the seconds of named parts; on a GPU a part ends when the device has finished it.

    Args:
        device: device whose work is waited for.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Times the ``with`` block as one part of this name."""
        cuda.synchronize(self.device)
        start = time.perf_counter()
        yield
        cuda.synchronize(self.device)
        self.seconds[name].append(time.perf_counter() - start)

    def milliseconds(self) -> dict[str, dict[str, float]]:
        """Returns median, 5th and 95th percentile of each part, in milliseconds."""
        return {
            name: dict(
                zip(
                    ("median", "p5", "p95"),
                    np.percentile(values, (50, 5, 95)).tolist(),
                    strict=True,
                )
            )
            for name, values in ((n, 1e3 * np.array(v)) for n, v in self.seconds.items())
        }


def take_turns(
    ways: dict[str, Callable[[], object]], rounds: int, warm_up: int = 1, device: str = "cpu"
) -> dict[str, np.ndarray]:
    """Calls functions in turns and returns the seconds of each call.

    Args:
        ways: function to call, by name.
        rounds: number of timed rounds; each round calls every function once.
        warm_up: number of rounds before them. Default: 1.
        device: device whose work is waited for. Default: "cpu".

    Returns:
        (rounds,) seconds by name.
    """
    clock = Clock(torch.device(device))
    for _ in range(warm_up + rounds):
        for name, way in ways.items():
            with clock.part(name):
                way()
    return {name: np.array(values[warm_up:]) for name, values in clock.seconds.items()}


def compared(seconds: dict[str, np.ndarray]) -> dict[str, float]:
    """Compares the seconds of ``ours`` and ``reference``.

    Args:
        seconds: (rounds,) seconds by name, from :func:`take_turns`.

    Returns:
        ``reference_ms`` and ``ours_ms``, medians in milliseconds; ``ratio``, the median of the
        ratio in each round; ``ratio_of_best``, the ratio of the fastest rounds. A ratio below 1
        means that we are faster.
    """
    ours, reference = seconds["ours"], seconds["reference"]
    return dict(
        reference_ms=1e3 * float(np.median(reference)),
        ours_ms=1e3 * float(np.median(ours)),
        ratio=float(np.median(ours / reference)),
        ratio_of_best=float(ours.min() / reference.min()),
    )
