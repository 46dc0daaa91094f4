"""Boxes of a frame, and labelled frames with ground truth and detections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from etram_mmdet.events.preprocessing.frame_times import STEP_US
from etram_mmdet.utils.errors import InputError

_COLUMNS = {  # kind of the NumPy type, number of dimensions
    "bboxes_xyxy": ("f", 2),
    "labels": ("i", 1),
    "scores": ("f", 1),
    "ids": ("i", 1),
    "class_scores": ("f", 1),
}
_OF_DETECTIONS = (
    "If training diverged, lower the learning rate or resume from an earlier checkpoint"
)
_OF_TRUTH = "Correct the labels that these boxes come from"


@dataclass(frozen=True, eq=False)
class Boxes:
    """N boxes of one frame, ground truth or detections, checked when they are created.

    This class needs NumPy only.

    Args:
        bboxes_xyxy: (N, 4) floats x1 y1 x2 y2 in pixels; the object that holds the boxes says of
            which image.
        labels: (N,) integers, class numbers.
        scores: (N,) floats from 0 to 1 by which detections are ranked. Default: none, as for ground
            truth.
        ids: (N,) integers, track numbers. Default: none.
        class_scores: (N,) floats from 0 to 1, the class probability alone, if the head predicts it.
            Default: none.
        classes: class names, indexed by ``labels``. Default: unknown.

    Raises:
        InputError: a column has another shape or type, holds NaN or infinity, or scores outside 0
            to 1.
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
        """Zero boxes, with empty columns for both kinds of score."""
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
        """Select boxes by a mask (N,), by row numbers or by a slice."""
        columns = {name: getattr(self, name) for name in _COLUMNS}
        return self.replaced(
            **{name: column[rows] for name, column in columns.items() if column is not None}
        )

    def replaced(self, **columns: np.ndarray) -> Boxes:
        """Copy the boxes with other columns, which are not checked again.

        Args:
            **columns: columns by name, made from columns that were checked.
        """
        copy = object.__new__(Boxes)
        vars(copy).update(vars(self), **columns)
        return copy

    def __eq__(self, other: object) -> bool:
        """Whether all columns and class names are equal."""
        if not isinstance(other, Boxes):
            return NotImplemented
        return all(
            np.array_equal(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)
        )

    def clipped(self, hw: tuple[int, int]) -> Boxes:
        """Copy the boxes, clipped to a frame.

        The frame ends at its last pixel, W - 1 and H - 1, as ground truth in data sets does.

        Args:
            hw: height and width of the frame, in pixels of these boxes.
        """
        cut = np.clip(
            self.bboxes_xyxy, 0, np.array([hw[1] - 1, hw[0] - 1] * 2, self.bboxes_xyxy.dtype)
        )
        return self.replaced(bboxes_xyxy=cut)

    @property
    def names(self) -> list[str]:
        """Class name of each box; ``classes`` must be known."""
        return [self.classes[label] for label in self.labels]


def _check_column(
    name: str, column: np.ndarray, kind: str, shape: tuple[int, ...], advice: str
) -> None:
    if column.shape != shape:
        raise InputError(
            f"{name} has the shape {column.shape}, expected {shape} for {shape[0]} labels"
        )
    if column.dtype.kind != kind:
        expected = "floats" if kind == "f" else "integers"
        raise InputError(f"{name} are of type {column.dtype}, expected {expected}")
    if kind == "f" and not np.isfinite(column).all():
        number = (~np.isfinite(column)).sum()
        raise InputError(
            f"{name} holds {number} values that are NaN or infinite, expected none. {advice}"
        )
    if "scores" in name and ((column < 0) | (column > 1)).any():
        outside = column[(column < 0) | (column > 1)]
        raise InputError(
            f"{name} holds {len(outside)} values outside 0 to 1, such as {outside[0]:g}; divide "
            "percentages by 100, or apply a sigmoid to logits"
        )


NO_BOXES = Boxes(np.empty((0, 4), np.float32), np.empty(0, np.int64))
# The kinds of boxes of a frame, and what messages call them.
KINDS = dict(truth="ground truth", found="detections", ignored="ignored")


class FrameResult(NamedTuple):
    """One labelled frame with ground truth and detections; boxes are in network pixels.

    Attributes:
        recording: name of the recording.
        t_us: time of the frame in microseconds.
        truth: ground truth.
        found: detections with scores, as the network predicted them: they may reach beyond the
            frame.
        scale: sensor pixels per network pixel. Default: 1.
        hw: height and width of the frame in network pixels. Default: unknown.
        ignored: boxes too small to count: they need not be detected, and a detection of one is no
            false alarm. Default: none.
        start_us: time on the recording's clock at which the recording begins. Default: 0.
        step_us: microseconds from one window of the stream to the next. Labels may be rarer than
            windows. Default: 50 ms.
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

    def kinds(self) -> Iterator[tuple[str, Boxes]]:
        """Name of each kind of boxes for messages, and the boxes."""
        return ((name, getattr(self, kind)) for kind, name in KINDS.items())

    @property
    def key(self) -> tuple[str, int]:
        """Recording and time, which identify a frame on every worker and rank."""
        return self.recording, self.t_us


def make_boxes(place: str, **columns_of_kind: Mapping[str, object]) -> dict[str, Boxes]:
    """Create `Boxes` of each kind; errors begin with the place and the kind.

    Args:
        place: recording and time, from `place_of`.
        **columns_of_kind: arguments of `Boxes` by kind, see `KINDS`.

    Raises:
        InputError: as `Boxes` does.
    """
    made = {}
    for kind, columns in columns_of_kind.items():
        try:
            made[kind] = Boxes(**columns)
        except InputError as error:
            raise InputError(f"{place}: {KINDS[kind]}: {error}") from error
    return made


def check_labels(frame: FrameResult, num_classes: int) -> None:
    """Check that every label of a frame is the number of a class.

    Args:
        frame: frame whose truth, detections and ignored boxes are checked.
        num_classes: number of classes.

    Raises:
        InputError: a label has no class; with recording and time.
    """
    for what, boxes in frame.kinds():
        unknown = np.unique(boxes.labels[(boxes.labels < 0) | (boxes.labels >= num_classes)])
        if unknown.size:
            raise InputError(
                f"{place_of(*frame.key)}: {what}: labels holds {unknown.tolist()}, expected 0 to "
                f"{num_classes - 1} ({num_classes} classes). Make the dataset's class_set and the "
                "head's num_classes fit the label files"
            )


def place_of(recording: str, t_us: int) -> str:
    """Recording and time of a frame in words, for error messages.

    Args:
        recording: name of the recording.
        t_us: time of the frame in microseconds.
    """
    return f"recording {recording!r} at t_us={t_us}"
