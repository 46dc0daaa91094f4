"""Checks of boxes in a file of predictions: classes, corners, and network pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

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
    limit = np.array([frame.hw[1], frame.hw[0]] * 2, np.float32) + _OUTSIDE_PX
    outside = ((corners < -_OUTSIDE_PX) | (corners > limit)).any(1)
    if outside.any():
        raise InputError(
            f"{place_of(*frame.key)}: ground truth: {outside.sum()} boxes lie outside the frame of "
            f"{frame.hw[1]}x{frame.hw[0]} network pixels, such as {corners[outside][0].tolist()}; "
            "expected x1 y1 x2 y2 in network pixels"
        )


def check_pixels(frames: Sequence[FrameResult]) -> None:
    """Check that detections are in network pixels, not in smaller ones such as the sensor's.

    A single detection may lie anywhere. If most detections have their centre beyond the right or
    lower border and none beyond the other borders, the cause is wrong pixels and not the network.

    Args:
        frames: frames to check together; those of unknown size are skipped.

    Raises:
        InputError: most detections lie beyond the right or lower border.
    """
    known = [frame for frame in frames if frame.hw is not None]
    centres = [
        (frame.found.bboxes_xyxy[:, :2] + frame.found.bboxes_xyxy[:, 2:]) / 2 for frame in known
    ]
    beyond = [
        (xy > (frame.hw[1], frame.hw[0])).any(1) for xy, frame in zip(centres, known, strict=True)
    ]
    is_beyond = np.concatenate([np.empty(0, bool), *beyond])
    is_before = any((xy < 0).any() for xy in centres)
    if len(is_beyond) and is_beyond.mean() > _MOST and not is_before:
        frame, rows = next(pair for pair in zip(known, beyond, strict=True) if pair[1].any())
        raise InputError(
            f"detections: {is_beyond.sum()} of {len(is_beyond)} have their centre outside the "
            f"frame, such as {frame.found.bboxes_xyxy[rows][0].tolist()} in a frame of "
            f"{frame.hw[1]}x{frame.hw[0]} network pixels; expected x1 y1 x2 y2 in network pixels"
        )
