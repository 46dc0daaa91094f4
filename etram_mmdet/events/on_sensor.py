"""Sizes of sensors, and the events that lie on one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numba import njit

from etram_mmdet.events.columns import Events
from etram_mmdet.events.limits import MAX_PIXELS, MAX_SIDE_PX
from etram_mmdet.utils.errors import InputError


def check_sensor(path: str | Path, width: int, height: int) -> None:
    """Raise ``InputError`` for a sensor size that no camera has; its images would fill the memory.

    Args:
        path: file that states the size, for the message.
        width: columns of the sensor.
        height: rows of the sensor.
    """
    if not (1 <= width <= MAX_SIDE_PX and 1 <= height <= MAX_SIDE_PX):
        raise InputError(
            f"{path}: a sensor of {width}x{height} pixels, expected sides of 1 to {MAX_SIDE_PX}; "
            "correct the size"
        )
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{path}: a sensor of {width}x{height} pixels, expected at most {MAX_PIXELS:,} in all; "
            "correct the size"
        )


@njit(cache=True, nogil=True)
def count_on_sensor(x, y, p, width, height):
    """The smallest and the largest polarity, and how many events lie on the sensor.

    Args:
        x: columns of the sensor (N,), in pixels.
        y: rows of the sensor (N,), in pixels.
        p: polarities (N,).
        width: columns of the sensor.
        height: rows of the sensor.
    """
    smallest_p = 0
    largest_p = 0
    inside = 0
    for i in range(len(x)):
        smallest_p = min(smallest_p, int(p[i]))
        largest_p = max(largest_p, int(p[i]))
        inside += (x[i] >= 0) & (x[i] < width) & (y[i] >= 0) & (y[i] < height)
    return smallest_p, largest_p, inside


def events_on_sensor(
    path: Path, t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray, size_px: tuple[int, int]
) -> tuple[Events, int]:
    """The events that lie on the sensor, and how many lie outside.

    Args:
        path: file of the events, for the message.
        t: times (N,), int64 in microseconds.
        x: columns of the sensor (N,), in pixels.
        y: rows of the sensor (N,), in pixels.
        p: polarities (N,): 1 is on; 0 and -1 are off.
        size_px: width and height of the sensor.

    Raises:
        InputError: a polarity is none of these.
    """
    width, height = size_px
    smallest_p, largest_p, kept = count_on_sensor(x, y, p, width, height)
    if smallest_p < -1 or largest_p > 1:
        raise InputError(
            f"{path}: polarity {largest_p if largest_p > 1 else smallest_p}, expected "
            "0 and 1 (or -1 and 1); convert the recording"
        )
    p = p if p.dtype == np.uint8 else (p > 0).view(np.uint8)
    events = Events(t, x.astype(np.uint16, copy=False), y.astype(np.uint16, copy=False), p)
    if kept == len(x):
        return events, 0
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return Events(*(column[inside] for column in events)), len(x) - kept
