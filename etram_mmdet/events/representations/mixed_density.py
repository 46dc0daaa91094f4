"""Mixed-density event stack, RVT's second representation: polarity sums over halving windows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numba import njit

from etram_mmdet.events.columns import Events
from etram_mmdet.events.representations.base import Representation

_SMALLEST = np.float32(1e-6)
_JUST_BELOW_ONE = np.float32(1 - 1e-6)
_LOG_HALF = np.float32(math.log(1 / 2))


@dataclass(frozen=True)
class MixedDensityEventStack(Representation):
    """Signed event counts over windows of halving length, int8 (bins, H, W).

    Channel i sums the first (1/2)**(bins - 1 - i) of the time. Bit-exact with
    RVT's class of this name (after the mixed-density stacks of Nam et al., CVPR 2022): sums wrap
    modulo 256 before they are cut. If ``downsample`` sums with a factor above 2, sums are cut
    without wrapping.

    Args:
        height: rows of the sensor, in pixels.
        width: columns of the sensor, in pixels.
        bins: number of channels. Default: 10.
        count_cutoff: largest absolute sum of a cell; ``None`` does not cut. Default: 32.
        downsample: see :class:`Representation`. Default: ``"none"``.
        edges: see :class:`Representation`. Default: ``"events"``.
    """

    bins: int = 10
    count_cutoff: int | None = 32

    dtype: ClassVar[type] = np.int8
    short_name: ClassVar[str] = "mixeddensity_stack"
    always_named: ClassVar[dict[str, str]] = {"bins": "nbins", "count_cutoff": "cutoff"}

    def _at_least_one(self) -> dict[str, float]:
        return {
            "bins": self.bins,
            "count_cutoff": 127 if self.count_cutoff is None else self.count_cutoff,
        }

    @property
    def num_channels(self) -> int:
        return self.bins

    def off_on(self, image: np.ndarray) -> np.ndarray:
        return super().off_on(image[-1:])  # the sum over the whole window

    def _fill(self, events: Events, t0_us: int, t1_us: int, out: np.ndarray) -> None:
        cutoff = 128 if self.count_cutoff is None else self.count_cutoff
        wraps = self.way != "sum" or self.scale == 2
        sums = out if wraps else np.empty(out.shape, np.int32)
        _stack(*self._downsampled(events), t0_us, max(t1_us - t0_us, 1), sums, cutoff)
        if not wraps:
            np.clip(sums, -128, 127, out=out, casting="unsafe")


@njit(cache=True, nogil=True)
def _bin_of(t_us, t0_us, span_us, bins):
    """Time bin with float32 in every step, as in torch.

    With more than 32 bins it rounds up to ``bins`` if t is nearly 1.
    """
    t = min(max(np.float32(t_us - t0_us) / np.float32(span_us), _SMALLEST), _JUST_BELOW_ONE)
    time_bin = np.int64(
        np.floor(max(np.float32(bins) - np.float32(np.log(t)) / _LOG_HALF, np.float32(0)))
    )
    return min(time_bin, bins - 1)


@njit(cache=True, nogil=True)
def _stack(t, x, y, p, t0_us, span_us, out, cutoff):
    out[:] = 0
    bins, height, width = out.shape
    for i in range(len(t)):
        time_bin = _bin_of(t[i], t0_us, span_us, bins)
        out[time_bin, y[i], x[i]] += 2 * np.int8(p[i]) - 1
    for time_bin in range(1, bins):
        for row in range(height):
            for column in range(width):
                out[time_bin, row, column] += out[time_bin - 1, row, column]
    for time_bin in range(bins):
        for row in range(height):
            for column in range(width):
                out[time_bin, row, column] = min(max(out[time_bin, row, column], -cutoff), cutoff)
