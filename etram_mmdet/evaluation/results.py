"""The boxes of a frame, and the labelled frames of an evaluation: the truth beside what was detected."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np

from etram_mmdet.events.preprocessing.frame_times import STEP_US
from etram_mmdet.utils.errors import InputError

_COLUMNS = {  # kind of the NumPy type, the number of dimensions
    "bboxes_xyxy": ("f", 2),
    "labels": ("i", 1),
    "scores": ("f", 1),
    "ids": ("i", 1),
    "class_scores": ("f", 1),
}
_OF_DETECTIONS = "If training diverged, lower the learning rate or resume from an earlier checkpoint"
_OF_TRUTH = "Mend the labels that these boxes come from"


@dataclass(frozen=True, eq=False)
class Boxes:
    """N boxes of one frame, ground truth or detections, checked when they are made. Needs NumPy only.

    Args:
        bboxes_xyxy: (N, 4) floats x1 y1 x2 y2 in pixels; of which image, whoever holds the boxes says.
        labels: (N,) integers, numbers of classes.
        scores: (N,) floats from 0 to 1 by which detections are ranked. Default: none, as for ground truth.
        ids: (N,) integers, numbers of the tracks. Default: none.
        class_scores: (N,) floats from 0 to 1, the class probability alone, from heads that tell it. Default: none.
        classes: the names that ``labels`` number. Default: unknown.

    Raises:
        InputError: a column has another shape or type, holds NaN or infinity, or scores outside 0 to 1.
    """

    bboxes_xyxy: np.ndarray
    labels: np.ndarray
    scores: np.ndarray | None = None
    ids: np.ndarray | None = None
    class_scores: np.ndarray | None = None
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, (kind, dimensions) in _COLUMNS.items():
            column = getattr(self, name)
            if column is not None:
                advice = _OF_TRUTH if self.scores is None else _OF_DETECTIONS
                _check_column(name, column, kind, (len(self.labels), 4)[:dimensions], advice)

    @classmethod
    def empty(cls) -> Boxes:
        """No box, with columns for all scores."""
        nothing = np.empty(0, np.float32)
        return cls(
            np.empty((0, 4), np.float32),
            np.empty(0, np.int64),
            scores=nothing,
            class_scores=nothing,
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: np.ndarray | slice) -> Boxes:
        """Some of the boxes: a mask (N,), numbers of rows or a slice."""
        chosen = object.__new__(Boxes)  # rows of what was checked need no second check
        for name, value in vars(self).items():
            is_column = name in _COLUMNS and value is not None
            object.__setattr__(chosen, name, value[rows] if is_column else value)
        return chosen

    def __eq__(self, other: object) -> bool:
        """Whether all columns and class names are equal."""
        if not isinstance(other, Boxes):
            return NotImplemented
        return all(np.array_equal(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))

    def clipped(self, hw: tuple[int, int]) -> Boxes:
        """The same boxes cut to a frame of height and width ``hw``, in pixels of these boxes.

        The frame ends at its last pixel, W - 1 and H - 1, where data sets cut the ground truth.
        """
        cut = np.clip(self.bboxes_xyxy, 0, np.array([hw[1] - 1, hw[0] - 1] * 2, self.bboxes_xyxy.dtype))
        return replace(self, bboxes_xyxy=cut)

    @property
    def names(self) -> list[str]:
        """The class of each box, where ``classes`` are known."""
        return [self.classes[label] for label in self.labels]


def _check_column(name: str, column: np.ndarray, kind: str, shape: tuple[int, ...], advice: str) -> None:
    if column.shape != shape:
        raise InputError(f"{name} has the shape {column.shape}, expected {shape} for {shape[0]} labels")
    if column.dtype.kind != kind:
        expected = "floats" if kind == "f" else "integers"
        raise InputError(f"{name} are of type {column.dtype}, expected {expected}")
    if kind == "f" and not np.isfinite(column).all():
        number = (~np.isfinite(column)).sum()
        raise InputError(f"{name} holds {number} values that are NaN or infinite, expected none. {advice}")
    if "scores" in name and ((column < 0) | (column > 1)).any():
        outside = column[(column < 0) | (column > 1)]
        raise InputError(
            f"{name} holds {len(outside)} values outside 0 to 1, such as {outside[0]:g}; divide percentages by 100, "
            "put logits through a sigmoid"
        )


NO_BOXES = Boxes(np.empty((0, 4), np.float32), np.empty(0, np.int64))


class FrameResult(NamedTuple):
    """One labelled frame; boxes in network pixels.

    Attributes:
        recording: name of the recording.
        t_us: time of the frame.
        truth: ground truth.
        found: detections, with scores, as the detector told them: they may reach beyond the frame.
        scale: sensor pixels per network pixel.
        hw: height and width of the frame in network pixels, where they are known.
        ignored: boxes too small to count: nobody has to find them, and a detection of one is no false alarm.
        start_us: where the recording begins on its clock.
        step_us: time from one window of the stream to the next. Labels may be rarer than windows.
    """

    recording: str
    t_us: int
    truth: Boxes
    found: Boxes
    scale: int = 1
    hw: tuple[int, int] | None = None
    ignored: Boxes = NO_BOXES
    start_us: int = 0
    step_us: int = STEP_US

    @property
    def key(self) -> tuple[str, int]:
        """What makes a frame the same frame on every worker and rank."""
        return self.recording, self.t_us


def merge(frames: Iterable[FrameResult]) -> dict[tuple[str, int], FrameResult]:
    """Each frame once, sorted by (recording, t_us), so that no metric depends on how the work was spread.

    A frame may come twice (shards are padded to equal length) if it says the same; else ``InputError``.
    """
    merged: dict[tuple[str, int], FrameResult] = {}
    for frame in frames:
        other = merged.setdefault(frame.key, frame)
        if other is not frame and other != frame:
            raise InputError(
                f"{place_of(*frame.key)} reached the metric twice with different boxes ({len(other.found)} and "
                f"{len(frame.found)} detections): one stream was read by two lanes or ranks. Expected each labelled "
                "frame once: let the sampler mark repeated frames with is_padding=True"
            )
    return dict(sorted(merged.items()))


def make_boxes(place: str, what: str, **columns) -> Boxes:
    """`Boxes` whose errors begin with ``place`` and ``what``, such as "ground truth"."""
    try:
        return Boxes(**columns)
    except InputError as error:
        raise InputError(f"{place}: {what}: {error}") from error


def check_labels(frame: FrameResult, num_classes: int) -> None:
    """Raises ``InputError`` with recording and time for a label without a class."""
    for what, boxes in (("ground truth", frame.truth), ("detections", frame.found), ("ignored", frame.ignored)):
        unknown = np.unique(boxes.labels[(boxes.labels < 0) | (boxes.labels >= num_classes)])
        if unknown.size:
            raise InputError(
                f"{place_of(*frame.key)}: {what}: labels holds {unknown.tolist()}, expected 0 to {num_classes - 1} "
                f"({num_classes} classes). Make the dataset's class_set and the head's num_classes fit the label files"
            )


def place_of(recording: str, t_us: int) -> str:
    """Recording and time, as errors name them."""
    return f"recording {recording!r} at t_us={t_us}"
