"""Evaluation protocols: rules under which an AP is measured.

Numbers of different protocols must not be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from etram_mmdet.evaluation.box_columns import BoxColumns
from etram_mmdet.evaluation.frame_columns import FrameColumns
from etram_mmdet.evaluation.results import FrameResult, place_of
from etram_mmdet.events.labels import MIN_SIDE_PX
from etram_mmdet.utils.errors import InputError

# suffix of a protocol's name: rank by class probability alone, without objectness, as RVT does
BY_CLASS_SCORE = ":class"


@dataclass(frozen=True)
class Protocol:
    """Rules of an evaluation: frames and boxes that count, and whether classes matter.

    Detections rank by their score, which is objectness times class probability with YOLOX heads, or
    by class probability alone. Ignored boxes of a frame (under 5 px, which the reference drops)
    need not be detected, and a detection of one costs nothing.

    Attributes:
        name: name of the protocol.
        rules: the rules in words, for the log.
        skip_us: leave out frames up to so many microseconds after their recording begins. Default:
            none.
        min_diagonal_px: remove boxes with a smaller diagonal, in sensor pixels, from ground truth
            *and* from detections. Default: 0.
        min_side_px: the same for boxes with a smaller side. Default: 0.
        only_with_boxes: leave out frames without a remaining ground-truth box. Their false alarms
            then cost nothing. Default: false.
        class_aware: whether a detection matches boxes of its own class only. Default: true.
        by_class_score: rank by class probability alone. Default: false.
        clips: clip detections to the frame first, as a user of them would; a frame of unknown size
            is not changed. The reference's evaluation does not clip: a box that reaches beyond the
            border is evaluated as a whole. Default: false.
    """

    name: str
    rules: str
    skip_us: int | None = None
    min_diagonal_px: float = 0.0
    min_side_px: float = 0.0
    only_with_boxes: bool = False
    class_aware: bool = True
    by_class_score: bool = False
    clips: bool = False

    def __str__(self) -> str:
        ranking = ", ranked by class probability alone" if self.by_class_score else ""
        return f"{self.name}: {self.rules}{ranking}, IoU .50:.95, maxDets 1/10/100"

    def select(self, frames: Sequence[FrameResult]) -> tuple[list[FrameResult], Removed]:
        """Select the frames and boxes that count under the protocol.

        Args:
            frames: evaluated frames; they are not changed.

        Returns:
            The frames that count, with the boxes that count, and what was left out.
        """
        chosen, removed = self.select_columns(FrameColumns.of(frames))
        return chosen.frames(), removed

    def select_columns(self, columns: FrameColumns) -> tuple[FrameColumns, Removed]:
        """Select as :meth:`select` does.

        Args:
            columns: evaluated frames; they are not changed.
        """
        is_late = np.ones(columns.count, bool)
        if self.skip_us is not None:
            is_late = columns.t_us - columns.start_us > self.skip_us
        chosen = self._large_boxes(self._clipped(self._ranked(columns.where(is_late))))
        if self.only_with_boxes:
            chosen = chosen.where(chosen.truth.counts > 0)
        removed = Removed(
            frames=columns.count - chosen.count,
            boxes=len(columns.truth.labels) - len(chosen.truth.labels),
            detections=len(columns.found.labels) - len(chosen.found.labels),
            ignored=_different(chosen.ignored),
        )
        return chosen, removed

    def check(self, frame: FrameResult) -> None:
        """Check that a frame has the scores by which the protocol ranks.

        Args:
            frame: frame with detections.

        Raises:
            InputError: the protocol ranks by class probability, and the frame has none.
        """
        if self.by_class_score and frame.found.class_scores is None:
            raise self._no_class_scores(*frame.key)

    def _no_class_scores(self, recording: str, t_us: int) -> InputError:
        return InputError(
            f"protocol {self.name}: {place_of(recording, t_us)} has no class_scores, which only "
            "RVTYOLOXHead and its variants predict; use the protocol "
            f"{self.name.removesuffix(BY_CLASS_SCORE)}"
        )

    def _ranked(self, columns: FrameColumns) -> FrameColumns:
        if not self.by_class_score:
            return columns
        found = columns.found
        if not found.has_class_scores.all():
            first = int(found.has_class_scores.argmin())
            name = columns.names[columns.recordings[first]]
            raise self._no_class_scores(name, int(columns.t_us[first]))
        return columns._replace(found=found._replace(scores=found.class_scores))

    def _clipped(self, columns: FrameColumns) -> FrameColumns:
        if not self.clips:
            return columns
        found = columns.found
        corners = found.bboxes_xyxy
        last = found.per_box((columns.hw[:, [1, 0, 1, 0]] - 1).astype(corners.dtype))
        cut = np.clip(corners, 0, last)
        if not columns.has_known_size.all():
            cut = np.where(found.per_box(columns.has_known_size)[:, None], cut, corners)
        return columns._replace(found=found._replace(bboxes_xyxy=cut))

    def _large_boxes(self, columns: FrameColumns) -> FrameColumns:
        if not self.min_diagonal_px and not self.min_side_px:
            return columns
        found, truth, ignored = (
            self._is_large(boxes, columns.scales)
            for boxes in (columns.found, columns.truth, columns.ignored)
        )
        return columns.where(np.ones(columns.count, bool), found, truth, ignored)

    def _is_large(self, boxes: BoxColumns, scales: np.ndarray) -> np.ndarray:
        corners = boxes.bboxes_xyxy
        scale = boxes.per_box(scales.astype(corners.dtype))
        with np.errstate(over="ignore"):  # an infinite side is a large one
            sides_px = (corners[:, 2:] - corners[:, :2]) * scale[:, None]
            diagonals_px2 = (sides_px**2).sum(1)
        is_large = diagonals_px2 >= self.min_diagonal_px**2
        return is_large & (sides_px >= self.min_side_px).all(1)


def _different(boxes: BoxColumns) -> int:
    """Number of boxes that differ in frame or corners: one may be repeated for every class."""
    frames = boxes.per_box(np.arange(len(boxes.counts)))
    return len(np.unique(np.column_stack([frames, boxes.bboxes_xyxy]), axis=0))


@dataclass(frozen=True)
class Removed:
    """Numbers of what a protocol leaves out.

    Attributes:
        frames: number of frames that are left out.
        boxes: number of ground-truth boxes that are left out.
        detections: number of detections that are left out.
        ignored: number of ignored boxes in the remaining frames. Default: 0.
    """

    frames: int
    boxes: int
    detections: int
    ignored: int = 0

    def __str__(self) -> str:
        ignored = (
            f"; ignored: {self.ignored} boxes under {MIN_SIDE_PX} sensor px or of no class"
            if self.ignored
            else ""
        )
        return (
            f"left out: {self.frames} frames, {self.boxes} boxes, {self.detections} detections"
            f"{ignored}"
        )


_PROPHESEE = dict(skip_us=500_000, min_diagonal_px=60, min_side_px=20, only_with_boxes=True)
_GEN1 = dict(_PROPHESEE, min_diagonal_px=30, min_side_px=10)
_FILTERED = (
    "first 0.5 s, diagonals < {min_diagonal_px} and sides < {min_side_px} sensor px and frames "
    "without boxes left out"
)
PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "coco",
            f"class-aware, no box filter, boxes < {MIN_SIDE_PX} sensor px ignored, detections "
            "clipped to the frame",
            clips=True,
        ),
        # Used by RVT, SMamba and others on 1Mpx and eTraM.
        Protocol("prophesee", f"class-aware, {_FILTERED.format(**_PROPHESEE)}", **_PROPHESEE),
        # The same on Gen1, whose sensor has 304 x 240 pixels.
        Protocol("prophesee_gen1", f"class-aware, {_FILTERED.format(**_GEN1)}", **_GEN1),
        # The "All" column of the eTraM paper and of its fork.
        Protocol(
            "etram_paper",
            f"class-agnostic, {_FILTERED.format(**_PROPHESEE)}",
            class_aware=False,
            **_PROPHESEE,
        ),
    )
}


def get_protocols(names: Sequence[str]) -> tuple[Protocol, ...]:
    """Look up protocols by name.

    Args:
        names: keys of `PROTOCOLS`, each optionally followed by ``:class`` to rank detections by
            class probability alone.

    Raises:
        InputError: a name is unknown, or there is none. The message lists the known names.
    """
    unknown = [name for name in names if name.removesuffix(BY_CLASS_SCORE) not in PROTOCOLS]
    if unknown or not names:
        raise InputError(
            f"unknown protocols {unknown}: expected some of {', '.join(PROTOCOLS)}, each possibly "
            f"followed by {BY_CLASS_SCORE}"
        )
    return tuple(_get(name) for name in names)


def _get(name: str) -> Protocol:
    protocol = PROTOCOLS[name.removesuffix(BY_CLASS_SCORE)]
    return (
        replace(protocol, name=name, by_class_score=True)
        if name.endswith(BY_CLASS_SCORE)
        else protocol
    )
