"""Checks of events before a compiled loop reads them; such a loop checks no array bounds."""

from __future__ import annotations

import numpy as np
from numba import njit

from etram_mmdet.events.columns import Events, find_column
from etram_mmdet.utils.errors import InputError

_DTYPES = Events(*map(np.dtype, ("int64", "uint16", "uint16", "uint8")))
_NUMBER_KINDS = Events("iu", "iu", "iu", "iub")
_LARGEST_US = 1 << 62  # so that differences of stamps fit into 64 bits


def checked_events(events: Events, height: int, width: int) -> Events:
    """Check and convert events for a compiled loop: in time order, on the sensor, of fixed types.

    The result has the types of :class:`Events`. Columns of other integer types are converted.
    Polarity -1 or False means off, as in other software. Events out of order are sorted by time,
    since cameras send packets out of order.

    Args:
        events: columns of one length, or a structured array (N,) as Metavision's and other SDKs
            deliver it, with the fields t, x, y and p in any order, also under their other usual
            names (`COLUMN_NAMES`).
        height: rows of the sensor, in pixels.
        width: columns of the sensor, in pixels.

    Raises:
        InputError: when columns are no integers or differ in length, an event lies outside the
            sensor, a polarity is another number, or a time stamp is damaged.
    """
    if isinstance(events, np.ndarray) and events.dtype.names:
        events = _columns_of(events)
    if not _is_plain(events):
        events = _converted(events, height, width)
    if not len(events.t) == len(events.x) == len(events.y) == len(events.p):
        lengths = {name: len(column) for name, column in events._asdict().items()}
        raise InputError(
            f"the columns of events differ in length: {lengths}; cut them to the same length"
        )
    if len(events.t) == 0:
        return events
    falls, x_max, y_max, p_max = _survey(*events)
    if x_max >= width or y_max >= height or p_max > 1:
        _check_values(events, height, width)
    if falls:
        order = np.argsort(events.t, kind="stable")
        events = Events(*(column[order] for column in events))
    if max(-int(events.t[0]), int(events.t[-1])) > _LARGEST_US:
        _check_values(events, height, width)
    return events


def checked_window(window_us: tuple[int, int]) -> tuple[int, int]:
    """Check the two ends of a window and convert them to Python integers, in microseconds.

    Args:
        window_us: first and last microsecond of the window.

    Raises:
        InputError: when they are not two numbers, or too large.
    """
    try:
        t0_us, t1_us = map(int, window_us)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"window_us is {window_us!r:.80}, expected its first and last microsecond"
        ) from error
    if max(abs(t0_us), abs(t1_us)) > _LARGEST_US:
        raise InputError(f"window_us is {t0_us} to {t1_us}, expected ends within {_LARGEST_US} us")
    return t0_us, t1_us


def _is_plain(events: Events) -> bool:
    return isinstance(events, Events) and all(
        type(column) is np.ndarray and column.ndim == 1 and column.dtype == dtype
        for column, dtype in zip(events, _DTYPES, strict=True)
    )


def _columns_of(table: np.ndarray) -> Events:
    """The columns of a structured array."""
    names = table.dtype.names
    places = [find_column(column, names) for column in Events._fields]
    if None in places:
        missing = Events._fields[places.index(None)]
        raise InputError(
            f"events have the fields {', '.join(names)}, but no {missing}; expected t, x, y and p"
        )
    return Events(*(table[names[place]] for place in places))


def _converted(events: Events, height: int, width: int) -> Events:
    """The same events in the types of :class:`Events`.

    A value that does not fit into its type is refused first.
    """
    if not isinstance(events, Events):
        raise InputError(
            f"events are {type(events).__name__}, expected Events(t, x, y, p) or a structured "
            "array with these fields"
        )
    for column, name, kinds in zip(events, events._fields, _NUMBER_KINDS, strict=True):
        if not isinstance(column, np.ndarray) or column.ndim != 1:
            found = getattr(column, "shape", type(column).__name__)
            raise InputError(f"events.{name} is {found}, expected a NumPy array of one dimension")
        if len(column) and column.dtype.kind not in kinds:
            raise InputError(f"events.{name} is {column.dtype}, expected integers; convert it")
    _check_values(events, height, width)
    columns = map(np.asarray, events._replace(p=events.p > 0))
    return Events(*map(np.ascontiguousarray, columns, _DTYPES))


def _check_values(events: Events, height: int, width: int) -> None:
    x_min, x_max = _extent(events.x)
    y_min, y_max = _extent(events.y)
    if min(x_min, y_min) < 0 or x_max >= width or y_max >= height:
        raise InputError(
            f"events reach from x {x_min}, y {y_min} to x {x_max}, y {y_max} on a sensor of "
            f"{width}x{height}; drop the events outside first (a Recording does this)"
        )
    p_min, p_max = _extent(events.p)
    if p_min < -1 or p_max > 1:
        raise InputError(
            f"polarity from {p_min} to {p_max}, expected 0 and 1 (or -1 and 1, or False and True); "
            "convert it first"
        )
    t_min, t_max = _extent(events.t)
    if max(-t_min, t_max) > _LARGEST_US:
        raise InputError(f"time stamps from {t_min} to {t_max} us are damaged; drop them first")


def _extent(column: np.ndarray) -> tuple[int, int]:
    return (int(column.min()), int(column.max())) if len(column) else (0, 0)


@njit(cache=True, nogil=True)
def _survey(t, x, y, p):
    """Whether time falls anywhere, and the largest x, y and p.

    Each has a loop of its own, which the compiler makes parallel.
    """
    falls = False
    for i in range(1, len(t)):
        falls |= t[i] < t[i - 1]
    x_max = x[0]
    for i in range(len(x)):
        if x[i] > x_max:
            x_max = x[i]
    y_max = y[0]
    for i in range(len(y)):
        if y[i] > y_max:
            y_max = y[i]
    p_max = p[0]
    for i in range(len(p)):
        if p[i] > p_max:
            p_max = p[i]
    return falls, x_max, y_max, p_max
