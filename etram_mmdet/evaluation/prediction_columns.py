"""Frames of a file of predictions as columns, so that all of them are checked at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from etram_mmdet.evaluation.joined_boxes import split
from etram_mmdet.evaluation.prediction_checks import beyond_frame
from etram_mmdet.evaluation.results import NO_BOXES, Boxes, FrameResult


class BoxColumns(NamedTuple):
    """N boxes of one kind, frame by frame.

    Attributes:
        counts: (F,) number of boxes of each frame.
        bboxes_xyxy: (N, 4) float32, network pixels.
        labels: (N,) int64, class numbers.
        scores: (N,) float32 from 0 to 1. Default: none, as for ground truth.
        class_scores: (N,) float32 from 0 to 1. Default: none.
        has_class_scores: (F,) bool, whether the frame has ``class_scores``. Default: none.
    """

    counts: np.ndarray
    bboxes_xyxy: np.ndarray
    labels: np.ndarray
    scores: np.ndarray | None = None
    class_scores: np.ndarray | None = None
    has_class_scores: np.ndarray | None = None

    def check_lengths(self) -> None:
        """Check that every column has one value for each box.

        Raises:
            ValueError: a column has another shape.
        """
        boxes = int(self.counts.sum())
        for name, shape in dict(bboxes_xyxy=(boxes, 4), labels=(boxes,), scores=(boxes,)).items():
            column = getattr(self, name)
            if column is not None and column.shape != shape:
                raise ValueError(f"{name} has the shape {column.shape}, expected {shape}")
        of_frames = self.has_class_scores
        if of_frames is not None and (
            of_frames.shape != self.counts.shape or self.class_scores.shape != (boxes,)
        ):
            raise ValueError("class_scores has another length than scores")

    def are_sound(self, num_classes: int) -> bool:
        """Whether all values are as `Boxes` and the checks of predictions expect them.

        Args:
            num_classes: number of classes.
        """
        corners = self.bboxes_xyxy
        scores = [column for column in (self.scores, self.class_scores) if column is not None]
        return bool(
            np.isfinite(corners).all()
            and (corners[:, 2:] >= corners[:, :2]).all()
            and ((self.labels >= 0) & (self.labels < num_classes)).all()
            and all(((column >= 0) & (column <= 1)).all() for column in scores)
        )

    def boxes_of_frames(self) -> list[Boxes]:
        """Boxes of each frame, which share the memory of the columns and are not checked."""
        names = ["bboxes_xyxy", "labels"]
        if self.scores is not None:
            names.append("scores")
        parts = zip(*(split(getattr(self, name), self.counts) for name in names), strict=True)
        boxes = [NO_BOXES.replaced(**dict(zip(names, part, strict=True))) for part in parts]
        if self.class_scores is None:
            return boxes
        class_scores = split(self.class_scores, self.counts)
        has_any = self.has_class_scores.tolist()
        return [
            b.replaced(class_scores=part) if has else b
            for b, part, has in zip(boxes, class_scores, has_any, strict=True)
        ]


class FrameColumns(NamedTuple):
    """F frames of a file of predictions.

    Attributes:
        recordings: name of the recording of each frame.
        t_us: (F,) int64 times of the frames in microseconds.
        start_us: (F,) int64 times at which the recordings begin.
        step_us: (F,) int64 microseconds from one window to the next.
        scales: (F,) int64 sensor pixels per network pixel.
        hw: (F, 2) int64 height and width of the frames in network pixels; 0 if unknown.
        found: detections.
        truth: ground truth.
        ignored: ignored boxes.
    """

    recordings: Sequence[str]
    t_us: np.ndarray
    start_us: np.ndarray
    step_us: np.ndarray
    scales: np.ndarray
    hw: np.ndarray
    found: BoxColumns
    truth: BoxColumns
    ignored: BoxColumns

    def are_sound(self, num_classes: int) -> bool:
        """Whether all boxes are sound, and the truth lies inside the frames.

        Args:
            num_classes: number of classes.
        """
        kinds = (self.found, self.truth, self.ignored)
        if not all(boxes.are_sound(num_classes) for boxes in kinds):
            return False
        hw = np.repeat(self.hw, self.truth.counts, axis=0)
        return not (beyond_frame(self.truth.bboxes_xyxy, hw) & (hw > 0).all(1)).any()

    def frames(self) -> list[FrameResult]:
        """The frames, whose boxes are not checked."""
        hw_of_frames = [tuple(hw) if hw[0] else None for hw in self.hw.tolist()]
        columns = (
            self.recordings,
            self.t_us.tolist(),
            self.truth.boxes_of_frames(),
            self.found.boxes_of_frames(),
            self.scales.tolist(),
            hw_of_frames,
            self.ignored.boxes_of_frames(),
            self.start_us.tolist(),
            self.step_us.tolist(),
        )
        return [FrameResult(*row) for row in zip(*columns, strict=True)]
