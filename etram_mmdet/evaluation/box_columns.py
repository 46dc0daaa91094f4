"""Boxes of many frames as columns, since NumPy is slow on the few boxes of a single frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from etram_mmdet.evaluation.results import NO_BOXES, Boxes


class BoxColumns(NamedTuple):
    """N boxes of one kind in F frames, frame by frame.

    Attributes:
        counts: (F,) number of boxes of each frame.
        bboxes_xyxy: (N, 4) floats, network pixels.
        labels: (N,) int64, class numbers.
        scores: (N,) floats from 0 to 1. Default: none, as for ground truth.
        class_scores: (N,) floats from 0 to 1. Default: none.
        has_class_scores: (F,) bool, whether ``class_scores`` of the frame are known. Default: none
            are.
    """

    counts: np.ndarray
    bboxes_xyxy: np.ndarray
    labels: np.ndarray
    scores: np.ndarray | None = None
    class_scores: np.ndarray | None = None
    has_class_scores: np.ndarray | None = None

    @classmethod
    def of(cls, boxes_of_frame: Sequence[Boxes]) -> BoxColumns:
        """Join the boxes of frames; track numbers and names of classes are left out.

        Args:
            boxes_of_frame: boxes of each frame, all with scores or all without.
        """
        columns = cls(
            np.array([len(boxes.labels) for boxes in boxes_of_frame], np.int64),
            _joined(NO_BOXES.bboxes_xyxy, [boxes.bboxes_xyxy for boxes in boxes_of_frame]),
            _joined(NO_BOXES.labels, [boxes.labels for boxes in boxes_of_frame]),
        )
        if any(boxes.scores is None for boxes in boxes_of_frame):
            return columns
        is_known = [boxes.class_scores is not None for boxes in boxes_of_frame]
        filled = [  # with the scores in place of unknown ones
            boxes.class_scores if known else boxes.scores
            for boxes, known in zip(boxes_of_frame, is_known, strict=True)
        ]
        nothing = np.empty(0, np.float32)
        return columns._replace(
            scores=_joined(nothing, [boxes.scores for boxes in boxes_of_frame]),
            class_scores=_joined(nothing, filled),
            has_class_scores=np.array(is_known, bool),
        )

    def per_box(self, of_frame: np.ndarray) -> np.ndarray:
        """Repeat a value of each frame for all its boxes: (N, ...).

        Args:
            of_frame: (F, ...) value of each frame.
        """
        return np.repeat(of_frame, self.counts, axis=0)

    def where(self, frames: np.ndarray, boxes: np.ndarray | None = None) -> BoxColumns:
        """Select frames and boxes.

        Args:
            frames: (F,) bool, whether each frame stays.
            boxes: (N,) bool, whether each box stays if its frame does. Default: all.
        """
        if frames.all() and (boxes is None or boxes.all()):
            return self
        keep = self.per_box(frames)
        keep &= True if boxes is None else boxes
        before = np.append(0, np.cumsum(keep))
        counts = np.diff(before[np.append(0, np.cumsum(self.counts))])[frames]
        *of_boxes, of_frames = self[1:]
        kept = [column if column is None else column[keep] for column in of_boxes]
        return BoxColumns(counts, *kept, of_frames if of_frames is None else of_frames[frames])

    def taken(self, frames: np.ndarray) -> BoxColumns:
        """Take frames in another order.

        Args:
            frames: (M,) numbers of the frames.
        """
        counts = self.counts[frames]
        first = np.cumsum(self.counts) - self.counts
        rows = np.repeat(first[frames] - (np.cumsum(counts) - counts), counts)
        rows += np.arange(len(rows))
        return self._picked(frames, rows)

    def portions(self, frames: int) -> Iterator[BoxColumns]:
        """Parts of so many frames each, which share the memory of the columns.

        Args:
            frames: number of frames of a part; the last one may be shorter.
        """
        first = np.append(0, np.cumsum(self.counts)).tolist()
        for start in range(0, len(self.counts), frames):
            part = slice(start, min(start + frames, len(self.counts)))
            yield self._picked(part, slice(first[part.start], first[part.stop]))

    def _picked(self, frames: np.ndarray | slice, boxes: np.ndarray | slice) -> BoxColumns:
        of_frames = [column if column is None else column[frames] for column in (self[0], self[-1])]
        of_boxes = [column if column is None else column[boxes] for column in self[1:-1]]
        return BoxColumns(of_frames[0], *of_boxes, of_frames[1])

    @classmethod
    def joined(cls, parts: Sequence[BoxColumns]) -> BoxColumns:
        """The boxes of all parts, in order.

        Args:
            parts: one or more; all with scores or all without.
        """
        columns = zip(*parts, strict=True)
        return cls(*(None if each[0] is None else np.concatenate(each) for each in columns))

    def boxes_of_frames(self) -> list[Boxes]:
        """Boxes of each frame, which share the memory of the columns and are not checked."""
        names = ["bboxes_xyxy", "labels"] + (["scores"] if self.scores is not None else [])
        parts = zip(*(self._split(getattr(self, name)) for name in names), strict=True)
        boxes = [NO_BOXES.replaced(**dict(zip(names, part, strict=True))) for part in parts]
        if self.class_scores is None:
            return boxes
        return [
            each.replaced(class_scores=values) if is_known else each
            for each, values, is_known in zip(
                boxes, self._split(self.class_scores), self.has_class_scores.tolist(), strict=True
            )
        ]

    def _split(self, values: np.ndarray) -> list[np.ndarray]:
        ends = np.cumsum(self.counts).tolist()
        return [values[start:stop] for start, stop in pairwise([0, *ends])]


def _joined(nothing: np.ndarray, arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([nothing, *arrays])
