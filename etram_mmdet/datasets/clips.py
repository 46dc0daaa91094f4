"""Clips as a sampler asks a dataset for them: which frames of which recording, for which lane."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


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


def training_segments(recording: int, labelled: np.ndarray, clip_length: int) -> list[Segment]:
    """Cut a recording into streams in which every clip holds a label (RVT's rule).

    A gap of more than ``clip_length`` frames between two labels splits the recording. A segment
    starts ``clip_length - 1`` frames before its first label.

    Args:
        recording: number of the recording in its data set.
        labelled: (n,) ascending indices of the frames with labels.
        clip_length: frames of a clip.
    """
    runs = np.split(labelled, np.flatnonzero(np.diff(labelled) > clip_length) + 1)
    return [
        Segment(recording, max(int(r[0]) - clip_length + 1, 0), int(r[-1]) + 1)
        for r in runs
        if len(r)
    ]


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


def single_clips(recording: int, labelled: np.ndarray, clip_length: int) -> list[Segment]:
    """One clip for every labelled frame with enough frames before it; the clip ends at that frame.

    A recording whose labels all come too early gives one shorter clip, up to its last label.

    Args:
        recording: number of the recording in its data set.
        labelled: (n,) ascending indices of the frames with labels, n >= 1.
        clip_length: frames of a clip.
    """
    ends = [int(i) + 1 for i in labelled if i + 1 >= clip_length] or [int(labelled[-1]) + 1]
    return [Segment(recording, max(end - clip_length, 0), end) for end in ends]
