"""Clips as a sampler asks a dataset for them: which frames of which recording, for which lane."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from etram_mmdet.utils.shared_arrays import SharedArrays


class Segment(NamedTuple):
    """Frames of one recording that are read as one stream.

    Args:
        recording: number of the recording in its data set.
        start: first frame.
        stop: frame behind the last one.
    """

    recording: int
    start: int
    stop: int


class Segments(Sequence[Segment]):
    """Many segments in one array instead of many objects.

    A data set has a clip for every labelled frame. As objects, five million of them would take more
    than 600 MB and as much again in every loading process; here they take 60.

    Args:
        rows: (n, 3) recording, start and stop of each segment.
    """

    def __init__(self, rows: np.ndarray) -> None:
        self.arrays = SharedArrays(dict(rows=np.asarray(rows, np.int32).reshape(-1, 3)))

    @classmethod
    def of(cls, segments: Iterable[Segment]) -> Segments:
        """The segments of any sequence.

        Args:
            segments: segments in order; :class:`Segments` are returned unchanged.
        """
        return segments if isinstance(segments, cls) else cls(np.array(list(segments), np.int32))

    @classmethod
    def joined(cls, parts: Iterable[Segments]) -> Segments:
        """All segments of several, in order.

        Args:
            parts: the segments to join.
        """
        return cls(np.concatenate([np.empty((0, 3), np.int32), *(part.rows for part in parts)]))

    @property
    def rows(self) -> np.ndarray:
        """Recording, start and stop of each segment: int32 (n, 3)."""
        return self.arrays["rows"]

    def by_recording(self) -> dict[int, Segments]:
        """The segments of each recording that has any; they must be in order of recordings."""
        numbers, first = np.unique(self.rows[:, 0], return_index=True)
        parts = np.split(self.rows, first[1:])
        return dict(zip(numbers.tolist(), map(Segments, parts), strict=True))

    def with_recording(self, recording: int) -> Segments:
        """The same frames of another recording.

        Args:
            recording: number of that recording.
        """
        rows = self.rows.copy()
        rows[:, 0] = recording
        return Segments(rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int | slice) -> Segment | Segments:
        found = self.rows[index]
        return Segments(found) if isinstance(index, slice) else Segment(*found.tolist())

    def __iter__(self) -> Iterator[Segment]:
        return (Segment(*row.tolist()) for row in self.rows)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and np.array_equal(self.rows, Segments.of(other).rows)

    __hash__ = None


class ClipRequest(NamedTuple):
    """One clip: frames of a recording. A clip that is too short is padded with empty frames.

    Args:
        recording: number of the recording in its data set.
        start: first frame.
        stop: frame behind the last one.
        is_first: whether the clip starts its stream, so that recurrent state is reset before
            it.
        lane: row of the batch, counted over all processes.
        seed: seed of the augmentation. It is the same for all clips of one pass of a lane over a
            segment, so that augmentation is constant along the stream.
        streamed: whether the clip continues the one before; other clips stand alone. Default:
            yes.
    """

    recording: int
    start: int
    stop: int
    is_first: bool
    lane: int
    seed: tuple[int, ...]
    streamed: bool = True


def training_segments(recording: int, labelled: np.ndarray, clip_length: int) -> Segments:
    """Cut a recording into streams in which every clip holds a label (RVT's rule).

    A gap of more than ``clip_length`` frames between two labels splits the recording. A segment
    starts ``clip_length - 1`` frames before its first label.

    Args:
        recording: number of the recording in its data set.
        labelled: (n,) ascending indices of the frames with labels.
        clip_length: frames of a clip.
    """
    gaps = np.flatnonzero(np.diff(labelled) > clip_length)
    first = labelled[np.append(0, gaps + 1)[: len(labelled)]]
    last = labelled[np.append(gaps, len(labelled) - 1)[: len(labelled)]]
    return _segments(recording, first - clip_length + 1, last + 1)


def evaluation_segment(
    recording: int, labelled: np.ndarray, num_frames: int, clip_length: int
) -> Segment:
    """The whole recording from ``clip_length - 1`` frames before its first label (RVT's warm-up).

    Args:
        recording: number of the recording in its data set.
        labelled: (n,) ascending indices of the frames with labels, n >= 1.
        num_frames: frames of the recording.
        clip_length: frames of a clip.
    """
    return Segment(recording, max(int(labelled[0]) - clip_length + 1, 0), num_frames)


def single_clips(recording: int, labelled: np.ndarray, clip_length: int) -> Segments:
    """One clip for every labelled frame with enough frames before it; the clip ends at that frame.

    A recording whose labels all come too early gives one shorter clip, up to its last label.

    Args:
        recording: number of the recording in its data set.
        labelled: (n,) ascending indices of the frames with labels, n >= 1.
        clip_length: frames of a clip.
    """
    stops = labelled + 1
    stops = stops[stops >= clip_length] if stops[-1] >= clip_length else stops[-1:]
    return _segments(recording, stops - clip_length, stops)


def _segments(recording: int, start: np.ndarray, stop: np.ndarray) -> Segments:
    """Segments of one recording; no frame comes before its first."""
    return Segments(np.stack([np.full(len(stop), recording), np.maximum(start, 0), stop], 1))
