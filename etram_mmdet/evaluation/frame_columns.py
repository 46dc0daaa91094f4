"""Evaluated frames as columns, since NumPy is slow on the few boxes of a single frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from etram_mmdet.evaluation.box_columns import BoxColumns
from etram_mmdet.evaluation.results import FrameResult

_AT_ONCE = 1024  # frames that are objects at a time


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

    @classmethod
    def joined(cls, parts: Sequence[FrameColumns]) -> FrameColumns:
        """The frames of all parts, in order; names of recordings become ascending.

        Args:
            parts: one or more.
        """
        parts = [part for part in parts if part.count] or parts[:1]
        names = sorted({name for part in parts for name in part.names})
        number = {name: i for i, name in enumerate(names)}
        recordings = [_whole([number[name] for name in each.names]) for each in parts]
        if len(parts) == 1:
            return parts[0]._replace(names=names, recordings=recordings[0][parts[0].recordings])
        return cls(
            names,
            np.concatenate([of[p.recordings] for of, p in zip(recordings, parts, strict=True)]),
            *map(np.concatenate, zip(*(part[2:7] for part in parts), strict=True)),
            *map(BoxColumns.joined, zip(*(part[7:] for part in parts), strict=True)),
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

    def taken(self, frames: np.ndarray) -> FrameColumns:
        """Take frames in another order.

        Args:
            frames: (M,) numbers of the frames.
        """
        if np.array_equal(frames, np.arange(self.count)):
            return self
        return FrameColumns(
            self.names,
            *(column[frames] for column in self[1:7]),
            *(boxes.taken(frames) for boxes in self[7:]),
        )

    def of_recording(self, name: str) -> FrameColumns:
        """The frames of one recording.

        Args:
            name: name of the recording.
        """
        number = self.names.index(name) if name in self.names else -1
        return self.taken(np.flatnonzero(self.recordings == number))

    def each(self) -> Iterator[FrameResult]:
        """The frames one by one, of which only some are objects at a time."""
        boxes = zip(*(boxes.portions(_AT_ONCE) for boxes in self[7:]), strict=True)
        for start, of_boxes in zip(range(0, self.count, _AT_ONCE), boxes, strict=True):
            of_frames = (column[start : start + _AT_ONCE] for column in self[1:7])
            yield from FrameColumns(self.names, *of_frames, *of_boxes).frames()

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


def _whole(values: list) -> np.ndarray:
    return np.array(values, np.int64)
