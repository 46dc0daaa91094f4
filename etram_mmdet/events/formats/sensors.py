"""Sizes of event sensors, and the ways in which files state them."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

# Width and height in pixels.
GEN1_PX = (304, 240)
DAVIS346_PX = (346, 260)
GENX320_PX = (320, 320)
GEN3_PX = (640, 480)
GEN4_PX = (1280, 720)
DSEC_PX = GEN3_PX
_SMALLEST_FIRST = (GEN1_PX, DAVIS346_PX, GENX320_PX, GEN3_PX, GEN4_PX)
_LONGEST_NUMBER = 20  # digits
_SIDES = (("width", "height"), ("sensor_width", "sensor_height"))
_BOTH = ("sensor_resolution", "sensor_size", "resolution")


def smallest_sensor(x: np.ndarray, y: np.ndarray) -> tuple[int, int]:
    """Width and height of the smallest known sensor that holds all plausible events.

    Damaged events lie far outside of every sensor and are ignored.

    Args:
        x: columns of the events (N,), in pixels.
        y: rows of the events (N,), in pixels.
    """
    width, height = GEN4_PX
    x, y = x.astype(np.int64), y.astype(np.int64)  # numbers beyond int64 become negative
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    x_max = x[inside].max(initial=0)
    y_max = y[inside].max(initial=0)
    return next(size for size in _SMALLEST_FIRST if x_max < size[0] and y_max < size[1])


def stated_px(place: Mapping[str, object]) -> tuple[int, int] | None:
    """Width and height of the sensor from attributes or members of a file; ``None`` if not stated.

    These spellings are known: ``width`` and ``height`` (also ``sensor_width`` and
    ``sensor_height``), ``geometry`` as text ``1280x720``, and ``sensor_resolution``,
    ``sensor_size`` or ``resolution`` with two numbers. Programs write these two in either order;
    the longer one is taken as the width. A number may be an integer, a float, text, or an array of
    one.

    Args:
        place: attributes or members of the file by name.
    """
    for names in _SIDES:
        sides = [_integers(place[name]) for name in names if name in place]
        if len(sides) == 2 and all(len(side) == 1 for side in sides):
            return sides[0][0], sides[1][0]
    if len(size := _integers(place.get("geometry", ""))) == 2:
        return size[0], size[1]
    for name in _BOTH:
        if name in place and len(size := _integers(place[name])) == 2:
            return max(size), min(size)
    return None


def _integers(value: object) -> list[int]:
    """The integers in ``value``; none if it contains anything else."""
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    if isinstance(value, str):
        parts = re.split(r"\s*[x,]\s*", value.strip())
        return (
            [int(p) for p in parts]
            if all(p.isdecimal() and len(p) <= _LONGEST_NUMBER for p in parts)
            else []
        )
    array = np.asarray(value).ravel()
    if len(array) == 1 and isinstance(array[0], str | bytes):
        return _integers(array[0])
    if array.dtype.kind not in "iuf" or len(array) > 2:
        return []
    return [int(n) for n in array.tolist() if float(n).is_integer() and n >= 0]
