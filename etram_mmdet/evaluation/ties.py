"""Check whether an AP depends on the order of detections with equal scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from etram_mmdet.evaluation.average_precision import PrecisionTable, mean_ap
from etram_mmdet.evaluation.matching import match
from etram_mmdet.evaluation.results import FrameResult

_SEEN = 5e-5  # smallest difference that the four digits of the tables show


def note_on_ties(frames: Sequence[FrameResult], num_classes: int) -> str:
    """A sentence for the log if AP depends on the order of detections with equal scores, else "".

    COCO ranks equal scores in the order of frames and rows. A detector that gives all detections
    the same score gets whatever AP that order yields. The sentence gives the number of such
    detections, and the AP in reverse order.

    Args:
        frames: evaluated frames, with truth and detections.
        num_classes: number of classes.
    """
    tied = _tied(frames)
    if not tied:
        return ""
    given = _ap(frames, num_classes)
    reverse = _ap(
        [frame._replace(found=frame.found[::-1]) for frame in reversed(frames)], num_classes
    )
    if abs(given - reverse) < _SEEN:
        return ""
    detections = sum(len(frame.found) for frame in frames)
    return (
        f"equal scores: {tied} of {detections} detections share their score with another one of "
        "their class. AP ranks them in the order of frames and rows; in reverse order AP would be "
        f"{reverse:.4f}"
    )


def _tied(frames: Sequence[FrameResult]) -> int:
    """Number of detections that share their score with another one of their class."""
    labels = np.concatenate([frame.found.labels for frame in frames])
    scores = np.concatenate([frame.found.scores for frame in frames])
    _, counts = np.unique(np.stack([labels, scores]), axis=1, return_counts=True)
    return int(counts[counts > 1].sum())


def _ap(frames: Sequence[FrameResult], num_classes: int) -> float:
    one_recording = np.zeros(len(frames), np.int64)
    return (
        mean_ap(
            PrecisionTable(match(frames), num_classes, one_recording).average_precision()[..., 0]
        )
        or 0.0
    )
