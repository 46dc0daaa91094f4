"""Check the JSON that describes an exported detector before anything is built from it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from etram_mmdet.deploy.window_times import preprocess_settings
from etram_mmdet.events.limits import MAX_SIDE_PX
from etram_mmdet.events.representations import build_representation
from etram_mmdet.utils.errors import InputError

PRECISIONS = ("float32", "float16", "int8")
_FRAME_DTYPES = ("uint8", "int8", "float32")
_STATE_DTYPES = ("float32", "float16")
_LONGEST_US = 3_600_000_000  # of a window or a step: an hour


def wrong_entries(given: dict) -> list[str]:
    """Names of the entries whose value is of another type or out of range.

    Args:
        given: entries of a description, by name. Those that are missing are not checked.
    """
    return [name for name, is_right in RIGHT.items() if name in given and not is_right(given[name])]


def contradiction(given: dict) -> str:
    """What is wrong between entries that are right one by one; empty if nothing is.

    Args:
        given: entries of a description that passed :func:`wrong_entries`.
    """
    if len(given["palette"]) < len(given["classes"]):
        return f"{len(given['palette'])} colours for {len(given['classes'])} classes"
    width, height = given["sensor_px"]
    try:
        made = build_representation(given["representation"], height, width)
        shape = made.shape
    except InputError as error:
        return str(error)
    if list(shape) != given["frame_shape"] or np.dtype(made.dtype).name != given["frame_dtype"]:
        return (
            f"its representation makes frames {np.dtype(made.dtype).name} {list(shape)} of a "
            f"sensor of {width}x{height} pixels, but frames are said to be "
            f"{given['frame_dtype']} {given['frame_shape']}"
        )
    return ""


def is_nms(value: object) -> bool:
    """Whether these are settings of the one kind of NMS that the runtime knows.

    Args:
        value: ``nms`` of a ``test_cfg``. ``split_thr`` decides how mmcv computes it, not what.
    """
    return (
        isinstance(value, dict)
        and value.keys() <= {"type", "iou_threshold", "class_agnostic", "split_thr"}
        and value.get("type", "nms") == "nms"
        and _is_share(value.get("iou_threshold"))
        and isinstance(value.get("class_agnostic", False), bool)
    )


def _is_whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_share(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value <= 1


def _is_time(value: object) -> bool:
    return _is_whole(value, 1, _LONGEST_US)


def _are_sides(value: object, length: int) -> bool:
    is_list = isinstance(value, list) and len(value) == length
    return is_list and all(_is_whole(each, 1, MAX_SIDE_PX) for each in value)


def _are_names(value: object) -> bool:
    """Whether a list holds different names that a terminal and a film can show."""
    return (
        isinstance(value, list)
        and all(isinstance(name, str) and name.strip() and name.isprintable() for name in value)
        and len(set(value)) == len(value)
    )


def _are_states(value: object) -> bool:
    are_states = isinstance(value, list) and all(
        isinstance(state, dict)
        and state.keys() == {"name", "shape", "dtype"}
        and _are_sides(state["shape"], 3)
        and state["dtype"] in _STATE_DTYPES
        for state in value
    )
    return are_states and _are_names([state["name"] for state in value])


def _are_colours(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(colour, list)
        and len(colour) == 3
        and all(_is_whole(each, 0, 255) for each in colour)
        for colour in value
    )


def _are_ranges(value: object) -> bool:
    """Whether a dict holds the range of some properties: a lower and an upper number."""
    return isinstance(value, dict) and all(
        isinstance(span, list)
        and len(span) == 2
        and all(isinstance(each, int | float) and math.isfinite(each) for each in span)
        for span in value.values()
    )


def _decide_windows(value: object) -> bool:
    """Whether settings of a data set can decide at which times windows end."""
    if not (
        isinstance(value, dict)
        and _is_whole(value.get("clip_length", 1), 1, 2**20)
        and isinstance(value.get("class_set", ""), str | dict)
        and isinstance(value.get("representation", {}), dict)
        and isinstance(value.get("reading", {}), dict)
    ):
        return False
    try:
        # The class set may be a file, which only a reader of labels needs.
        preprocess_settings({**value, "class_set": None}, 1)
    except (ValueError, TypeError):
        return False
    return True


def _are_words(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(word, str) for word in value.values())


def _is_dict(value: object) -> bool:
    return isinstance(value, dict)


def _or_none(is_right: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or is_right(value)


RIGHT: dict[str, Callable[[object], bool]] = {
    "classes": lambda v: bool(v) and _are_names(v),
    "palette": _are_colours,
    "representation": _is_dict,
    "window_us": _is_time,
    "step_us": _or_none(_is_time),
    "sensor_px": lambda v: _are_sides(v, 2),
    "score_thr": _is_share,
    "nms": is_nms,
    "nms_pre": lambda v: _is_whole(v, -1, 2**53),
    "operating_points": _or_none(_is_dict),
    "trained_on": _are_ranges,
    "data": _decide_windows,
    "frame_shape": lambda v: _are_sides(v, 3),
    "frame_dtype": lambda v: v in _FRAME_DTYPES,
    "batch": _or_none(lambda v: _is_whole(v, 1, 2**20)),
    "states": _are_states,
    "precision": lambda v: v in PRECISIONS,
    "opset": lambda v: _is_whole(v, 1, 1000),
    "checkpoint": _are_words,
    "versions": _are_words,
}
