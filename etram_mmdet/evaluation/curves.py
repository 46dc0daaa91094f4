"""Precision, recall and F1 over the score threshold at IoU .5, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from etram_mmdet.evaluation.frame_columns import FrameColumns
from etram_mmdet.evaluation.matching import LEFT_OUT, Matches, match
from etram_mmdet.evaluation.results import FrameResult

IOU_THR = 0.5
THRESHOLDS = np.linspace(0, 1, 101)


class Counts(NamedTuple):
    """Hits and false alarms of one class at each of R score thresholds, and its number of boxes.

    Attributes:
        hits: (R,) detections that match a box.
        alarms: (R,) false alarms: detections that match no box.
        boxes: number of ground-truth boxes.
    """

    hits: np.ndarray  # (R,)
    alarms: np.ndarray  # (R,)
    boxes: int

    @property
    def precision(self) -> np.ndarray:
        """Precision (R,); 1 at thresholds that no detection passes."""
        found = self.hits + self.alarms
        return np.where(found > 0, self.hits / np.maximum(found, 1), 1.0)

    @property
    def recall(self) -> np.ndarray:
        """Recall (R,); NaN without boxes."""
        return self.hits / self.boxes if self.boxes else np.full(len(self.hits), np.nan)

    def f_beta(self, beta: float = 1.0) -> np.ndarray:
        """F-beta score (R,); NaN without boxes.

        Args:
            beta: recall counts ``beta`` times as much as precision. Default: 1.
        """
        if not self.boxes:
            return np.full(len(self.hits), np.nan)
        return (1 + beta**2) * self.hits / (beta**2 * self.boxes + self.hits + self.alarms)


def count(
    scores: np.ndarray, is_hit: np.ndarray, boxes: int, thresholds: np.ndarray = THRESHOLDS
) -> Counts:
    """Count hits and false alarms at each score threshold.

    Args:
        scores: (N,) scores of the detections, in falling order.
        is_hit: (N,) whether a detection matches a box.
        boxes: number of ground-truth boxes.
        thresholds: (R,) score thresholds; a score equal to a threshold passes it. Default:
            `THRESHOLDS`.
    """
    passing = np.searchsorted(
        -scores.astype(np.float32), -np.asarray(thresholds, np.float32), side="right"
    )
    hits = np.append(0, np.cumsum(is_hit))[passing]
    return Counts(hits, passing - hits, boxes)


def class_counts(
    matches: Matches, num_classes: int, thresholds: np.ndarray = THRESHOLDS
) -> list[Counts]:
    """Hits and false alarms of every class at each score threshold, one `Counts` per class.

    Args:
        matches: matched detections; the first IoU threshold must be `IOU_THR`.
        num_classes: number of classes.
        thresholds: (R,) score thresholds. Default: `THRESHOLDS`.
    """
    rows = np.flatnonzero(matches.found[0] != LEFT_OUT)
    labels = matches.detections.labels[rows].astype(np.int16)  # which NumPy sorts fastest
    rows = rows[np.argsort(labels, kind="stable")]
    found = np.bincount(labels, minlength=num_classes)
    boxes = np.bincount(matches.truth.labels[matches.counts], minlength=num_classes)
    is_hit = matches.found[0, rows] >= 0
    scores = matches.scores[rows]
    stops = np.cumsum(found)
    return [
        count(scores[start:stop], is_hit[start:stop], int(boxes[k]), thresholds)
        for k, (start, stop) in enumerate(
            zip((stops - found)[:num_classes], stops[:num_classes], strict=True)
        )
    ]


def best_common_threshold(counts: Sequence[Counts], thresholds: np.ndarray = THRESHOLDS) -> float:
    """Pick the one threshold for all classes with the largest mean F1 score.

    The mean is over classes that have boxes. Ties go to the higher threshold.

    Args:
        counts: hits and false alarms of each class, at ``thresholds``.
        thresholds: (R,) score thresholds, ascending. Default: `THRESHOLDS`.
    """
    f1 = np.mean([c.f_beta() for c in counts if c.boxes], axis=0)
    return float(thresholds[len(thresholds) - 1 - np.argmax(f1[::-1])])


def confusion_matrix(
    frames: Sequence[FrameResult] | FrameColumns, num_classes: int, score_thr: float
) -> np.ndarray:
    """Confusion matrix (K + 1, K + 1) of counts: rows are the true class, columns the detected one.

    Each box gets at most one detection, of the highest score first, whatever its class. The last
    row counts false alarms (detections without a box); the last column counts missed boxes.

    Args:
        frames: evaluated frames, with truth and detections.
        num_classes: number of classes, K.
        score_thr: detections of a lower score are left out.
    """
    columns = FrameColumns.of(frames)
    is_sure = columns.found.scores >= score_thr
    sure = columns.where(np.ones(columns.count, bool), found=is_sure)
    matches = match(sure, [IOU_THR], by_class=False)
    found = matches.found[0]
    background = num_classes
    hit = matches.is_hit[0]
    matrix = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    np.add.at(matrix, (matches.truth.labels[found[hit]], matches.detections.labels[hit]), 1)
    np.add.at(matrix, (background, matches.detections.labels[matches.is_alarm[0]]), 1)
    missed = np.setdiff1d(np.flatnonzero(matches.counts), found[hit])
    np.add.at(matrix, (matches.truth.labels[missed], background), 1)
    return matrix


def recall_by_side(
    matches: Matches, edges_px: np.ndarray, score_thr: float
) -> tuple[np.ndarray, np.ndarray]:
    """Number of boxes, and of detected boxes, by side of the box.

    The side is the square root of the area. Sides below the first edge count in the first range,
    sides above the last edge in the last range.

    Args:
        matches: matched detections; the first IoU threshold is used.
        edges_px: (B + 1,) ascending edges of the ranges, in sensor pixels.
        score_thr: detections of a lower score are left out.

    Returns:
        Number of boxes (B,) and number of them that are detected (B,).
    """
    sides_px = np.sqrt(matches.truth.areas_px2[matches.counts]).clip(edges_px[0], edges_px[-1])
    found = matches.found[0, matches.scores >= score_thr]
    is_found = np.zeros(len(matches.counts), bool)
    is_found[found[found >= 0]] = True
    of_found = sides_px[is_found[matches.counts]]
    return np.histogram(sides_px, edges_px)[0], np.histogram(of_found, edges_px)[0]
