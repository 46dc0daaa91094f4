"""Downsampling of events: images with fewer pixels than the sensor, by a whole factor."""

from __future__ import annotations

import re

from numba import njit

from etram_mmdet.events.choices import DOWNSAMPLE_WORDS
from etram_mmdet.events.columns import Events
from etram_mmdet.events.limits import MAX_SIDE_PX

_WORD = re.compile(r"([a-z]*)([0-9]{0,4})")


def parse_downsample(downsample: str | int) -> tuple[str, int]:
    """Split a ``downsample`` setting into its kind (``none``, ``nearest`` or ``sum``) and factor.

    Args:
        downsample: such as ``"none"``, ``"nearest"`` (factor 2), ``"sum8"``, or a number alone,
            which means a sum.

    Raises:
        ValueError: when it is anything else.
    """
    found = None if isinstance(downsample, bool) else _WORD.fullmatch(str(downsample))
    way, digits = found.groups() if found else ("", "")
    way = way or ("sum" if digits else "")
    factor = int(digits or (1 if way == "none" else 2))
    if way not in DOWNSAMPLE_WORDS or not 1 <= factor <= MAX_SIDE_PX or (way == "none" and digits):
        raise ValueError(
            f"downsample={downsample!r}, expected one of {', '.join(DOWNSAMPLE_WORDS)}; nearest "
            "and sum may carry a whole factor, such as sum8 (default 2)"
        )
    return ("none", 1) if factor == 1 else (way, factor)


def word_of(way: str, factor: int) -> str:
    """The ``downsample`` setting for a kind and a factor; the reverse of :func:`parse_downsample`.

    Args:
        way: ``none``, ``nearest`` or ``sum``.
        factor: sensor pixels per image pixel, along one side.
    """
    return f"{way}{factor}" if factor > 2 else way


def downsampled(events: Events, factor: int, keeps_one: bool, height: int, width: int) -> Events:
    """Events with their coordinates in the smaller image.

    The last columns and rows of a sensor that the factor does not divide have no place in the
    image; their events are left out.

    Args:
        events: events of the sensor.
        factor: sensor pixels per image pixel, along one side.
        keeps_one: whether only the events of one pixel of each square are kept, the one that
            resizing to the nearest pixel takes.
        height: rows of the image.
        width: columns of the image.
    """
    if factor == 1:
        return events
    t, x, y, p = events
    kept = (x // factor < width) & (y // factor < height)
    if keeps_one:
        kept &= (x % factor == factor // 2) & (y % factor == factor // 2)
    if not kept.all():
        t, x, y, p = t[kept], x[kept], y[kept], p[kept]
    return Events(t, x // factor, y // factor, p)


@njit(cache=True, nogil=True)
def count_left_out(x, y, factor, keeps_one, height, width):
    """Number of events that :func:`downsampled` leaves out.

    Args:
        x: columns of the events, in sensor pixels (N,).
        y: rows of the events, in sensor pixels (N,).
        factor: sensor pixels per image pixel, along one side.
        keeps_one: whether only the events of one pixel of each square are kept.
        height: rows of the image.
        width: columns of the image.
    """
    place = factor // 2
    kept = 0
    for i in range(len(x)):
        inside = (x[i] < width * factor) & (y[i] < height * factor)
        kept += inside & (not keeps_one or ((x[i] % factor == place) & (y[i] % factor == place)))
    return len(x) - kept
