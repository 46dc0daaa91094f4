"""Evaluation protocols: rules under which an AP is measured.

Numbers of different protocols must not be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from etram_mmdet.evaluation.joined_boxes import clipped, filtered, joined, per_box
from etram_mmdet.evaluation.results import Boxes, FrameResult, place_of
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
        late = [f for f in frames if self.skip_us is None or f.t_us - f.start_us > self.skip_us]
        kept = self._large_boxes(self._clipped([self._ranked(frame) for frame in late]))
        chosen = [frame for frame in kept if len(frame.truth) or not self.only_with_boxes]
        removed = Removed(
            frames=len(frames) - len(chosen),
            boxes=sum(len(f.truth) for f in frames) - sum(len(f.truth) for f in chosen),
            detections=sum(len(f.found) for f in frames) - sum(len(f.found) for f in chosen),
            ignored=_different([f.ignored for f in chosen]),
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
            raise InputError(
                f"protocol {self.name}: {place_of(*frame.key)} has no class_scores, which only "
                "RVTYOLOXHead and its variants predict; use the protocol "
                f"{self.name.removesuffix(BY_CLASS_SCORE)}"
            )

    def _ranked(self, frame: FrameResult) -> FrameResult:
        self.check(frame)
        if not self.by_class_score:
            return frame
        return frame._replace(found=frame.found.replaced(scores=frame.found.class_scores))

    def _clipped(self, frames: list[FrameResult]) -> list[FrameResult]:
        if not self.clips:
            return frames
        known = [frame for frame in frames if frame.hw is not None]
        cut = iter(clipped([frame.found for frame in known], [frame.hw for frame in known]))
        return [f if f.hw is None else f._replace(found=next(cut)) for f in frames]

    def _large_boxes(self, frames: list[FrameResult]) -> list[FrameResult]:
        if not frames or not (self.min_diagonal_px or self.min_side_px):
            return frames
        scales = [frame.scale for frame in frames]
        truth, found, ignored = (
            filtered(boxes, self._is_large(boxes, scales))
            for boxes in (
                [frame.truth for frame in frames],
                [frame.found for frame in frames],
                [frame.ignored for frame in frames],
            )
        )
        return [
            frame._replace(truth=t, found=f, ignored=i)
            for frame, t, f, i in zip(frames, truth, found, ignored, strict=True)
        ]

    def _is_large(self, boxes_of_frame: list[Boxes], scales: list[int]) -> np.ndarray:
        corners = joined(boxes_of_frame)
        scale = per_box(np.array(scales, corners.dtype), boxes_of_frame)
        sides_px = (corners[:, 2:] - corners[:, :2]) * scale[:, None]
        return ((sides_px**2).sum(1) >= self.min_diagonal_px**2) & (
            sides_px >= self.min_side_px
        ).all(1)


def _different(boxes_of_frame: list[Boxes]) -> int:
    """Number of boxes that differ in frame or corners: one may be repeated for every class."""
    if not boxes_of_frame:
        return 0
    frames = per_box(np.arange(len(boxes_of_frame)), boxes_of_frame)
    return len(np.unique(np.column_stack([frames, joined(boxes_of_frame)]), axis=0))


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
