"""Whether an AP depends on the order of rows in a file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from etram_mmdet.evaluation.average_precision import PrecisionTable, mean_ap
from etram_mmdet.evaluation.matching import match
from etram_mmdet.evaluation.results import FrameResult

_SEEN = 5e-5  # differences that the tables' four digits show


def note_on_ties(frames: Sequence[FrameResult], num_classes: int) -> str:
    """A line where detections of equal score make AP depend on the order of rows, else nothing.

    COCO takes such detections in the order of frames and rows, so a detector that gives all of them one score has
    whatever AP its rows are sorted for. The line tells how many there are and AP with everything in reverse order.
    """
    tied = _tied(frames)
    if not tied:
        return ""
    given = _ap(frames, num_classes)
    reverse = _ap([frame._replace(found=frame.found[::-1]) for frame in reversed(frames)], num_classes)
    if abs(given - reverse) < _SEEN:
        return ""
    detections = sum(len(frame.found) for frame in frames)
    return (
        f"scores tie: {tied} of {detections} detections share theirs with another of their class. AP takes these in "
        f"the order of frames and rows; in the reverse order it would be {reverse:.4f}"
    )


def _tied(frames: Sequence[FrameResult]) -> int:
    """How many detections share their score with another one of their class."""
    labels = np.concatenate([frame.found.labels for frame in frames])
    scores = np.concatenate([frame.found.scores for frame in frames])
    _, counts = np.unique(np.stack([labels, scores]), axis=1, return_counts=True)
    return int(counts[counts > 1].sum())


def _ap(frames: Sequence[FrameResult], num_classes: int) -> float:
    one_recording = np.zeros(len(frames), np.int64)
    return mean_ap(PrecisionTable(match(frames), num_classes, one_recording).average_precision()[..., 0]) or 0.0
