"""Ternary event volume: cheap, and the input of ReYOLOv8."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numba import njit

from etram_mmdet.events.columns import Events
from etram_mmdet.events.representations.base import Representation, bin_of


@dataclass(frozen=True)
class TernaryVolume(Representation):
    """Polarity of the last event per time bin and pixel, int8 (bins, H, W).

    Values are -1 for off, 1 for on and 0 for no event. The VTEI of Silva et al. (ReYOLOv8, 2024).
    It has a quarter of the channels of a :class:`StackedHistogram`, and its values do not depend on
    how many events the sensor's thresholds let through.

    Args:
        height: rows of the sensor, in pixels.
        width: columns of the sensor, in pixels.
        bins: number of time bins, one channel each. Default: 5.
        downsample: see :class:`Representation`. Default: ``"none"``.
        edges: see :class:`Representation`. Default: ``"events"``.
    """

    bins: int = 5

    dtype: ClassVar[type] = np.int8
    short_name: ClassVar[str] = "ternary_volume"
    always_named: ClassVar[dict[str, str]] = {"bins": "nbins"}

    @property
    def num_channels(self) -> int:
        return self.bins

    def _fill(self, events: Events, t0_us: int, t1_us: int, out: np.ndarray) -> None:
        _write(*self._downsampled(events), t0_us, max(t1_us - t0_us, 1), out)


@njit(cache=True, nogil=True)
def _write(t, x, y, p, t0_us, span_us, out):
    out[:] = 0
    for i in range(len(t)):
        out[bin_of(t[i], t0_us, span_us, len(out)), y[i], x[i]] = 2 * np.int8(p[i]) - 1
