"""Precision, recall and F1 of each class over the score threshold, at IoU .5, and what is taken for what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from etram_mmdet.evaluation.matching import LEFT_OUT, Matches, match
from etram_mmdet.evaluation.results import FrameResult

IOU_THR = 0.5
THRESHOLDS = np.linspace(0, 1, 101)


class Counts(NamedTuple):
    """Of one class at each of R thresholds: detections that found a box, that found none, and boxes in all."""

    hits: np.ndarray  # (R,)
    alarms: np.ndarray  # (R,)
    boxes: int

    @property
    def precision(self) -> np.ndarray:
        """1 where nothing is detected."""
        found = self.hits + self.alarms
        return np.where(found > 0, self.hits / np.maximum(found, 1), 1.0)

    @property
    def recall(self) -> np.ndarray:
        """NaN without boxes."""
        return self.hits / self.boxes if self.boxes else np.full(len(self.hits), np.nan)

    def f_beta(self, beta: float = 1.0) -> np.ndarray:
        """Recall counts ``beta`` times as much as precision; NaN without boxes."""
        if not self.boxes:
            return np.full(len(self.hits), np.nan)
        return (1 + beta**2) * self.hits / (beta**2 * self.boxes + self.hits + self.alarms)


def count(scores: np.ndarray, is_hit: np.ndarray, boxes: int, thresholds: np.ndarray = THRESHOLDS) -> Counts:
    """``scores`` and ``is_hit`` (N,), best first; a detection passes a threshold that it equals."""
    passing = np.searchsorted(-scores.astype(np.float32), -np.asarray(thresholds, np.float32), side="right")
    hits = np.append(0, np.cumsum(is_hit))[passing]
    return Counts(hits, passing - hits, boxes)


def class_counts(matches: Matches, num_classes: int, thresholds: np.ndarray = THRESHOLDS) -> list[Counts]:
    """Of every class, from matches whose first IoU threshold is `IOU_THR`."""
    counts = []
    for k in range(num_classes):
        rows = (matches.detections.labels == k) & (matches.found[0] != LEFT_OUT)
        boxes = int((matches.counts & (matches.truth.labels == k)).sum())
        counts.append(count(matches.scores[rows], matches.is_hit[0, rows], boxes, thresholds))
    return counts


def best_common_threshold(counts: Sequence[Counts], thresholds: np.ndarray = THRESHOLDS) -> float:
    """The one for all classes with the largest mean F1 over classes that have boxes; the highest of several."""
    f1 = np.mean([c.f_beta() for c in counts if c.boxes], axis=0)
    return float(thresholds[len(thresholds) - 1 - np.argmax(f1[::-1])])


def confusion_matrix(frames: Sequence[FrameResult], num_classes: int, score_thr: float) -> np.ndarray:
    """What each box was taken for: (K + 1, K + 1) counts; rows are the truth, columns what was said.

    One detection to a box, best first, whatever its class. The last row is background, detections that found no box;
    the last column is background, boxes that nobody found.
    """
    sure = [f._replace(found=f.found[f.found.scores >= score_thr]) for f in frames]
    matches = match(sure, np.array([IOU_THR]), by_class=False)
    found = matches.found[0]
    background = num_classes
    hit = matches.is_hit[0]
    matrix = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    np.add.at(matrix, (matches.truth.labels[found[hit]], matches.detections.labels[hit]), 1)
    np.add.at(matrix, (background, matches.detections.labels[matches.is_alarm[0]]), 1)
    missed = np.setdiff1d(np.flatnonzero(matches.counts), found[hit])
    np.add.at(matrix, (matches.truth.labels[missed], background), 1)
    return matrix


def recall_by_side(matches: Matches, edges_px: np.ndarray, score_thr: float) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (B,) whose side in sensor pixels lies between two edges, and how many a detection found that is so sure.

    Those below the first edge and above the last count in the first and the last range.
    """
    sides_px = np.sqrt(matches.truth.areas_px2[matches.counts]).clip(edges_px[0], edges_px[-1])
    found = matches.found[0, matches.scores >= score_thr]
    is_found = np.zeros(len(matches.counts), bool)
    is_found[found[found >= 0]] = True
    of_found = sides_px[is_found[matches.counts]]
    return np.histogram(sides_px, edges_px)[0], np.histogram(of_found, edges_px)[0]
