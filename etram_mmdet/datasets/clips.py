"""What a sampler asks of a dataset: which frames of which recording, for which lane."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Segment(NamedTuple):
    """Frames ``start`` to ``stop`` (exclusive) of a recording, to be read as one stream."""

    recording: int
    start: int
    stop: int


class ClipRequest(NamedTuple):
    """One clip: frames ``start`` to ``stop`` (exclusive) of a recording; fewer than a clip's length are padded.

    ``seed`` is the same for all clips of one pass of a lane over a segment, so that augmentation drawn from it is
    constant along the stream. ``streamed`` clips continue the one before; the others stand alone.
    """

    recording: int
    start: int
    stop: int
    is_first: bool
    lane: int
    seed: tuple[int, ...]
    streamed: bool = True


def training_segments(recording: int, labelled: np.ndarray, clip_length: int) -> list[Segment]:
    """Cut a recording so that every clip of a stream holds a label (RVT's rule).

    ``labelled``: ascending frame indices that carry labels. A gap of more than ``clip_length`` frames splits; a
    segment starts ``clip_length - 1`` frames before its first label.
    """
    runs = np.split(labelled, np.flatnonzero(np.diff(labelled) > clip_length) + 1)
    return [Segment(recording, max(int(r[0]) - clip_length + 1, 0), int(r[-1]) + 1) for r in runs if len(r)]


def evaluation_segment(recording: int, labelled: np.ndarray, num_frames: int, clip_length: int) -> Segment:
    """The whole recording from ``clip_length - 1`` frames before its first label (RVT's warm-up)."""
    return Segment(recording, max(int(labelled[0]) - clip_length + 1, 0), num_frames)


def single_clips(recording: int, labelled: np.ndarray, clip_length: int) -> list[Segment]:
    """One clip per label that has ``clip_length`` frames up to it; a recording without any gives one shorter clip."""
    ends = [int(i) + 1 for i in labelled if i + 1 >= clip_length] or [int(labelled[-1]) + 1]
    return [Segment(recording, max(end - clip_length, 0), end) for end in ends]
