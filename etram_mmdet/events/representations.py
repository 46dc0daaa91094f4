"""Events of one window as an image with time bins as channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numba import njit

from etram_mmdet.events.recording import Events

Downsample = Literal["none", "nearest"]


@dataclass(frozen=True)
class StackedHistogram:
    """Count events per polarity, time bin and pixel: uint8 (2 * bins, H, W), channel = p * bins + bin.

    Bit-exact with RVT's class of this name: the bins divide the time from the window's first to its last *event* in
    float32, and counts wrap modulo 256 before they are cut (a pixel hit 256 times reads 0; ``wrap_uint8=False`` cuts
    without wrapping). ``count_cutoff=None`` cuts at 255.

    ``downsample="nearest"`` keeps the odd rows and columns only, (2 * bins, H // 2, W // 2), which is what RVT's
    resizing does to its 1-megapixel recordings; three quarters of the events do not reach the result.
    """

    height: int
    width: int
    bins: int = 10
    count_cutoff: int | None = 10
    wrap_uint8: bool = True
    downsample: Downsample = "none"

    def __post_init__(self) -> None:
        if self.bins < 1 or self.height < 1 or self.width < 1:
            raise ValueError(f"bins, height and width must be at least 1: got {self.bins}, {self.height}, {self.width}")
        if self.count_cutoff is not None and self.count_cutoff < 1:
            raise ValueError(f"count_cutoff must be at least 1, or None for no cut: got {self.count_cutoff}")
        if self.downsample not in ("none", "nearest"):
            raise ValueError(f"downsample must be 'none' or 'nearest': got {self.downsample!r}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(2 * bins, H, W) of the result."""
        divisor = 2 if self.downsample == "nearest" else 1
        return 2 * self.bins, self.height // divisor, self.width // divisor

    def __call__(self, events: Events, out: np.ndarray | None = None) -> np.ndarray:
        """Build the tensor, into ``out`` where given; raises ``ValueError`` on events outside the frame."""
        out = np.empty(self.shape, np.uint8) if out is None else out
        if len(events.t) == 0:
            out.fill(0)
            return out
        if events.x.max() >= self.width or events.y.max() >= self.height:
            raise ValueError(
                f"events reach x {events.x.max()}, y {events.y.max()} in a frame of {self.width}x{self.height}; "
                "drop them first (a Recording does)"
            )
        cutoff = min(self.count_cutoff or 255, 255)
        volume = out.reshape(2, self.bins, *out.shape[1:])
        _stack(*events, volume, cutoff, self.wrap_uint8, self.downsample == "nearest")
        return out


@njit(cache=True)
def _bin_of(t_us, t0_us, span_us, bins):
    """Time bin in float32 throughout, as torch divides int64 tensors: a wider type moves events on bin edges."""
    normalized = np.float32(t_us - t0_us) / np.float32(span_us)
    return min(int(np.floor(normalized * np.float32(bins))), bins - 1)


@njit(cache=True)
def _first_after_bin(t, start, span_us, bins, time_bin):
    """First index at or after ``start`` whose bin is later than ``time_bin`` (bins grow with the index)."""
    low, high = start, len(t)
    while low < high:
        middle = (low + high) // 2
        if _bin_of(t[middle], t[0], span_us, bins) > time_bin:
            high = middle
        else:
            low = middle + 1
    return low


@njit(cache=True)
def _stack(t, x, y, p, out, cutoff, wrap_uint8, odd_pixels_only):
    """Fill ``out`` (2, bins, H, W) bin by bin: a bin's planes stay in the processor's cache until they are cut."""
    _, bins, height, width = out.shape
    span_us = max(t[-1] - t[0], 1)
    count_limit = 256 if wrap_uint8 else cutoff
    stop = 0
    for time_bin in range(bins):
        start, stop = stop, _first_after_bin(t, stop, span_us, bins, time_bin)
        out[:, time_bin] = 0
        for i in range(start, stop):
            column, row = np.int64(x[i]), np.int64(y[i])
            if odd_pixels_only:
                if not column & row & 1:
                    continue
                column, row = column >> 1, row >> 1
            count = out[p[i], time_bin, row, column]
            if count < count_limit:
                out[p[i], time_bin, row, column] = count + 1
        for polarity in range(2):
            for row in range(height):
                for column in range(width):
                    out[polarity, time_bin, row, column] = min(out[polarity, time_bin, row, column], cutoff)
