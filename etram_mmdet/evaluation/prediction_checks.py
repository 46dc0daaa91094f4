"""Checks of boxes in a file of predictions: classes, corners, and network pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from etram_mmdet.evaluation.joined_boxes import joined, per_box
from etram_mmdet.evaluation.results import FrameResult, check_labels, place_of
from etram_mmdet.utils.errors import InputError

_OUTSIDE_PX = 1.0  # tolerance, larger than any rounding
_MOST = 0.5  # share of detections; in pixels half as large, three of four boxes lie outside


def check_frame(frame: FrameResult, num_classes: int) -> None:
    """Check labels and corners of all boxes of a frame, and that its truth lies inside the frame.

    Args:
        frame: frame to check. Truth is checked against the border only if ``frame.hw`` is known.
        num_classes: number of classes.

    Raises:
        InputError: a label has no class, a box ends before it begins, or truth lies outside.
    """
    check_labels(frame, num_classes)
    for what, boxes in (
        ("detections", frame.found),
        ("ground truth", frame.truth),
        ("ignored", frame.ignored),
    ):
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


def check_pixels(frames: Sequence[FrameResult]) -> None:
    """Check that detections are in network pixels, not in smaller ones such as the sensor's.

    A single detection may lie anywhere. If most detections have their centre beyond the right or
    lower border and none beyond the other borders, the cause is wrong pixels and not the network.

    Args:
        frames: frames to check together; those of unknown size are skipped.

    Raises:
        InputError: most detections lie beyond the right or lower border.
    """
    known = [frame for frame in frames if frame.hw is not None and len(frame.found)]
    if not known:
        return
    found = [frame.found for frame in known]
    corners = joined(found)
    centres = (corners[:, :2] + corners[:, 2:]) / 2
    wh = np.array([(frame.hw[1], frame.hw[0]) for frame in known])
    is_beyond = (centres > per_box(wh, found)).any(1)
    if is_beyond.mean() > _MOST and not (centres < 0).any():
        first = int(is_beyond.argmax())
        frame = known[per_box(np.arange(len(known)), found)[first]]
        raise InputError(
            f"detections: {is_beyond.sum()} of {len(is_beyond)} have their centre outside the "
            f"frame, such as {corners[first].tolist()} in a frame of "
            f"{frame.hw[1]}x{frame.hw[0]} network pixels; expected x1 y1 x2 y2 in network pixels"
        )
