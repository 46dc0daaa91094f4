"""Evaluated frames as columns, since NumPy is slow on the few boxes of a single frame."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from etram_mmdet.evaluation.results import NO_BOXES, Boxes, FrameResult


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


class FrameColumns(NamedTuple):
    """F evaluated frames.

    Attributes:
        names: names of the recordings.
        recordings: (F,) int64, number of the recording of each frame among ``names``.
        t_us: (F,) int64 times of the frames in microseconds.
        start_us: (F,) int64 times at which the recordings begin.
        step_us: (F,) int64 microseconds from one window to the next.
        scales: (F,) int64 sensor pixels per network pixel.
        hw: (F, 2) int64 height and width of the frames in network pixels; 0 if unknown.
        found: detections.
        truth: ground truth.
        ignored: ignored boxes.
    """

    names: Sequence[str]
    recordings: np.ndarray
    t_us: np.ndarray
    start_us: np.ndarray
    step_us: np.ndarray
    scales: np.ndarray
    hw: np.ndarray
    found: BoxColumns
    truth: BoxColumns
    ignored: BoxColumns

    @classmethod
    def of(cls, frames: Sequence[FrameResult] | FrameColumns) -> FrameColumns:
        """Join frames.

        Args:
            frames: evaluated frames, or columns, which are returned unchanged.
        """
        if isinstance(frames, FrameColumns):
            return frames
        names = sorted({frame.recording for frame in frames})
        number = {name: i for i, name in enumerate(names)}
        return cls(
            names,
            _whole([number[frame.recording] for frame in frames]),
            _whole([frame.t_us for frame in frames]),
            _whole([frame.start_us for frame in frames]),
            _whole([frame.step_us for frame in frames]),
            _whole([frame.scale for frame in frames]),
            _whole([frame.hw or (0, 0) for frame in frames]).reshape(-1, 2),
            BoxColumns.of([frame.found for frame in frames]),
            BoxColumns.of([frame.truth for frame in frames]),
            BoxColumns.of([frame.ignored for frame in frames]),
        )

    @property
    def count(self) -> int:
        """Number of frames."""
        return len(self.t_us)

    @property
    def has_known_size(self) -> np.ndarray:
        """Whether ``hw`` is known: (F,) bool."""
        return (self.hw > 0).all(1)

    def where(
        self,
        frames: np.ndarray,
        found: np.ndarray | None = None,
        truth: np.ndarray | None = None,
        ignored: np.ndarray | None = None,
    ) -> FrameColumns:
        """Select frames and boxes.

        Args:
            frames: (F,) bool, whether each frame stays.
            found: whether each detection stays. Default: those of the frames that stay.
            truth: the same of the ground truth.
            ignored: the same of the ignored boxes.
        """
        return FrameColumns(
            self.names,
            *(column[frames] for column in self[1:7]),
            self.found.where(frames, found),
            self.truth.where(frames, truth),
            self.ignored.where(frames, ignored),
        )

    def frames(self) -> list[FrameResult]:
        """The frames, whose boxes are not checked."""
        columns = (
            [self.names[number] for number in self.recordings.tolist()],
            self.t_us.tolist(),
            self.truth.boxes_of_frames(),
            self.found.boxes_of_frames(),
            self.scales.tolist(),
            [tuple(hw) if hw[0] else None for hw in self.hw.tolist()],
            self.ignored.boxes_of_frames(),
            self.start_us.tolist(),
            self.step_us.tolist(),
        )
        return [FrameResult(*row) for row in zip(*columns, strict=True)]


def _joined(nothing: np.ndarray, arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([nothing, *arrays])


def _whole(values: list) -> np.ndarray:
    return np.array(values, np.int64)
