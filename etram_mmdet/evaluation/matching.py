"""Matching of detections to ground-truth boxes by COCO's greedy rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numba import njit

from etram_mmdet.evaluation.frame_columns import FrameColumns
from etram_mmdet.evaluation.pairs import BoxTable, Overlaps, Pairs
from etram_mmdet.evaluation.results import FrameResult

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
# values of Matches.found that are no row of ground truth
NOTHING = -1  # a false alarm
LEFT_OUT = -2  # a detection that does not count
_HIGHEST = 1 - 1e-10  # COCO's limit of the thresholds


@dataclass(frozen=True, eq=False)
class Matches:
    """Ground-truth box that each detection matches, at each of T IoU thresholds.

    Attributes:
        truth: G boxes: the ground truth, then the ignored boxes.
        counts: (G,) whether a box counts; ignored boxes and boxes of an ignored size do not.
        detections: N detections in falling order of score. Equal scores keep the order of frames,
            as in COCO.
        scores: (N,) scores of the detections.
        rows: (C,) ascending row numbers of the detections that overlap a box. The others match
            nothing at any threshold.
        found_by_rows: (T, C) row of ``truth`` that each of these matches, or `NOTHING` for a false
            alarm, or `LEFT_OUT` for a detection that does not count.
        has_ignored_size: (N,) whether a detection does not count if it matches nothing.
    """

    truth: BoxTable
    counts: np.ndarray
    detections: BoxTable
    scores: np.ndarray
    rows: np.ndarray
    found_by_rows: np.ndarray
    has_ignored_size: np.ndarray

    def at(self, threshold: int) -> Matches:
        """Keep the matches at a single IoU threshold.

        Args:
            threshold: number of the threshold.
        """
        return replace(self, found_by_rows=self.found_by_rows[[threshold]])

    @cached_property
    def found(self) -> np.ndarray:
        """Row of ``truth`` that each detection matches, or `NOTHING`, or `LEFT_OUT`: (T, N)."""
        alone = np.where(self.has_ignored_size, np.int32(LEFT_OUT), np.int32(NOTHING))
        found = np.repeat(alone[None], len(self.found_by_rows), 0)
        found[:, self.rows] = self.found_by_rows
        return found

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
    frames: Sequence[FrameResult] | FrameColumns,
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
    pairs = Overlaps(frames, min(_HIGHEST, *iou_thresholds), by_class).ranked()
    return match_pairs(pairs, lambda table: is_ignored(table.areas_px2), iou_thresholds)


def match_pairs(
    pairs: Pairs,
    is_ignored: Callable[[BoxTable], np.ndarray] = lambda table: is_inside_out(table.areas_px2),
    iou_thresholds: np.ndarray = IOU_THRESHOLDS,
) -> Matches:
    """Match detections to boxes as :func:`match` does, from pairs that are known already.

    So several ranges of the size need one search for pairs only.

    Args:
        pairs: pairs of all frames.
        is_ignored: says which boxes (N,) of a table to leave out. Default: boxes that end before
            they begin.
        iou_thresholds: (T,) IoU thresholds, none below the smallest overlap of the pairs. Default:
            `IOU_THRESHOLDS`.
    """
    counts = ~is_ignored(pairs.truth) & ~pairs.is_crowd
    has_ignored_size = is_ignored(pairs.detections)
    found = _match(
        pairs.starts,
        pairs.boxes,
        pairs.overlaps,
        counts,
        pairs.is_crowd,
        has_ignored_size[pairs.rows],
        np.minimum(iou_thresholds, _HIGHEST),
    )
    return Matches(
        pairs.truth, counts, pairs.detections, pairs.scores, pairs.rows, found, has_ignored_size
    )


@njit(cache=True)
def _match(starts, boxes, overlaps, counts, is_crowd, has_ignored_size, thresholds):
    found = np.empty((len(thresholds), len(has_ignored_size)), np.int32)
    for t in range(len(thresholds)):
        taken = np.zeros(len(counts), np.bool_)
        for d in range(len(has_ignored_size)):
            of_d = slice(starts[d], starts[d + 1])
            best = _best(boxes[of_d], overlaps[of_d], taken, counts, thresholds[t])
            if best == NOTHING:
                found[t, d] = LEFT_OUT if has_ignored_size[d] else NOTHING
                continue
            taken[best] = not is_crowd[best]
            found[t, d] = best if counts[best] else LEFT_OUT
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
