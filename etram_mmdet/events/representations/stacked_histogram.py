"""Stacked histogram, RVT's representation: event counts per polarity and time bin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numba import njit

from etram_mmdet.events.columns import Events
from etram_mmdet.events.representations.base import Representation, first_after_bin


@dataclass(frozen=True)
class StackedHistogram(Representation):
    """Event counts per polarity, time bin and pixel, uint8 (2 * bins, H, W).

    ``representation(events, window_us)`` makes the image. The channel is p * bins + bin. Bit-exact
    with the class of this name in RVT (the reference detector): bins are computed in float32, and
    counts wrap modulo 256 before they are cut. If ``downsample`` is a sum, nothing wraps.

    Args:
        height: rows of the sensor, in pixels.
        width: columns of the sensor, in pixels.
        bins: number of time bins. Default: 10.
        count_cutoff: largest count of a cell; ``None`` means 255. Default: 10.
        wrap_uint8: whether counts wrap modulo 256 as in RVT, so that a pixel hit 256 times reads 0.
            Default: True.
        downsample: see :class:`Representation`. Default: ``"none"``.
        edges: see :class:`Representation`. Default: ``"events"``.
    """

    bins: int = 10
    count_cutoff: int | None = 10
    wrap_uint8: bool = True

    short_name: ClassVar[str] = "stacked_histogram"
    always_named: ClassVar[dict[str, str]] = {"bins": "nbins"}

    def _at_least_one(self) -> dict[str, float]:
        return {
            "bins": self.bins,
            "count_cutoff": 255 if self.count_cutoff is None else self.count_cutoff,
        }

    @property
    def num_channels(self) -> int:
        return 2 * self.bins

    def off_on(self, image: np.ndarray) -> np.ndarray:
        return image.reshape(2, self.bins, *image.shape[1:]).sum(1, dtype=np.float32)

    def _fill(self, events: Events, t0_us: int, t1_us: int, out: np.ndarray) -> None:
        volume = out.reshape(2, self.bins, *out.shape[1:])
        wraps = self.wrap_uint8 and self.way != "sum"
        span_us = max(t1_us - t0_us, 1)
        cutoff = min(self.count_cutoff or 255, 255)
        if self.scale > 2:
            _stack(*self._downsampled(events), t0_us, span_us, volume, cutoff, wraps, 0, False)
        else:  # halves the sensor's pixels without a copy of the events
            _stack(
                *events,
                t0_us,
                span_us,
                volume,
                cutoff,
                wraps,
                self.scale - 1,
                self.way == "nearest",
            )


@njit(cache=True, nogil=True)
def _stack(t, x, y, p, t0_us, span_us, out, cutoff, wraps, shift, odd_pixels_only):
    """Fill ``out`` (2, bins, H, W) bin by bin.

    The planes of one bin stay in the processor's cache until they are cut.
    """
    _, bins, height, width = out.shape
    count_limit = 256 if wraps else cutoff
    kept = np.empty(len(t), np.uint32)
    stop = 0
    for time_bin in range(bins):
        start, stop = stop, first_after_bin(t, stop, t0_us, span_us, bins, time_bin)
        out[:, time_bin] = 0
        num_kept = 0
        for i in range(start, stop):
            # Counting is faster than branching: three in four are left out, in no order that a
            # processor could predict.
            kept[num_kept] = i
            num_kept += not odd_pixels_only or (x[i] & y[i] & 1)
        for i in kept[:num_kept]:
            column = np.int64(x[i]) >> shift
            row = np.int64(y[i]) >> shift
            if column >= width or row >= height:
                continue  # the last column or row of an odd frame
            count = out[p[i], time_bin, row, column]
            if count < count_limit:
                out[p[i], time_bin, row, column] = count + 1
        if cutoff < 255:
            for polarity in range(2):
                for row in range(height):
                    for column in range(width):
                        out[polarity, time_bin, row, column] = min(
                            out[polarity, time_bin, row, column], cutoff
                        )
