"""COCO's average precision from matches, of any subset of the recordings, with its uncertainty."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from etram_mmdet.evaluation.matching import LEFT_OUT, Matches

RECALLS = np.linspace(0, 1, 101)
RESAMPLES = 500
CONFIDENCE = 0.95
_COLUMNS = 32  # weightings at a time, so that memory does not grow with their number


class Interval(NamedTuple):
    low: float
    high: float


class PrecisionTable:
    """Average precision per class, for any weights of the R recordings.

    A weight of 0 leaves a recording out and 2 counts it twice, so that parts of the data and resamples of it need no
    new matching.
    """

    def __init__(self, matches: Matches, num_classes: int, recording_of_frame: np.ndarray) -> None:
        self.num_classes = num_classes
        self.num_recordings = int(recording_of_frame.max(initial=-1)) + 1
        self._matches = matches
        of_truth = recording_of_frame[matches.truth.frames]
        counted = [matches.counts & (matches.truth.labels == k) for k in range(num_classes)]
        self.boxes = np.stack(
            [np.bincount(of_truth[rows], minlength=self.num_recordings) for rows in counted]
        )  # (K, R)
        self._recordings = recording_of_frame[matches.detections.frames]

    def average_precision(self, weights: np.ndarray | None = None) -> np.ndarray:
        """(K, T, B) for ``weights`` (R, B), by default the whole; NaN for a class without boxes."""
        weights = np.ones((self.num_recordings, 1)) if weights is None else weights.astype(np.float64)
        thresholds = len(self._matches.found)
        table = np.full((self.num_classes, thresholds, weights.shape[1]), np.nan)
        for k in range(self.num_classes):
            rows = self._matches.detections.labels == k
            recordings = self._recordings[rows]
            boxes = self.boxes[k] @ weights
            found = self._matches.found[:, rows]
            for t in range(thresholds if boxes.any() else 0):
                hit_of, alarm_of, starts = self._hits(found[t], recordings)
                for first in range(0, weights.shape[1], _COLUMNS):
                    columns = slice(first, first + _COLUMNS)
                    counted = np.ascontiguousarray(weights[:, columns])
                    areas = _average_precision(hit_of, alarm_of, starts, counted, boxes[columns], RECALLS)
                    table[k, t, columns] = np.where(boxes[columns] > 0, areas, np.nan)
        return table

    @staticmethod
    def _hits(found: np.ndarray, recordings: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The recordings of the H hits and of the false alarms, best first, and how many alarms go before each hit.

        Precision changes for the better at hits only.
        """
        is_hit = found >= 0
        is_alarm = ~is_hit & (found != LEFT_OUT)
        return recordings[is_hit], recordings[is_alarm], np.cumsum(is_alarm)[is_hit]


def mean_ap(table: np.ndarray) -> float | None:
    """Mean over the classes (K, T) that have boxes; ``None`` where none has."""
    present = table[~np.isnan(table).any(1)]
    return float(present.mean()) if len(present) else None


def resamples(num_recordings: int, seed: int = 0) -> np.ndarray:
    """How often each of R recordings was drawn in `RESAMPLES` draws of R with replacement: (R, B)."""
    drawn = np.random.default_rng(seed).integers(num_recordings, size=(RESAMPLES, num_recordings))
    return np.stack([np.bincount(draw, minlength=num_recordings) for draw in drawn], 1)


def interval(tables: np.ndarray) -> Interval | None:
    """95 % interval of the mean AP from (K, T, B) of `resamples` (percentile bootstrap).

    Whole recordings are drawn, since frames of one show the same street and the same road users.
    """
    values = [mean_ap(tables[..., b]) for b in range(tables.shape[2])]
    values = [value for value in values if value is not None]
    tail = 50 * (1 - CONFIDENCE)
    return Interval(*np.percentile(values, (tail, 100 - tail)).tolist()) if values else None


@njit(cache=True)
def _average_precision(hit_of, alarm_of, alarms_before, weights, boxes, recalls):
    """COCO's: precision made monotonous, read off at 101 recalls, mean: (B,).

    ``weights`` (R, B) of the recordings of hits ``hit_of`` (H,) and false alarms ``alarm_of``, ``boxes`` (B,).
    """
    shape = len(hit_of), weights.shape[1]
    hits = np.zeros(shape)
    precision = np.zeros(shape)
    found = np.zeros(shape[1])
    alarms = np.zeros(shape[1])
    first = 0
    for h in range(shape[0]):
        for alarm in range(first, alarms_before[h]):
            alarms += weights[alarm_of[alarm]]
        first = alarms_before[h]
        found += weights[hit_of[h]]
        hits[h] = found
        for b in range(shape[1]):
            if found[b] > 0:
                precision[h, b] = found[b] / (found[b] + alarms[b])
    areas = np.zeros(shape[1])
    for b in range(shape[1]):
        best = 0.0
        r = len(recalls) - 1
        for h in range(shape[0] - 1, -1, -1):
            # recalls that only later hits reach
            while r >= 0 and boxes[b] > 0 and recalls[r] > hits[h, b] / boxes[b]:
                areas[b] += best
                r -= 1
            best = max(best, precision[h, b])
        areas[b] = (areas[b] + (r + 1) * best) / len(recalls)
    return areas
