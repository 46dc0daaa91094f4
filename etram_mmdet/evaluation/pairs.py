"""Pairs of a detection and a ground-truth box that overlap enough to match.

Most detections overlap no box of their class. They are false alarms at every IoU threshold, so only
the few others need a place in tables of thresholds and detections.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from etram_mmdet.evaluation.box_columns import BoxColumns
from etram_mmdet.evaluation.frame_columns import FrameColumns
from etram_mmdet.evaluation.nms import iou, share_inside
from etram_mmdet.evaluation.results import FrameResult

MAX_DETECTIONS = 100  # per frame and class


@dataclass(frozen=True, eq=False)
class BoxTable:
    """N boxes of all frames as columns.

    Attributes:
        frames: (N,) number of the frame.
        labels: (N,) number of the class.
        network_areas_px2: (N,) areas in square network pixels, as in COCO's size ranges; negative
            if a box ends before it begins.
        areas_px2: (N,) areas in square sensor pixels, the unit in which sizes of road users are
            reported.
    """

    frames: np.ndarray
    labels: np.ndarray
    network_areas_px2: np.ndarray
    areas_px2: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> BoxTable:
        return BoxTable(*(column[rows] for column in vars(self).values()))


@dataclass(frozen=True, eq=False)
class Pairs:
    """P pairs of a detection and a box of the same frame and class, with their overlaps.

    Attributes:
        truth: G boxes: the ground truth, then the ignored boxes.
        is_crowd: (G,) whether a box is one of the ignored boxes, which are COCO's crowds.
        detections: N detections in falling order of score. At most `MAX_DETECTIONS` of a frame and
            class are kept.
        scores: (N,) scores of the detections.
        ranks: (N,) place of each detection among those of its frame and class, from 0.
        rows: (C,) ascending row numbers of the detections that occur in a pair.
        starts: (C + 1,) first pair of each of these detections, and P.
        boxes: (P,) row number of the box of each pair.
        overlaps: (P,) IoU of each pair; for crowds the share of the detection inside the crowd.
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


class Overlaps:
    """Search for the pairs of all frames, whose detections may then be ranked.

    Args:
        frames: evaluated frames, with truth and detections.
        least: smallest overlap of a pair. Default: 0.5.
        by_class: whether both must have the same class. Default: true.
    """

    def __init__(
        self,
        frames: Sequence[FrameResult] | FrameColumns,
        least: float = 0.5,
        by_class: bool = True,
    ) -> None:
        columns = FrameColumns.of(frames)
        found, truth, ignored = columns[-3:]
        labels = np.concatenate([truth.labels, ignored.labels])
        bboxes_xyxy = np.concatenate([truth.bboxes_xyxy, ignored.bboxes_xyxy]).astype(np.float64)
        of_frame = np.concatenate([_frames(truth), _frames(ignored)])
        found_bboxes_xyxy = found.bboxes_xyxy.astype(np.float64)
        self.truth = _table(of_frame, labels, bboxes_xyxy, columns.scales)
        self.is_crowd = np.repeat([False, True], [len(truth.labels), len(ignored.labels)])
        self.detections = _table(_frames(found), found.labels, found_bboxes_xyxy, columns.scales)
        self.scores = found.scores
        self._frames = columns.count
        self._starts, self._boxes, self._overlaps = _search(
            self.detections.frames,
            found.labels,
            found_bboxes_xyxy,
            labels,
            bboxes_xyxy,
            _starts(truth.counts),
            len(truth.labels) + _starts(ignored.counts),
            len(truth.labels),
            by_class,
            least,
        )

    def ranked(self, last_first: bool = False) -> Pairs:
        """Sort the detections by falling score.

        Args:
            last_first: order of equal scores. Default: that of frames and rows, as in COCO; if
                true, the reverse.
        """
        order = _falling(self.scores, last_first)
        groups = 1 + int(self.detections.labels.max(initial=0))
        ranks = _ranks(
            order, self.detections.frames, self.detections.labels, groups, self._frames * groups
        )
        among_best = ranks < MAX_DETECTIONS
        if not among_best.all():
            order = order[among_best]
            ranks = ranks[among_best]
        counts = np.diff(self._starts)[order]
        rows = np.flatnonzero(counts)
        starts = np.append(0, np.cumsum(counts[rows]))
        chosen = np.repeat(self._starts[order[rows]] - starts[:-1], counts[rows])
        chosen += np.arange(len(chosen))
        return Pairs(
            truth=self.truth,
            is_crowd=self.is_crowd,
            detections=self.detections[order],
            scores=self.scores[order],
            ranks=ranks,
            rows=rows,
            starts=starts,
            boxes=self._boxes[chosen],
            overlaps=self._overlaps[chosen],
        )


