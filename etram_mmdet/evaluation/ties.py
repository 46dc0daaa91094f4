"""Check whether an AP depends on the order of detections with equal scores."""

from __future__ import annotations

import numpy as np

from etram_mmdet.evaluation.average_precision import PrecisionTable, mean_ap
from etram_mmdet.evaluation.matching import match_pairs
from etram_mmdet.evaluation.pairs import Overlaps, Pairs

_SEEN = 5e-5  # smallest difference that the four digits of the tables show


def note_on_ties(overlaps: Overlaps, pairs: Pairs, num_classes: int) -> str:
    """A sentence for the log if AP depends on the order of detections with equal scores, else "".

    COCO ranks equal scores in the order of frames and rows. A detector that gives all detections
    the same score gets whatever AP that order yields. The sentence gives the number of such
    detections, and the AP in reverse order.

    Args:
        overlaps: overlaps of the evaluated frames.
        pairs: the same, ranked.
        num_classes: number of classes.
    """
    tied = _tied(overlaps.detections.labels, overlaps.scores, num_classes)
    if not tied:
        return ""
    given = _ap(pairs, num_classes)
    reverse = _ap(overlaps.ranked(last_first=True), num_classes)
    if abs(given - reverse) < _SEEN:
        return ""
    return (
        f"equal scores: {tied} of {len(overlaps.scores)} detections share their score with another "
        "one of their class. AP ranks them in the order of frames and rows; in reverse order AP "
        f"would be {reverse:.4f}"
    )


def _tied(labels: np.ndarray, scores: np.ndarray, num_classes: int) -> int:
    """Number of detections that share their score with another one of their class."""
    tied = 0
    for k in range(num_classes):
        is_same = np.diff(np.sort(scores[labels == k])) == 0
        tied += np.count_nonzero(np.append(is_same, False) | np.append(False, is_same))
    return tied


def _ap(pairs: Pairs, num_classes: int) -> float:
    tables = pairs.truth, pairs.detections
    frames = 1 + max(table.frames.max(initial=0) for table in tables)
    table = PrecisionTable(match_pairs(pairs), num_classes, np.zeros(frames, np.int64))
    return mean_ap(table.average_precision()[..., 0]) or 0.0
