"""COCO's average precision from matches, of any subset of the recordings, with its uncertainty."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from .matching import LEFT_OUT, Matches

RECALLS = np.linspace(0, 1, 101)
RESAMPLES = 500
CONFIDENCE = 0.95


class Interval(NamedTuple):
    low: float
    high: float


class PrecisionTable:
    """Average precision per class, for any weights of the frames.

    A weight of 0 leaves a frame out and 2 counts it twice, so that parts of the data and resamples of it need no new
    matching.
    """

    def __init__(self, matches: Matches, num_classes: int) -> None:
        self.num_classes, truth, detections = num_classes, matches.truth, matches.detections
        self._truth_frames = [truth.frames[matches.counts & (truth.labels == k)] for k in range(num_classes)]
        self._detections = []
        for k in range(num_classes):
            rows = np.flatnonzero(detections.labels == k)
            found = matches.found[:, rows]
            self._detections.append((detections.frames[rows], found >= 0, found != LEFT_OUT))

    def boxes(self, frame_weights: np.ndarray) -> np.ndarray:
        """Ground-truth boxes of each class: (K,)."""
        return np.array([frame_weights[frames].sum() for frames in self._truth_frames])

    def average_precision(self, frame_weights: np.ndarray) -> np.ndarray:
        """(K, T), NaN for a class without boxes; ``frame_weights``: (F,)."""
        weights = frame_weights.astype(np.float64)
        table = np.full((self.num_classes, len(self._detections[0][1])), np.nan)
        for k, (frames, is_hit, is_counted) in enumerate(self._detections):
            boxes = weights[self._truth_frames[k]].sum()
            if boxes > 0:
                table[k] = _average_precision(is_hit, is_counted, weights[frames], boxes, RECALLS)
        return table


def mean_ap(table: np.ndarray) -> float | None:
    """Mean over the classes (K, T) that have boxes; ``None`` where none has."""
    present = table[~np.isnan(table).any(1)]
    return float(present.mean()) if len(present) else None


def bootstrap(table: PrecisionTable, recording_of_frame: np.ndarray, seed: int = 0) -> Interval | None:
    """95 % interval of the mean AP if other recordings of this kind had been evaluated; ``None`` for a single one.

    `RESAMPLES` draws of as many recordings with replacement (percentile bootstrap): frames of one recording show the
    same street and the same road users, so they are no independent samples.
    """
    recordings = recording_of_frame.max(initial=-1) + 1
    if recordings < 2:
        return None
    rng, values = np.random.default_rng(seed), []
    for _ in range(RESAMPLES):
        drawn = np.bincount(rng.integers(recordings, size=recordings), minlength=recordings)
        values.append(mean_ap(table.average_precision(drawn[recording_of_frame])))
    tail = 50 * (1 - CONFIDENCE)
    return Interval(*np.percentile([v for v in values if v is not None], (tail, 100 - tail)).tolist())


@njit(cache=True)
def _average_precision(is_hit, is_counted, weights, boxes, recalls):
    """COCO's: precision made monotonous, read off at 101 recalls, mean; (T,)."""
    areas = np.zeros(len(is_hit))
    precision, recall = np.empty(len(weights)), np.empty(len(weights))
    for t in range(len(is_hit)):
        hits, misses = 0.0, 0.0
        for d in range(len(weights)):
            if is_hit[t, d]:
                hits += weights[d]
            elif is_counted[t, d]:
                misses += weights[d]
            recall[d] = hits / boxes
            precision[d] = hits / (hits + misses) if hits else 0.0
        for d in range(len(weights) - 2, -1, -1):
            precision[d] = max(precision[d], precision[d + 1])
        rank = np.searchsorted(recall, recalls)
        for r in rank:
            if r < len(weights):
                areas[t] += precision[r]
        areas[t] /= len(recalls)
    return areas
