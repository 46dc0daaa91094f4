"""Events as columns of equal length, and the names that files give to these columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from etram_mmdet.events.choices import COLUMN_NAMES


class Events(NamedTuple):
    """Events in time order, as columns (n,) of equal length.

    Attributes:
        t: time, int64 microseconds.
        x: column of the sensor, uint16 pixels.
        y: row of the sensor, uint16 pixels.
        p: polarity, uint8: 0 off (darker), 1 on (brighter).
    """

    t: np.ndarray
    x: np.ndarray
    y: np.ndarray
    p: np.ndarray


NO_EVENTS = Events(
    np.empty(0, np.int64), np.empty(0, np.uint16), np.empty(0, np.uint16), np.empty(0, np.uint8)
)


def find_column(name: str, names: Sequence[str]) -> int | None:
    """Index of the column t, x, y or p in a list of names; ``None`` if it is missing.

    Args:
        name: ``t``, ``x``, ``y`` or ``p``.
        names: column names of a file; every spelling in `COLUMN_NAMES` is recognised.
    """
    lower = [each.strip().lower() for each in names]
    return next((lower.index(each) for each in COLUMN_NAMES[name] if each in lower), None)
