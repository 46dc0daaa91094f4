"""Pairs of a detection and a ground-truth box that overlap enough to match.

Most detections overlap no box of their class. They are false alarms at every IoU threshold, so only
the few others need a place in tables of thresholds and detections.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numba import njit

from etram_mmdet.evaluation.nms import iou, share_inside
from etram_mmdet.evaluation.results import Boxes, FrameResult

MAX_DETECTIONS = 100  # per frame and class


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
        return cls(
            frames=np.repeat(np.arange(len(counts)), counts),
            labels=np.concatenate(
                [np.empty(0, np.int64), *(boxes.labels for boxes in boxes_of_frame)]
            ),
            bboxes_xyxy=bboxes_xyxy,
            areas_px2=_areas(bboxes_xyxy) * np.repeat(np.square(scales), counts),
        )

    @property
    def network_areas_px2(self) -> np.ndarray:
        """(N,) areas in square network pixels, as COCO's size ranges take them."""
        return _areas(self.bboxes_xyxy)

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
class Pairs:
    """P pairs of a detection and a box of the same frame and class, with their overlaps.

    Attributes:
        truth: G boxes: the ground truth, then the ignored boxes.
        is_crowd: (G,) whether a box is one of the ignored boxes, which are COCO's crowds.
        detections: N detections in falling order of score. Equal scores keep the order of frames,
            as in COCO. At most `MAX_DETECTIONS` of a frame and class are kept.
        scores: (N,) scores of the detections.
        ranks: (N,) place of each detection among those of its frame and class, from 0.
        rows: (C,) ascending row numbers of the detections that occur in a pair.
        starts: (C + 1,) first pair of each of these detections, and P.
        boxes: (P,) row number of the box of each pair.
        overlaps: (P,) IoU of each pair; for crowds the share of the detection inside the crowd.
        least_overlap: smallest overlap of a pair.
    """

    truth: BoxTable
    is_crowd: np.ndarray
    detections: BoxTable
    scores: np.ndarray
    ranks: np.ndarray
    rows: np.ndarray
    starts: np.ndarray
    boxes: np.ndarray
    overlaps: np.ndarray
    least_overlap: float

    @classmethod
    def of(
        cls, frames: Sequence[FrameResult], least_overlap: float = 0.5, by_class: bool = True
    ) -> Pairs:
        """Find the pairs of all frames.

        Args:
            frames: evaluated frames, with truth and detections.
            least_overlap: smallest overlap of a pair. Default: 0.5.
            by_class: whether both must have the same class. Default: true.
        """
        scales = [f.scale for f in frames]
        truth, is_crowd = BoxTable.of([f.truth for f in frames], scales).joined(
            BoxTable.of([f.ignored for f in frames], scales)
        )
        detections, scores, ranks = _best_first(frames, scales)
        groups = 1
        if by_class:
            groups += int(max(truth.labels.max(initial=0), detections.labels.max(initial=0)))
        of_truth = _group(truth, groups)
        by_group = np.argsort(of_truth, kind="stable")
        first_of_group = np.searchsorted(of_truth[by_group], np.arange(len(frames) * groups + 1))
        search = (
            _group(detections, groups),
            detections.bboxes_xyxy,
            truth.bboxes_xyxy,
            is_crowd,
            by_group,
            first_of_group,
            least_overlap,
        )
        counts = _count_pairs(*search)
        rows = np.flatnonzero(counts)
        starts = np.append(0, np.cumsum(counts[rows], dtype=np.int64))
        boxes, overlaps = _find_pairs(rows, starts, *search)
        return cls(
            truth,
            is_crowd,
            detections,
            scores,
            ranks,
            rows,
            starts,
            boxes,
            overlaps,
            least_overlap,
        )


def _areas(bboxes_xyxy: np.ndarray) -> np.ndarray:
    sides_px = bboxes_xyxy[:, 2:] - bboxes_xyxy[:, :2]
    return sides_px[:, 0] * sides_px[:, 1]


def _group(table: BoxTable, groups: int) -> np.ndarray:
    """Number of the frame and class of each box; with one group to a frame, classes are ignored."""
    return table.frames * groups + (table.labels if groups > 1 else 0)


def _best_first(
    frames: Sequence[FrameResult], scales: Sequence[int]
) -> tuple[BoxTable, np.ndarray, np.ndarray]:
    """Detections that take part, best score first, with scores (N,) and ranks (N,)."""
    detections = BoxTable.of([f.found for f in frames], scales)
    scores = np.concatenate([np.empty(0, np.float32), *(f.found.scores for f in frames)])
    order = np.argsort(-scores, kind="stable")
    groups = 1 + int(detections.labels.max(initial=0))
    ranks = _ranks(_group(detections, groups)[order], len(frames) * groups)
    among_best = ranks < MAX_DETECTIONS
    if not among_best.all():
        order = order[among_best]
        ranks = ranks[among_best]
    return detections[order], scores[order], ranks


@njit(cache=True)
def _ranks(group, num_groups):
    """Number of earlier elements of the same group, for each element."""
    ranks = np.empty(len(group), np.int32)
    seen = np.zeros(num_groups, np.int32)
    for i in range(len(group)):
        ranks[i] = seen[group[i]]
        seen[group[i]] += 1
    return ranks


@njit(cache=True)
def _count_pairs(group, bboxes, truth, is_crowd, by_group, first_of_group, least_overlap):
    counts = np.zeros(len(group), np.int32)
    for d in range(len(group)):
        for row in by_group[first_of_group[group[d]] : first_of_group[group[d] + 1]]:
            counts[d] += _overlap(bboxes[d], truth[row], is_crowd[row]) >= least_overlap
    return counts


@njit(cache=True)
def _find_pairs(
    rows, starts, group, bboxes, truth, is_crowd, by_group, first_of_group, least_overlap
):
    boxes = np.empty(starts[-1], np.int32)
    overlaps = np.empty(starts[-1])
    p = 0
    for d in rows:
        for row in by_group[first_of_group[group[d]] : first_of_group[group[d] + 1]]:
            overlap = _overlap(bboxes[d], truth[row], is_crowd[row])
            if overlap >= least_overlap:
                boxes[p] = row
                overlaps[p] = overlap
                p += 1
    return boxes, overlaps


@njit(cache=True, inline="always")
def _overlap(bbox, of_truth, is_crowd):
    return share_inside(bbox, of_truth) if is_crowd else iou(bbox, of_truth)
