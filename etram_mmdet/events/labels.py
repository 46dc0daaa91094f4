"""Box label files (``*_bbox.npy``), and RVT's rules for which boxes are used."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from etram_mmdet.events.choices import MIN_SIDE_PX, BoxFormat, LabelTimeUnit
from etram_mmdet.events.formats.array_files import load_array
from etram_mmdet.events.limits import MAX_TIME_US, beyond_time
from etram_mmdet.events.time_units import in_microseconds
from etram_mmdet.utils.errors import InputError

# t in microseconds; x, y the top-left corner and w, h the size in sensor pixels. Prophesee's files
# have the same fields padded to 40 bytes; RVT's label files hold them packed, as here.
BBOX_DTYPE = np.dtype(
    [
        ("t", "<i8"),
        ("x", "<f4"),
        ("y", "<f4"),
        ("w", "<f4"),
        ("h", "<f4"),
        ("class_id", "<u4"),
        ("track_id", "<u4"),
        ("class_confidence", "<f4"),
    ]
)
_OLD_NAMES = {"ts": "t", "confidence": "class_confidence"}
_EXPECTED = (
    "a one-dimensional structured array with one row per box and the fields t (integer "
    "microseconds on the clock of the events), x, y (upper left corner in pixels), w, h (size in "
    "pixels) and class_id (from 0); docs/labels.md shows how to make one, and "
    "tools/convert_labels.py makes it from other formats"
)


def load_label_times(label_file: Path, time_unit: LabelTimeUnit = "us") -> np.ndarray:
    """Times at which a recording was labelled, with or without a box.

    They are in an optional file ``NAME_label_times.npy`` beside ``NAME_bbox.npy``, as integers of
    one dimension. A label file alone cannot distinguish an empty street from a time that nobody
    labelled.

    Args:
        label_file: path of ``NAME_bbox.npy``.
        time_unit: unit of the times in the file. Default: microseconds.

    Returns:
        Sorted unique times, int64 (n,) microseconds; empty if there is no such file.

    Raises:
        InputError: when the file is damaged or does not hold integer times.
    """
    path = label_file.with_name(label_file.name.removesuffix("_bbox.npy") + "_label_times.npy")
    if not path.exists():
        return np.empty(0, np.int64)
    times = load_array(path, advice="copy or save it again")
    if times.ndim != 1 or times.dtype.kind not in "iu":
        raise InputError(
            f"{path}: {times.dtype} {times.shape}, expected one dimension of integer microseconds"
        )
    _check_times(path, times)
    return np.unique(in_microseconds(times, time_unit))


def load_boxes(
    path: str | Path, time_unit: LabelTimeUnit = "us", box_format: BoxFormat = "xywh"
) -> np.ndarray:
    """Read the boxes of a label file that holds class ids, as ``BBOX_DTYPE`` (n,) in time order.

    Args:
        path: label file ``NAME_bbox.npy``.
        time_unit: unit of the times in the file. Default: microseconds.
        box_format: meaning of x, y, w and h, see :func:`load_named_boxes`. Default: ``xywh``.

    Raises:
        InputError: as in :func:`load_named_boxes`, and when the file holds class names.
    """
    boxes, names = load_named_boxes(path, time_unit, box_format)
    if names is not None:
        raise InputError(
            f"{path}: class_id is text ({', '.join(names[:5])}), expected numbers (ids from 0); "
            "tools/preprocess.py --class-set reads names"
        )
    return boxes


def load_named_boxes(
    path: str | Path, time_unit: LabelTimeUnit = "us", box_format: BoxFormat = "xywh"
) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Read the boxes of a label file and, if it holds class names, these names.

    Old field names (``ts``, ``confidence``) are read too. ``track_id`` and ``class_confidence`` may
    be missing; they become 0 and 1.

    Args:
        path: label file ``NAME_bbox.npy``.
        time_unit: unit of the times in the file. Default: microseconds.
        box_format: meaning of the fields x, y, w and h: ``xywh`` (default) the top-left corner and
            the size, ``cxcywh`` the centre and the size, ``xyxy`` the top-left and the bottom-right
            corner.

    Returns:
        Boxes (n,) of ``BBOX_DTYPE`` in time order, and the class names. ``class_id`` is an index
        into the names; they are ``None`` if the file holds ids.

    Raises:
        InputError: when the file is missing, damaged, or lacks a field.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(
            f"{path}: no such label file; put it there or remove its recording from the folder"
        )
    raw = load_array(path, advice="copy or download it again")
    if not isinstance(raw, np.ndarray) or raw.dtype.names is None or raw.ndim != 1:
        raise InputError(f"{path}: {_describe(raw)}, expected {_EXPECTED}")
    for old, new in _OLD_NAMES.items():
        if {old, new} <= {*raw.dtype.names}:
            raise InputError(
                f"{path}: has the fields {new} and {old}, which have the same meaning; remove one "
                "of them"
            )
    source_of = {_OLD_NAMES.get(name, name): name for name in raw.dtype.names}
    missing = [name for name in ("t", "x", "y", "w", "h", "class_id") if name not in source_of]
    if missing:
        raise InputError(
            f"{path}: boxes without {', '.join(missing)} (fields: {', '.join(raw.dtype.names)}), "
            f"expected {_EXPECTED}"
        )
    for name, source in source_of.items():
        # Text: class names; a field of several numbers is refused.
        kinds = "iufUS" if name == "class_id" else "iuf"
        if name in BBOX_DTYPE.names and raw.dtype[source].kind not in kinds:
            raise InputError(
                f"{path}: {source} is {raw.dtype[source]}, expected numbers; export it again"
            )
    _check_times(path, raw[source_of["t"]])
    boxes = np.zeros(len(raw), BBOX_DTYPE)
    boxes["class_confidence"] = 1
    boxes["class_id"], names = _class_ids(path, raw[source_of.pop("class_id")])
    for name in BBOX_DTYPE.names:
        if name in source_of:
            boxes[name] = (
                in_microseconds(raw[source_of[name]], time_unit)
                if name == "t"
                else raw[source_of[name]]
            )
    boxes = to_top_left(boxes, box_format)
    return boxes[np.argsort(boxes["t"], kind="stable")], names


def _class_ids(path: Path, column: np.ndarray) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Class ids as uint32 (-1 as 4294967295); a column of text becomes indices and the names."""
    if column.dtype.kind in "US":
        texts = np.char.decode(column, "utf-8", "replace") if column.dtype.kind == "S" else column
        names, numbers = np.unique(np.char.strip(texts), return_inverse=True)
        return numbers.astype(np.uint32), tuple(names.tolist())
    wrong = np.flatnonzero(
        ~((column >= -(2**31)) & (column < 2**32) & (column == np.floor(column)))
    )
    if len(wrong):
        raise InputError(
            f"{path}: class_id is {column[wrong[0]]} in row {wrong[0]}, expected whole numbers "
            f"from 0; correct these {len(wrong)} rows or export the labels again"
        )
    return column.astype(np.int64).astype(np.uint32), None


