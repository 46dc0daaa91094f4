"""Matching of detections to ground-truth boxes by COCO's greedy rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numba import njit

from etram_mmdet.evaluation.nms import iou, share_inside
from etram_mmdet.evaluation.results import Boxes, FrameResult

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
MAX_DETECTIONS = 100  # per frame and class
# values of Matches.found that are no row of ground truth
NOTHING = -1  # a false alarm
LEFT_OUT = -2  # a detection that does not count


@dataclass(frozen=True, eq=False)
class BoxTable:
    """N boxes of all frames as columns.

    Attributes:
        frames: (N,) number of the frame.
        labels: (N,) number of the class.
        bboxes_xyxy: (N, 4) float64, network pixels.
        areas_px2: (N,) areas in square sensor pixels, the unit in which sizes of road users are
            reported; negative if a box ends before it begins.
    """

    frames: np.ndarray
    labels: np.ndarray
    bboxes_xyxy: np.ndarray
    areas_px2: np.ndarray

    @classmethod
    def of(cls, boxes_of_frame: Sequence[Boxes], scales: Sequence[int]) -> BoxTable:
        """Join the boxes of all frames.

        Args:
            boxes_of_frame: boxes of each frame, in network pixels.
            scales: sensor pixels per network pixel of each frame.
        """
        counts = [len(boxes) for boxes in boxes_of_frame]
        bboxes_xyxy = np.concatenate(
            [np.empty((0, 4)), *(boxes.bboxes_xyxy for boxes in boxes_of_frame)]
        )
        sides_px = bboxes_xyxy[:, 2:] - bboxes_xyxy[:, :2]
        return cls(
            frames=np.repeat(np.arange(len(counts)), counts),
            labels=np.concatenate(
                [np.empty(0, np.int64), *(boxes.labels for boxes in boxes_of_frame)]
            ),
            bboxes_xyxy=bboxes_xyxy,
            areas_px2=sides_px[:, 0] * sides_px[:, 1] * np.repeat(np.square(scales), counts),
        )

    def __getitem__(self, rows: np.ndarray) -> BoxTable:
        return BoxTable(
            self.frames[rows], self.labels[rows], self.bboxes_xyxy[rows], self.areas_px2[rows]
        )

    def joined(self, other: BoxTable) -> tuple[BoxTable, np.ndarray]:
        """Boxes of both tables, and for each whether it comes from ``other``."""
        columns = [
            np.concatenate([getattr(t, f.name) for t in (self, other)]) for f in fields(self)
        ]
        return BoxTable(*columns), np.repeat([False, True], [len(self.labels), len(other.labels)])


@dataclass(frozen=True, eq=False)
class Matches:
    """Ground-truth box that each detection matches, at each of T IoU thresholds.

    Attributes:
        truth: G boxes: the ground truth, then the ignored boxes.
        counts: (G,) whether a box counts; ignored boxes and boxes of an ignored size do not.
        detections: N detections in falling order of score. Equal scores keep the order of frames,
            as in COCO.
        scores: (N,) scores of the detections.
        found: (T, N) row of ``truth`` that a detection matches, or `NOTHING` for a false alarm, or
            `LEFT_OUT` for a detection that does not count.
    """

    truth: BoxTable
    counts: np.ndarray
    detections: BoxTable
    scores: np.ndarray
    found: np.ndarray

    @property
    def is_hit(self) -> np.ndarray:
        """Whether a detection matches a box: (T, N) bool."""
        return self.found >= 0

    @property
    def is_alarm(self) -> np.ndarray:
        """Whether a detection counts and matches no box: (T, N) bool."""
        return self.found == NOTHING


def is_inside_out(areas_px2: np.ndarray) -> np.ndarray:
    """Whether boxes end before they begin, which COCO's range for all sizes leaves out.

    Args:
        areas_px2: (N,) areas in square sensor pixels.
    """
    return areas_px2 < 0


def match(
    frames: Sequence[FrameResult],
    iou_thresholds: np.ndarray = IOU_THRESHOLDS,
    by_class: bool = True,
    is_ignored: Callable[[np.ndarray], np.ndarray] = is_inside_out,
) -> Matches:
    """Match detections to boxes: each, best score first, takes the free box of highest IoU.

    The box must be of the same frame and the IoU must reach the threshold. At most `MAX_DETECTIONS`
    detections of a frame and class count. Boxes that a frame ignores are COCO's crowds: any number
    of detections may match one, and the overlap is the share of the detection's area that lies
    inside the box.

    Args:
        frames: evaluated frames, with truth and detections.
        iou_thresholds: (T,) IoU thresholds. Default: `IOU_THRESHOLDS`.
        by_class: whether a detection matches boxes of its own class only. Default: true.
        is_ignored: takes areas (N,) in square sensor pixels and says which boxes to leave out, as
            COCO's area ranges do. A detection is left out if it matches such a box, or if it
            matches none and has such a size itself. Default: `is_inside_out`.
    """
    scales = [f.scale for f in frames]
    truth, is_crowd = BoxTable.of([f.truth for f in frames], scales).joined(
        BoxTable.of([f.ignored for f in frames], scales)
    )
    detections, scores = _best_first(frames)
    counts = ~is_ignored(truth.areas_px2) & ~is_crowd
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
    bboxes = detections.bboxes_xyxy, truth.bboxes_xyxy
    found = _match(group, *bboxes, counts, is_crowd, by_group, starts, thresholds)
    has_ignored_size = is_ignored(detections.areas_px2)
    found_ignored = ~np.append(counts, True)[found]  # the appended one is for NOTHING
    left_out = np.where(found == NOTHING, has_ignored_size, found_ignored)
    return Matches(truth, counts, detections, scores, np.where(left_out, LEFT_OUT, found))


def _best_first(frames: Sequence[FrameResult]) -> tuple[BoxTable, np.ndarray]:
    """Detections that take part in the matching, best score first, and their scores (N,)."""
    detections = BoxTable.of([f.found for f in frames], [f.scale for f in frames])
    scores = np.concatenate([np.empty(0, np.float32), *(f.found.scores for f in frames)])
    order = np.argsort(-scores, kind="stable")
    order = order[_among_best(detections.frames[order], detections.labels[order])]
    return detections[order], scores[order]


def _among_best(frames: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether detections are among the first `MAX_DETECTIONS` of their frame and class: (N,) bool.

    Detections come in falling order of score.
    """
    key = frames * (1 + labels.max(initial=0)) + labels
    order = np.argsort(key, kind="stable")
    _, first, counts = np.unique(key[order], return_index=True, return_counts=True)
    rank = np.empty(len(key), np.int64)
    rank[order] = np.arange(len(key)) - np.repeat(first, counts)
    return rank < MAX_DETECTIONS


@njit(cache=True)
def _match(group, boxes, truth, counts, is_crowd, by_group, starts, thresholds):
    found = np.full((len(thresholds), len(group)), NOTHING)
    taken = np.zeros((len(thresholds), len(truth)), np.bool_)
    overlaps = np.empty(len(truth))
    for d in range(len(group)):
        rows = by_group[starts[group[d]] : starts[group[d] + 1]]
        for i, row in enumerate(rows):
            overlaps[i] = (
                share_inside(boxes[d], truth[row]) if is_crowd[row] else iou(boxes[d], truth[row])
            )
        for t in range(len(thresholds)):
            best = _best(rows, overlaps, taken[t], counts, min(thresholds[t], 1 - 1e-10))
            if best != NOTHING:
                taken[t, best] = not is_crowd[best]
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
        # a box that counts is preferred to an ignored one, whatever the overlaps
        is_better_kind = best != NOTHING and counts[row] and not counts[best]
        if overlaps[i] >= (least if is_better_kind else best_iou):
            best = row
            best_iou = overlaps[i]
    return best
