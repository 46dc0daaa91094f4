"""Which detection found which box, by COCO's greedy rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from etram_mmdet.evaluation.results import Frame

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
MAX_DETECTIONS = 100  # per frame and class
NOTHING, LEFT_OUT = -1, -2  # in the place of a row of ground truth


@dataclass(frozen=True, eq=False)
class Boxes:
    """The boxes of all frames: ``frames`` (N,) index of their frame, ``labels`` (N,), ``xywh`` (N, 4) network pixels.

    ``areas_px2`` (N,) are in sensor pixels, as sizes of road users are reported.
    """

    frames: np.ndarray
    labels: np.ndarray
    xywh: np.ndarray
    areas_px2: np.ndarray

    @classmethod
    def of(cls, boxes_xyxy: Sequence[np.ndarray], labels: Sequence[np.ndarray], scales: Sequence[int]) -> Boxes:
        xywh = np.concatenate([np.empty((0, 4)), *boxes_xyxy]).astype(np.float64)
        xywh[:, 2:] -= xywh[:, :2]
        counts = [len(each) for each in labels]
        areas_px2 = xywh[:, 2] * xywh[:, 3] * np.repeat(np.square(scales), counts)
        return cls(
            np.repeat(np.arange(len(labels)), counts), np.concatenate([np.empty(0, np.int64), *labels]), xywh, areas_px2
        )

    def __getitem__(self, rows: np.ndarray) -> Boxes:
        return Boxes(self.frames[rows], self.labels[rows], self.xywh[rows], self.areas_px2[rows])


@dataclass(frozen=True, eq=False)
class Matches:
    """Detections, best first, and for each of T IoU thresholds the ground-truth box that it found.

    ``found`` (T, N): rows of ``truth``, or `NOTHING`, or `LEFT_OUT` for a detection that does not count. Equal scores
    keep the order of frames, as COCO does. ``counts`` (G,): the boxes that there are to be found.
    """

    truth: Boxes
    counts: np.ndarray
    detections: Boxes
    scores: np.ndarray  # (N,)
    found: np.ndarray

    @property
    def is_hit(self) -> np.ndarray:
        """Whether a detection found a box: (T, N) bool."""
        return self.found >= 0


def is_inside_out(areas_px2: np.ndarray) -> np.ndarray:
    """What COCO's range for all sizes leaves out."""
    return areas_px2 < 0


def match(
    frames: Sequence[Frame],
    iou_thresholds: np.ndarray = IOU_THRESHOLDS,
    by_class: bool = True,
    is_ignored: Callable[[np.ndarray], np.ndarray] = is_inside_out,
) -> Matches:
    """Each detection, best first, takes the free box of its frame with which it overlaps most, if by the threshold.

    Only boxes of its class, unless ``by_class`` is off. At most `MAX_DETECTIONS` of a frame and class count.
    ``is_ignored(areas_px2)`` leaves boxes out as COCO's area ranges do: a detection that finds such a box, or none
    and is of such a size, is left out too.
    """
    scales = [f.scale for f in frames]
    truth = Boxes.of([f.gt_bboxes_xyxy for f in frames], [f.gt_labels for f in frames], scales)
    detections = Boxes.of([f.bboxes_xyxy for f in frames], [f.labels for f in frames], scales)
    scores = np.concatenate([np.empty(0, np.float32), *(f.scores for f in frames)])
    order = np.argsort(-scores, kind="stable")
    detections, scores = detections[order], scores[order]
    counted = _among_best(detections)
    detections, scores = detections[counted], scores[counted]
    counts = ~is_ignored(truth.areas_px2)
    groups = 1 + max(b.labels.max(initial=0) for b in (truth, detections)) if by_class else 1
    truth_group, group = (b.frames * groups + (b.labels if by_class else 0) for b in (truth, detections))
    by_group = np.argsort(truth_group, kind="stable")
    starts = np.searchsorted(truth_group[by_group], np.arange(len(frames) * groups + 1))
    found = _match(group, detections.xywh, truth.xywh, counts, by_group, starts, np.asarray(iou_thresholds))
    left_out = np.where(found == NOTHING, is_ignored(detections.areas_px2), ~np.append(counts, True)[found])
    return Matches(truth, counts, detections, scores, np.where(left_out, LEFT_OUT, found))


def _among_best(detections: Boxes) -> np.ndarray:
    """Which of the detections, best first, are among the first `MAX_DETECTIONS` of their frame and class: (N,) bool."""
    key = detections.frames * (1 + detections.labels.max(initial=0)) + detections.labels
    order = np.argsort(key, kind="stable")
    _, first, counts = np.unique(key[order], return_index=True, return_counts=True)
    rank = np.empty(len(key), np.int64)
    rank[order] = np.arange(len(key)) - np.repeat(first, counts)
    return rank < MAX_DETECTIONS


@njit(cache=True)
def _match(group, boxes, truth, counts, by_group, starts, thresholds):
    found = np.full((len(thresholds), len(group)), NOTHING)
    taken = np.zeros((len(thresholds), len(truth)), np.bool_)
    overlaps = np.empty(len(truth))
    for d in range(len(group)):
        rows = by_group[starts[group[d]] : starts[group[d] + 1]]
        for i, row in enumerate(rows):
            overlaps[i] = _iou(boxes[d], truth[row])
        for t in range(len(thresholds)):
            best = _best(rows, overlaps, taken[t], counts, min(thresholds[t], 1 - 1e-10))
            if best != NOTHING:
                taken[t, best] = True
                found[t, d] = best
    return found


@njit(cache=True, inline="always")
def _best(rows, overlaps, taken, counts, least):
    best, best_iou = NOTHING, least
    for i, row in enumerate(rows):
        has_better_kind = best != NOTHING and counts[best] and not counts[row]
        if taken[row] or has_better_kind:
            continue
        # a box that counts goes before any that does not, whatever the overlaps
        is_better_kind = best != NOTHING and counts[row] and not counts[best]
        if overlaps[i] >= (least if is_better_kind else best_iou):
            best, best_iou = row, overlaps[i]
    return best


@njit(cache=True, inline="always")
def _iou(a, b):
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (a[2] * a[3] + b[2] * b[3] - width * height)
