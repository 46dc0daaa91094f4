"""Values of a JSON file of predictions, as numbers and arrays.

Lists are converted through Python's ``array``, which takes numbers only. NumPy would also take
texts, and would make room for the longest one in every row.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from itertools import chain
from typing import NamedTuple

import numpy as np

from etram_mmdet.events.preprocessing.frame_times import STEP_US

LARGEST = 2**53  # float64 represents every whole number up to here
# Errors of values that are not what a frame holds.
WRONG_VALUES = (
    ValueError,
    TypeError,
    AttributeError,
    OverflowError,
    IndexError,
    RecursionError,
)


class Value(NamedTuple):
    """What stands under a key of a frame.

    Attributes:
        convert: converts the value from JSON, or raises one of `WRONG_VALUES`.
        expected: what it is, for an error message.
    """

    convert: Callable[[object], object]
    expected: str


def corners(values: list) -> np.ndarray:
    """Boxes (N, 4) in float32.

    Args:
        values: list of lists of four numbers.
    """
    if set(map(len, _list(values))) - {4}:
        raise ValueError("boxes with other than four numbers")
    flat = list(chain.from_iterable(values))
    return np.frombuffer(array("f", flat), np.float32).reshape(-1, 4)


def floats(values: list) -> np.ndarray:
    """Numbers (N,) in float32; those that are too large become infinite.

    Args:
        values: list of numbers.
    """
    return np.frombuffer(array("f", _list(values)), np.float32)


def labels(values: list) -> np.ndarray:
    """Class numbers (N,) in int64.

    Args:
        values: list of whole numbers, which may be written as 3.0.
    """
    try:
        return np.frombuffer(array("q", _list(values)), np.int64)
    except (TypeError, OverflowError):
        return whole_numbers(values)


def whole_numbers(values: list) -> np.ndarray:
    """Whole numbers (N,) in int64, of which float64 represents every one.

    Args:
        values: list of numbers, which may be written as 3.0.
    """
    numbers = np.frombuffer(array("d", _list(values)), np.float64)
    if not ((np.abs(numbers) < LARGEST) & (numbers == np.round(numbers))).all():
        raise ValueError("numbers that are not whole, or too large")
    return numbers.astype(np.int64)


def positive_numbers(values: list) -> np.ndarray:
    """Whole numbers (N,) of at least 1.

    Args:
        values: list of numbers.
    """
    numbers = whole_numbers(values)
    if (numbers < 1).any():
        raise ValueError("numbers below 1")
    return numbers


def frame_size(value: list) -> tuple[int, int]:
    """Height and width of a frame.

    Args:
        value: list of two numbers of at least 1.
    """
    height, width = positive_numbers(value).tolist()
    return height, width


def recording_name(value: str | int) -> str:
    """Name of a recording.

    Args:
        value: text, or a whole number.
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError("no name")
    return str(value)


def _whole(value: float) -> int:
    return whole_numbers([value]).item()


def _positive(value: float) -> int:
    return positive_numbers([value]).item()


def _list(values: object) -> list:
    if not isinstance(values, list):
        raise TypeError("no list")
    return values


_CORNERS = Value(corners, "a list of boxes [x1, y1, x2, y2]")
_FLOATS = Value(floats, "a list of numbers")
_LABELS = Value(labels, "a list of whole numbers")
_WHOLE = Value(_whole, "a whole number below 2^53")
_POSITIVE = Value(_positive, "a whole number of at least 1")
LISTS = dict(
    bboxes=_CORNERS,
    gt_bboxes=_CORNERS,
    ignored_bboxes=_CORNERS,
    labels=_LABELS,
    gt_labels=_LABELS,
    ignored_labels=_LABELS,
    scores=_FLOATS,
    class_scores=_FLOATS,
)
VALUES = LISTS | dict(
    recording=Value(recording_name, "a name"),
    t_us=_WHOLE,
    start_us=_WHOLE,
    step_us=_POSITIVE,
    scale=_POSITIVE,
    hw=Value(frame_size, "height and width, whole numbers of at least 1"),
)
# Values of a frame under whose key there is nothing, or null.
DEFAULTS = dict(start_us=0, step_us=STEP_US, scale=1, hw=None)
