"""Which detection found which box, by COCO's greedy rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from etram_mmdet.evaluation.nms import iou
from etram_mmdet.evaluation.results import Boxes, FrameResult

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
MAX_DETECTIONS = 100  # per frame and class
NOTHING = -1  # in the place of a row of ground truth
LEFT_OUT = -2


@dataclass(frozen=True, eq=False)
class BoxTable:
    """The N boxes of all frames as columns, which matching goes through.

    Attributes:
        frames: (N,) number of the frame.
        labels: (N,).
        bboxes_xyxy: (N, 4) float64, network pixels.
        areas_px2: (N,) in sensor pixels, as sizes of road users are reported; negative for a box inside out.
    """

    frames: np.ndarray
    labels: np.ndarray
    bboxes_xyxy: np.ndarray
    areas_px2: np.ndarray

    @classmethod
    def of(cls, boxes_of_frame: Sequence[Boxes], scales: Sequence[int]) -> BoxTable:
        """Join the boxes of all frames; ``scales``: sensor pixels per network pixel of each."""
        counts = [len(boxes) for boxes in boxes_of_frame]
        bboxes_xyxy = np.concatenate([np.empty((0, 4)), *(boxes.bboxes_xyxy for boxes in boxes_of_frame)])
        sides_px = bboxes_xyxy[:, 2:] - bboxes_xyxy[:, :2]
        return cls(
            frames=np.repeat(np.arange(len(counts)), counts),
            labels=np.concatenate([np.empty(0, np.int64), *(boxes.labels for boxes in boxes_of_frame)]),
            bboxes_xyxy=bboxes_xyxy,
            areas_px2=sides_px[:, 0] * sides_px[:, 1] * np.repeat(np.square(scales), counts),
        )

    def __getitem__(self, rows: np.ndarray) -> BoxTable:
        return BoxTable(self.frames[rows], self.labels[rows], self.bboxes_xyxy[rows], self.areas_px2[rows])


@dataclass(frozen=True, eq=False)
class Matches:
    """Which ground-truth box each detection found at each of T IoU thresholds.

    Attributes:
        truth: the G boxes of ground truth.
        counts: (G,) whether a box is one of those that there are to be found.
        detections: the N detections, best first. Equal scores keep the order of frames, as COCO does.
        scores: (N,).
        found: (T, N) rows of ``truth``, or `NOTHING`, or `LEFT_OUT` for a detection that does not count.
    """

    truth: BoxTable
    counts: np.ndarray
    detections: BoxTable
    scores: np.ndarray
    found: np.ndarray

    @property
    def is_hit(self) -> np.ndarray:
        """Whether a detection found a box: (T, N) bool."""
        return self.found >= 0

    @property
    def is_alarm(self) -> np.ndarray:
        """Whether a detection counts and found nothing: (T, N) bool."""
        return self.found == NOTHING


def is_inside_out(areas_px2: np.ndarray) -> np.ndarray:
    """What COCO's range for all sizes leaves out."""
    return areas_px2 < 0


def match(
    frames: Sequence[FrameResult],
    iou_thresholds: np.ndarray = IOU_THRESHOLDS,
    by_class: bool = True,
    is_ignored: Callable[[np.ndarray], np.ndarray] = is_inside_out,
) -> Matches:
    """Each detection, best first, takes the free box of its frame with which it overlaps most, if by the threshold.

    Only boxes of its class, unless ``by_class`` is off. At most `MAX_DETECTIONS` of a frame and class count.
    ``is_ignored(areas_px2)`` leaves boxes out as COCO's area ranges do: a detection that finds such a box, or none
    and is of such a size, is left out too.
    """
    truth = BoxTable.of([f.truth for f in frames], [f.scale for f in frames])
    detections, scores = _best_first(frames)
    counts = ~is_ignored(truth.areas_px2)
    groups = 1
    if by_class:
        groups += max(truth.labels.max(initial=0), detections.labels.max(initial=0))
    truth_group = truth.frames * groups
    group = detections.frames * groups
    if by_class:
        truth_group += truth.labels
        group += detections.labels
    by_group = np.argsort(truth_group, kind="stable")
    starts = np.searchsorted(truth_group[by_group], np.arange(len(frames) * groups + 1))
    thresholds = np.asarray(iou_thresholds)
    found = _match(group, detections.bboxes_xyxy, truth.bboxes_xyxy, counts, by_group, starts, thresholds)
    has_ignored_size = is_ignored(detections.areas_px2)
    found_ignored = ~np.append(counts, True)[found]  # the last one stands for NOTHING
    left_out = np.where(found == NOTHING, has_ignored_size, found_ignored)
    return Matches(truth, counts, detections, scores, np.where(left_out, LEFT_OUT, found))


def _best_first(frames: Sequence[FrameResult]) -> tuple[BoxTable, np.ndarray]:
    """The detections that take part, and their scores (N,)."""
    detections = BoxTable.of([f.found for f in frames], [f.scale for f in frames])
    scores = np.concatenate([np.empty(0, np.float32), *(f.found.scores for f in frames)])
    order = np.argsort(-scores, kind="stable")
    order = order[_among_best(detections.frames[order], detections.labels[order])]
    return detections[order], scores[order]


def _among_best(frames: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Which of the detections, best first, are among the first `MAX_DETECTIONS` of their frame and class: (N,) bool."""
    key = frames * (1 + labels.max(initial=0)) + labels
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
            overlaps[i] = iou(boxes[d], truth[row])
        for t in range(len(thresholds)):
            best = _best(rows, overlaps, taken[t], counts, min(thresholds[t], 1 - 1e-10))
            if best != NOTHING:
                taken[t, best] = True
                found[t, d] = best
    return found


@njit(cache=True, inline="always")
def _best(rows, overlaps, taken, counts, least):
    best = NOTHING
    best_iou = least
    for i, row in enumerate(rows):
        has_better_kind = best != NOTHING and counts[best] and not counts[row]
        if taken[row] or has_better_kind:
            continue
        # a box that counts goes before any that does not, whatever the overlaps
        is_better_kind = best != NOTHING and counts[row] and not counts[best]
        if overlaps[i] >= (least if is_better_kind else best_iou):
            best = row
            best_iou = overlaps[i]
    return best
