"""Find the columns t, x, y and p in a table of numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from etram_mmdet.events.columns import find_column
from etram_mmdet.events.limits import MAX_SIDE_PX
from etram_mmdet.utils.errors import InputError

# Orders of columns without names: that of event simulators and ROS tools and that of Metavision. If
# neither fits, that of MVSEC.
_ORDERS = (("txyp", "xypt"), ("xytp",))
# Largest share of times that fall, and of pixels on no sensor. In a column of pixels read as times,
# half would fall.
_MOST_ODD = 0.1
COLUMNS_ARE_KNOWN = (
    "the file names its columns itself; remove --event-columns (columns= of open_recording)"
)
_ADVICE = (
    "name the columns in their order with --event-columns, such as t,x,y,p (columns='t,x,y,p' of "
    "open_recording)"
)


def given_places(columns: str) -> tuple[int, ...]:
    """Column numbers of t, x, y and p from the names of all columns.

    Args:
        columns: names separated by commas, such as ``x,y,p,t`` or ``number,t,x,y,p``.

    Raises:
        InputError: when one of the four is missing.
    """
    names = columns.split(",")
    places = tuple(find_column(name, names) for name in "txyp")
    if None in places:
        raise InputError(
            f"columns {columns!r:.80}: no {'txyp'[places.index(None)]}, expected the names of all "
            "columns in their order, such as t,x,y,p or x,y,p,t"
        )
    return places


def likely_places(path: Path, numbers: np.ndarray) -> tuple[int, ...]:
    """Guess the column numbers of t, x, y and p from the first rows of a table.

    The right order has rising times, pixels of a sensor, and polarities 0, 1 or -1.

    Args:
        path: the file, for the message.
        numbers: first rows of the table (N, C), with at least four columns; only the first four are
            looked at.

    Raises:
        InputError: when no order fits or several do.
    """
    for orders in _ORDERS:
        places = [tuple(order.index(name) for name in "txyp") for order in orders]
        fitting = [each for each in places if _are_events(numbers, each)]
        if fitting:
            break
    if len(fitting) != 1:
        why = "no order fits" if not fitting else "several orders fit"
        raise InputError(
            f"{path}: the order of its columns is unknown: of t x y p, x y p t and x y t p {why} "
            f"its first events; {_ADVICE}"
        )
    return fitting[0]


def _are_events(numbers: np.ndarray, places: tuple[int, ...]) -> bool:
    t, x, y, p = (numbers[:, place] for place in places)
    falls = np.count_nonzero(t[1:] < t[:-1])
    outside = np.count_nonzero((np.minimum(x, y) < 0) | (np.maximum(x, y) >= MAX_SIDE_PX))
    return max(falls, outside) <= _MOST_ODD * len(t) and bool(np.isin(p, (-1, 0, 1)).all())


def are_seconds(t: np.ndarray) -> bool:
    """Whether times are in seconds: floating-point numbers, at least one of them with a fraction.

    Args:
        t: times of the first events (N,), of any number type.
    """
    return t.dtype.kind == "f" and bool((np.isfinite(t) & (t != np.floor(t))).any())


def whole(column: np.ndarray) -> np.ndarray:
    """Pixels or polarities as integers; floating-point values are rounded.

    A value that is no number becomes -2, which lies on no sensor.

    Args:
        column: values (N,) of any number type.
    """
    if column.dtype.kind != "f":
        return column
    possible = np.abs(column) < 2**31
    return np.rint(np.where(possible, column, -2)).astype(np.int32)
