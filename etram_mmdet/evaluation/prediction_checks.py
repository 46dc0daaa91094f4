"""Checks of boxes in a file of predictions: classes, corners, and network pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from etram_mmdet.evaluation.box_columns import BoxColumns
from etram_mmdet.evaluation.frame_columns import FrameColumns
from etram_mmdet.evaluation.results import (
    KINDS,
    FrameResult,
    check_labels,
    make_boxes,
    place_of,
)
from etram_mmdet.utils.errors import InputError

_OUTSIDE_PX = 1.0  # tolerance, larger than any rounding
_MOST = 0.5  # share of detections; in pixels half as large, three of four boxes lie outside


def check_frame(frame: FrameResult, num_classes: int) -> None:
    """Check all boxes of a frame, their labels and corners, and that its truth lies inside it.

    Args:
        frame: frame to check. Truth is checked against the border only if ``frame.hw`` is known.
        num_classes: number of classes.

    Raises:
        InputError: `Boxes` refuses a column, a label has no class, a box ends before it begins, or
            truth lies outside.
    """
    make_boxes(place_of(*frame.key), **{kind: vars(getattr(frame, kind)) for kind in KINDS})
    check_labels(frame, num_classes)
    for what, boxes in frame.kinds():
        corners = boxes.bboxes_xyxy
        inside_out = (corners[:, 2:] < corners[:, :2]).any(1)
        if inside_out.any():
            raise InputError(
                f"{place_of(*frame.key)}: {what}: {inside_out.sum()} boxes have x2 < x1 or "
                f"y2 < y1, such as {corners[inside_out][0].tolist()}; expected x1 y1 x2 y2, not "
                "x y width height"
            )
    if frame.hw is not None:
        _check_truth_inside(frame)


def _check_truth_inside(frame: FrameResult) -> None:
    corners = frame.truth.bboxes_xyxy
    outside = beyond_frame(corners, np.array([frame.hw]))
    if outside.any():
        raise InputError(
            f"{place_of(*frame.key)}: ground truth: {outside.sum()} boxes lie outside the frame of "
            f"{frame.hw[1]}x{frame.hw[0]} network pixels, such as {corners[outside][0].tolist()}; "
            "expected x1 y1 x2 y2 in network pixels"
        )


def beyond_frame(bboxes_xyxy: np.ndarray, hw: np.ndarray) -> np.ndarray:
    """Whether boxes reach beyond a frame by more than any rounding: (N,) bool.

    Args:
        bboxes_xyxy: (N, 4) boxes.
        hw: (N, 2) height and width of the frame of each box in the same pixels, or (1, 2) of all.
    """
    limits = hw[:, [1, 0, 1, 0]].astype(np.float32) + np.float32(_OUTSIDE_PX)
    return ((bboxes_xyxy < -_OUTSIDE_PX) | (bboxes_xyxy > limits)).any(1)


def check_pixels(frames: Sequence[FrameResult] | FrameColumns) -> None:
    """Check that detections are in network pixels, not in smaller ones such as the sensor's.

    A single detection may lie anywhere. If most detections have their centre beyond the right or
    lower border and none beyond the other borders, the cause is wrong pixels and not the network.

    Args:
        frames: frames to check together; those of unknown size are skipped.

    Raises:
        InputError: most detections lie beyond the right or lower border.
    """
    columns = FrameColumns.of(frames)
    columns = columns.where(columns.has_known_size)
    corners = columns.found.bboxes_xyxy
    centres = corners[:, :2] / 2 + corners[:, 2:] / 2  # the sum of two large ones is infinite
    hw = columns.found.per_box(columns.hw)
    is_beyond = (centres > hw[:, ::-1]).any(1)
    if len(is_beyond) and is_beyond.mean() > _MOST and not (centres < 0).any():
        first = int(is_beyond.argmax())
        height, width = hw[first].tolist()
        raise InputError(
            f"detections: {is_beyond.sum()} of {len(is_beyond)} have their centre outside the "
            f"frame, such as {corners[first].tolist()} in a frame of "
            f"{width}x{height} network pixels; expected x1 y1 x2 y2 in network pixels"
        )


def are_sound(columns: FrameColumns, num_classes: int) -> bool:
    """Whether `Boxes` and :func:`check_frame` find nothing wrong in any frame.

    Args:
        columns: frames, whose boxes may be unchecked.
        num_classes: number of classes.
    """
    if not all(_are_boxes(each, num_classes) for each in columns[-3:]):
        return False
    truth = columns.truth
    is_inside = ~beyond_frame(truth.bboxes_xyxy, truth.per_box(columns.hw))
    return bool((is_inside | ~truth.per_box(columns.has_known_size)).all())


def _are_boxes(columns: BoxColumns, num_classes: int) -> bool:
    corners = columns.bboxes_xyxy
    scores = [column for column in (columns.scores, columns.class_scores) if column is not None]
    return bool(
        np.isfinite(corners).all()
        and (corners[:, 2:] >= corners[:, :2]).all()
        and ((columns.labels >= 0) & (columns.labels < num_classes)).all()
        and all(((column >= 0) & (column <= 1)).all() for column in scores)
    )