def _frames(boxes: BoxColumns) -> np.ndarray:
    """Number of the frame of each box."""
    return boxes.per_box(np.arange(len(boxes.counts)))


def _starts(counts: np.ndarray) -> np.ndarray:
    """First row of each frame, and the number of rows."""
    return np.append(0, np.cumsum(counts))


def _table(
    frames: np.ndarray, labels: np.ndarray, bboxes_xyxy: np.ndarray, scales: np.ndarray
) -> BoxTable:
    x1, y1, x2, y2 = bboxes_xyxy.T
    network_areas_px2 = (x2 - x1) * (y2 - y1)
    return BoxTable(
        frames, labels, network_areas_px2, network_areas_px2 * scales[frames].astype(float) ** 2
    )


def _falling(scores: np.ndarray, last_first: bool) -> np.ndarray:
    """Row numbers by falling score; equal scores keep their order, or get the reverse one."""
    if last_first:
        return len(scores) - 1 - _falling(scores[::-1], False)
    if scores.dtype != np.float32 or not len(scores) < 2**32:
        return np.argsort(-scores, kind="stable")
    # The bits of numbers from 0 on ascend as they do. With the row behind them no two keys are
    # equal, and NumPy sorts whole numbers ten times as fast as it sorts floats stably.
    keys = (~(scores + np.float32(0)).view(np.uint32)).astype(np.uint64) << np.uint64(32)
    keys |= np.arange(len(scores), dtype=np.uint64)
    keys.sort()
    return (keys & np.uint64(2**32 - 1)).astype(np.int64)


@njit(cache=True)
def _ranks(order, frames, labels, groups, all_groups):
    """Number of earlier detections of the same frame and class, in this order."""
    ranks = np.empty(len(order), np.int32)
    seen = np.zeros(all_groups, np.int32)
    for i in range(len(order)):
        group = frames[order[i]] * groups + labels[order[i]]
        ranks[i] = seen[group]
        seen[group] += 1
    return ranks


@njit(cache=True)
def _search(
    frames,
    labels,
    bboxes,
    truth_labels,
    truth_bboxes,
    truth_starts,
    crowd_starts,
    first_crowd,
    by_class,
    least,
):
    """First pair of every detection, and box and overlap of every pair."""
    starts = np.zeros(len(frames) + 1, np.int64)
    boxes = np.empty(len(truth_labels) + 16, np.int32)
    overlaps = np.empty(len(boxes))
    p = 0
    for d in range(len(frames)):
        for of_frame in (truth_starts, crowd_starts):
            for row in range(of_frame[frames[d]], of_frame[frames[d] + 1]):
                if by_class and labels[d] != truth_labels[row]:
                    continue
                if row >= first_crowd:
                    overlap = share_inside(bboxes[d], truth_bboxes[row])
                else:
                    overlap = iou(bboxes[d], truth_bboxes[row])
                if overlap >= least:
                    if p == len(boxes):
                        boxes = np.append(boxes, np.empty_like(boxes))
                        overlaps = np.append(overlaps, np.empty_like(overlaps))
                    boxes[p] = row
                    overlaps[p] = overlap
                    p += 1
        starts[d + 1] = p
    return starts, boxes[:p].copy(), overlaps[:p].copy()
