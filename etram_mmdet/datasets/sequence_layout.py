"""Checks that the files of a sequence folder in RVT's layout fit each other.

Converters of other people write such folders too.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np

from etram_mmdet.events.formats.array_files import PREPROCESS_AGAIN, load_array
from etram_mmdet.events.labels import check_finite
from etram_mmdet.events.limits import MAX_TIME_US, beyond_time
from etram_mmdet.events.representations import build_representation
from etram_mmdet.utils.errors import InputError

_TOLERANCE_US = 25_000
_Read = Callable[[Path], bytes]
_BOX_FIELDS = ("x", "y", "w", "h", "class_id")


def check_kind(path: Path, channels: int, dtype: np.dtype, config: dict) -> None:
    """Check that the representation in a config can have made the frames of a file.

    Args:
        path: file of the frames, for the error message.
        channels: C of its frames.
        dtype: type of a pixel in it.
        config: config of the representation.

    Raises:
        InputError: when channels or type differ.
    """
    made = build_representation(config, 2, 2)
    if (channels, dtype) != (made.num_channels, made.dtype):
        raise InputError(
            f"{path}: frames of {channels} channels of {dtype}, but {config} makes "
            f"{made.num_channels} of {np.dtype(made.dtype)}; set representation in the config to "
            f"what the file holds, or {PREPROCESS_AGAIN}"
        )


def load_layout(
    folder: Path, path: Path, num_tensors: int, read: _Read | None = None
) -> dict[str, np.ndarray]:
    """Read the arrays of a sequence folder that connect frames with boxes.

    Args:
        folder: sequence folder in RVT's layout.
        path: its file of frames.
        num_tensors: number of frames in that file.
        read: gives the content of a file, which is then not opened. Default: none.

    Returns:
        ``t_us``, ``labelled``, ``boxes`` and ``first_row``, as :class:`RecordingFrames` takes
            them.

    Raises:
        InputError: when an array is missing or contradicts another, or a box is NaN or
            infinite.
    """
    labels = folder / "labels_v2" / "labels.npz"
    stamps = path.with_name("timestamps_us.npy")
    index = path.with_name("objframe_idx_2_repr_idx.npy")
    t_us = load_integers(stamps, read=read)
    labelled = load_integers(index, read=read)
    boxes = load_boxes_of(labels, read)
    first_row = load_integers(labels, "objframe_idx_2_label_idx", read)
    if num_tensors != len(t_us):
        _refuse_layout(path, f"{num_tensors} tensors, but timestamps_us has {len(t_us)}")
    _check_stamps(stamps, t_us)
    _check_rows(labels, first_row, len(boxes))
    _check_index(index, labelled, len(first_row), len(t_us))
    times = folder / "labels_v2" / "timestamps_us.npy"
    if times.is_file():  # only RVT's preprocessing and this package use this file
        _check_label_times(times, load_integers(times, read=read), t_us, labelled)
    _check_box_times(labels, t_us, labelled, boxes, first_row)
    return dict(t_us=t_us, labelled=labelled, boxes=boxes, first_row=first_row)


def _refuse_layout(path: Path, problem: str) -> NoReturn:
    raise InputError(
        f"{path}: {problem}; write the folder as tools/preprocess.py does, or {PREPROCESS_AGAIN}"
    )


def load_integers(path: Path, member: str | None = None, read: _Read | None = None) -> np.ndarray:
    """Read an array (n,) of times, indices or rows as int64.

    Args:
        path: ``.npy`` or ``.npz`` file.
        member: name of the array in a ``.npz`` file. Default: none.
        read: gives the content of a file, which is then not opened. Default: none.

    Raises:
        InputError: when it holds something else, or numbers whose differences could overflow.
    """
    rows = load_array(path, member, PREPROCESS_AGAIN, read)
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        _refuse_layout(
            path,
            f"{member or path.stem} is {rows.dtype} {rows.shape}, expected one dimension of "
            "integers",
        )
    _check_small(path, member or path.stem, rows)
    return rows.astype(np.int64)


def _check_small(path: Path, name: str, rows: np.ndarray) -> None:
    wrong = beyond_time(rows)
    if len(wrong):
        _refuse_layout(
            path,
            f"{name}: row {wrong[0]} is {rows[wrong[0]]}, expected numbers up to {MAX_TIME_US}",
        )


def load_boxes_of(path: Path, read: _Read | None = None) -> np.ndarray:
    """Read the boxes (N,) of a ``labels.npz``.

    Args:
        path: the file.
        read: gives the content of a file, which is then not opened. Default: none.

    Raises:
        InputError: when it holds no boxes, or a box is NaN or infinite.
    """
    boxes = load_array(path, "labels", PREPROCESS_AGAIN, read)
    fields = dict(boxes.dtype.fields or {})
    numbers = {name for name, (dtype, *_) in fields.items() if dtype.kind in "iuf"}
    if boxes.ndim != 1 or not {*_BOX_FIELDS, *fields.keys() & {"t", "track_id"}} <= numbers:
        wanted = f"{', '.join(_BOX_FIELDS[:-1])} and {_BOX_FIELDS[-1]}"
        _refuse_layout(
            path,
            f"labels is {boxes.dtype} {boxes.shape}, expected boxes with the numbers {wanted}",
        )
    check_finite(boxes, path, PREPROCESS_AGAIN)
    if "t" in fields:
        _check_small(path, "t of labels", boxes["t"])
    return boxes


def _check_stamps(path: Path, t_us: np.ndarray) -> None:
    wrong = np.flatnonzero(np.diff(t_us) <= 0)
    if len(wrong):
        before, after = t_us[wrong[0] : wrong[0] + 2]
        _refuse_layout(
            path,
            f"row {wrong[0] + 1} is {after} after {before}, expected microseconds that rise from "
            "row to row",
        )


def _check_rows(path: Path, first_row: np.ndarray, num_boxes: int) -> None:
    wrong = np.flatnonzero((np.diff(first_row, prepend=0) < 0) | (first_row > num_boxes))
    if len(wrong):
        _refuse_layout(
            path,
            f"objframe_idx_2_label_idx is not ascending within 0 to {num_boxes}, the number of "
            f"boxes (row {wrong[0]} is {first_row[wrong[0]]})",
        )


def _check_index(path: Path, labelled: np.ndarray, num_rows: int, num_frames: int) -> None:
    if len(labelled) != num_rows:
        _refuse_layout(
            path,
            f"{len(labelled)} indices of labelled frames, expected {num_rows}, the length of "
            "objframe_idx_2_label_idx in labels_v2/labels.npz",
        )
    wrong = np.flatnonzero((np.diff(labelled, prepend=-1) <= 0) | (labelled >= num_frames))
    if len(wrong):
        _refuse_layout(
            path,
            f"objframe_idx_2_repr_idx is not strictly ascending within the {num_frames} frames "
            f"(row {wrong[0]} is {labelled[wrong[0]]})",
        )


def _check_label_times(
    path: Path, label_us: np.ndarray, t_us: np.ndarray, labelled: np.ndarray
) -> None:
    """Raise ``InputError`` when the labels' own times contradict the indices.

    An index then leads to the boxes of another frame. Times may differ by up to half of the usual
    step between frames; beyond that a label would belong to another frame.
    """
    if label_us.shape != labelled.shape:
        _refuse_layout(path, f"{len(label_us)} label times for {len(labelled)} labelled frames")
    if (off_us := _furthest(label_us, t_us[labelled])) > _tolerance_us(t_us):
        _refuse_layout(
            path, f"up to {off_us:,} us off the frames that objframe_idx_2_repr_idx names"
        )


def _check_box_times(
    path: Path, t_us: np.ndarray, labelled: np.ndarray, boxes: np.ndarray, first_row: np.ndarray
) -> None:
    """Raise ``InputError`` when the boxes' own times contradict the rows, likewise."""
    if "t" not in boxes.dtype.names or not len(first_row):
        return
    owner_us = np.repeat(t_us[labelled], np.diff(np.append(first_row, len(boxes))))
    if (off_us := _furthest(boxes["t"][first_row[0] :], owner_us)) > _tolerance_us(t_us):
        _refuse_layout(
            path,
            f"boxes are up to {off_us:,} us off the frames that objframe_idx_2_label_idx gives "
            "them; it should hold the row at which each frame's boxes begin, in rows sorted by "
            "time",
        )


def _tolerance_us(t_us: np.ndarray) -> float:
    return np.median(np.diff(t_us)) / 2 if len(t_us) > 1 else _TOLERANCE_US


def _furthest(a_us: np.ndarray, b_us: np.ndarray) -> int:
    return int(np.abs(a_us.astype(np.int64) - b_us.astype(np.int64)).max(initial=0))
