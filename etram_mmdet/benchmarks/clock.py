"""Seconds per part of a step, also where a GPU works behind the program's back."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from etram_mmdet.benchmarks import cuda


class Clock:
    """Collects the seconds of named parts; on a GPU a part ends when the device has done it."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        cuda.synchronize(self.device)
        start = time.perf_counter()
        yield
        cuda.synchronize(self.device)
        self.seconds[name].append(time.perf_counter() - start)

    def milliseconds(self) -> dict[str, dict[str, float]]:
        """Median and percentiles by part, in milliseconds."""
        return {
            name: dict(zip(("median", "p5", "p95"), np.percentile(values, (50, 5, 95)).tolist(), strict=True))
            for name, values in ((n, 1e3 * np.array(v)) for n, v in self.seconds.items())
        }