def _check_times(path: Path, times: np.ndarray) -> None:
    """Raise ``InputError`` for times that are not finite or so large that differences overflow."""
    rows = beyond_time(times)
    if len(rows):
        raise InputError(
            f"{path}: {len(rows)} of {len(times)} times are impossible, the first in row {rows[0]} "
            f"({times[rows[0]]}), expected numbers from {-MAX_TIME_US} to {MAX_TIME_US}; correct "
            "these rows or export the labels again"
        )


def to_top_left(boxes: np.ndarray, box_format: BoxFormat) -> np.ndarray:
    """Boxes as top-left corner and size, in a new array.

    Args:
        boxes: boxes with the fields x, y, w and h.
        box_format: meaning of these fields, see :func:`load_named_boxes`.
    """
    boxes = boxes.copy()
    for start, size in (("x", "w"), ("y", "h")):
        if box_format == "cxcywh":
            boxes[start] -= boxes[size] / 2
        elif box_format == "xyxy":
            boxes[size] -= boxes[start]
    return boxes


def _describe(raw: object) -> str:
    return f"{raw.dtype} {raw.shape}" if isinstance(raw, np.ndarray) else type(raw).__name__


def filter_boxes(
    boxes: np.ndarray,
    height: int,
    width: int,
    *,
    is_train: bool,
    max_class_id: int | None = None,
    min_side_px: float = MIN_SIDE_PX,
    min_diagonal_px: float = 0.0,
) -> tuple[np.ndarray, dict[str, int]]:
    """Cut boxes to the frame and drop unusable ones, in the order of RVT's preprocessing.

    These boxes are dropped and counted:

    - ``boxes_not_finite``: a side or corner is NaN or infinite;
    - ``boxes_other_class``: the id is above ``max_class_id``;
    - ``boxes_outside``: no part lies inside the frame;
    - ``boxes_too_small``: a side is below ``min_side_px``, or the diagonal below
      ``min_diagonal_px``;
    - ``boxes_too_wide``: in training only, over 90 % of the frame's width. Such labels span the
      frame without an object.

    Args:
        boxes: boxes (n,) of ``BBOX_DTYPE``, in sensor pixels.
        height: rows of the sensor.
        width: columns of the sensor.
        is_train: whether the boxes are for training, so that too wide ones are dropped.
        max_class_id: largest class id that is kept. Default: any.
        min_side_px: shortest side that is kept, in pixels. Default: 5.
        min_diagonal_px: shortest diagonal that is kept, in pixels. Default: 0.

    Returns:
        The kept boxes as a new array, and the number of dropped boxes by reason.
    """
    boxes, counts = _visible(boxes, height, width, max_class_id)
    boxes = _keep(boxes, ~_is_small(boxes, min_side_px, min_diagonal_px), "boxes_too_small", counts)
    boxes = _keep(
        boxes, boxes["w"] <= ((9 * width) // 10 if is_train else np.inf), "boxes_too_wide", counts
    )
    return boxes, counts


def small_boxes(
    boxes: np.ndarray,
    height: int,
    width: int,
    *,
    max_class_id: int | None = None,
    min_side_px: float = MIN_SIDE_PX,
    min_diagonal_px: float = 0.0,
) -> np.ndarray:
    """The boxes that :func:`filter_boxes` drops as ``boxes_too_small``, cut to the frame.

    RVT forgets such boxes. They are road users nevertheless, so a detection of one is no false
    alarm.

    Args:
        boxes: boxes (n,) of ``BBOX_DTYPE``, in sensor pixels.
        height: rows of the sensor.
        width: columns of the sensor.
        max_class_id: largest class id that is kept. Default: any.
        min_side_px: boxes with a shorter side are small, in pixels. Default: 5.
        min_diagonal_px: boxes with a shorter diagonal are small, in pixels. Default: 0.
    """
    boxes, _ = _visible(boxes, height, width, max_class_id)
    return boxes[_is_small(boxes, min_side_px, min_diagonal_px)]


def _visible(
    boxes: np.ndarray, height: int, width: int, max_class_id: int | None
) -> tuple[np.ndarray, dict[str, int]]:
    """Boxes of known classes cut to the frame, and the number of dropped boxes by rule."""
    counts: dict[str, int] = {}
    boxes = _keep(
        boxes, np.isfinite([boxes[name] for name in "xywh"]).all(0), "boxes_not_finite", counts
    )
    last_id = np.iinfo(np.uint32).max if max_class_id is None else max_class_id
    boxes = _keep(boxes, boxes["class_id"] <= last_id, "boxes_other_class", counts)
    boxes = _cut_to_frame(boxes, height, width)
    return _keep(boxes, (boxes["w"] > 0) & (boxes["h"] > 0), "boxes_outside", counts), counts


def _keep(boxes: np.ndarray, mask: np.ndarray, name: str, counts: dict[str, int]) -> np.ndarray:
    counts[name] = int(len(mask) - mask.sum())
    return boxes[mask]


def _is_small(boxes: np.ndarray, min_side_px: float, min_diagonal_px: float) -> np.ndarray:
    w, h = boxes["w"], boxes["h"]
    return (w < min_side_px) | (h < min_side_px) | (w**2 + h**2 < min_diagonal_px**2)


def count_cut(boxes: np.ndarray, width: int, height: int) -> int:
    """Number of boxes that reach over the edge of the sensor, so that they are cut.

    Args:
        boxes: boxes of ``BBOX_DTYPE``, in sensor pixels.
        width: columns of the sensor.
        height: rows of the sensor.
    """
    x, y, w, h = (boxes[name] for name in "xywh")
    return int(np.count_nonzero((x < 0) | (y < 0) | (x + w > width) | (y + h > height)))


def _cut_to_frame(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Boxes cut to pixels 0 .. width - 1 and 0 .. height - 1, the frame's edge in RVT."""
    cut = boxes.copy()
    for start, size, limit_px in (("x", "w", width - 1), ("y", "h", height - 1)):
        low, high = (
            np.clip(boxes[start], 0, limit_px),
            np.clip(boxes[start] + boxes[size], 0, limit_px),
        )
        cut[start] = low
        cut[size] = high - low
    return cut


def check_finite(boxes: np.ndarray, path: Path, advice: str) -> None:
    """Raise ``InputError`` for a box with a side or corner that is NaN or infinite.

    Args:
        boxes: array with the fields x, y, w and h, and perhaps t.
        path: file of the boxes, for the message.
        advice: next step for the user, the end of the message.
    """
    rows = np.flatnonzero(~np.isfinite([boxes[name] for name in "xywh"]).all(0))
    if len(rows):
        when = f" at t = {boxes['t'][rows[0]]} us" if "t" in boxes.dtype.names else ""
        found = ", ".join(f"{name} = {boxes[name][rows[0]]:g}" for name in "xywh")
        raise InputError(
            f"{path}: {len(rows)} of {len(boxes)} boxes are not finite, the first in row "
            f"{rows[0]}{when} ({found}); expected numbers in sensor pixels. Correct the label file "
            f"that it was made from, then {advice}"
        )


def day_or_night(recording: str) -> str | None:
    """``"day"`` or ``"night"`` if the word is part of a recording's name, else ``None``.

    Args:
        recording: name of the recording.
    """
    found = re.search(r"(?<![a-z])(day|night)(?![a-z])", recording.lower())
    return found and found[1]
