"""Statistics of the training boxes for plugins, and a digest that tells two data sets apart."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from torch.utils.data import Dataset

if TYPE_CHECKING:
    from etram_mmdet.datasets.etram_dataset import ETraMDataset
    from etram_mmdet.datasets.recording_frames import RecordingFrames


@dataclass(frozen=True)
class BoxStatistics:
    """Classes and sizes of the boxes of a dataset before augmentation.

    Args:
        classes: names of the K classes.
        labels: (n,) class of each box.
        sizes_px: (n, 2) width and height of each box, in network pixels.
    """

    classes: tuple[str, ...]
    labels: np.ndarray
    sizes_px: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Number of boxes of each class, (K,)."""
        return np.bincount(self.labels, minlength=len(self.classes))

    @property
    def mean_size_px(self) -> float:
        """Mean square root of the area, AI-TOD's "absolute object size"; NaN without boxes."""
        return float(np.sqrt(self.sizes_px.prod(1)).mean()) if len(self.labels) else float("nan")


def frame_step_us(dataset: ETraMDataset) -> int | None:
    """Microseconds from one frame to the next: the median over all recordings.

    Args:
        dataset: data set of recordings.

    Returns:
        None when no recording has two frames.
    """
    steps = np.concatenate([np.diff(sequence.t_us) for sequence in dataset.sequences])
    return round(float(np.median(steps))) if len(steps) else None


def sensor_px(dataset: ETraMDataset) -> tuple[int, int] | None:
    """Width and height of the sensor of all recordings.

    Args:
        dataset: data set of recordings.

    Returns:
        None when they differ, as they can at the edge when sizes are odd.
    """
    sizes = {sequence.sensor_px for sequence in dataset.sequences}
    return sizes.pop() if len(sizes) == 1 else None


def fingerprint(dataset: ETraMDataset) -> dict[str, object]:
    """Name and counts of a split, and a digest of its contents.

    The digest covers recordings, frame times, representation, boxes and classes. In ``test_mode``
    it also covers the boxes that evaluation ignores, which training never sees. Frames are not
    read: they follow from recording and representation. The result is worked out once per data set,
    which does not change once it is read.

    Args:
        dataset: data set of recordings.
    """
    if dataset not in _fingerprints:
        _fingerprints[dataset] = _fingerprint(dataset)
    return dict(_fingerprints[dataset])


_fingerprints: WeakKeyDictionary[Dataset, dict[str, object]] = WeakKeyDictionary()


def _fingerprint(dataset: ETraMDataset) -> dict[str, object]:
    digest = hashlib.sha256()
    description = [
        dataset.split,
        list(dataset.metainfo["classes"]),
        dataset.representation,
        dataset.window_us,
    ]
    times_shown = getattr(dataset, "times_shown", (1,))
    if max(times_shown) > 1:
        description.append(times_shown)
    digest.update(json.dumps(description, sort_keys=True, default=str).encode())
    for sequence in sorted(dataset.sequences, key=lambda s: s.name):
        digest.update(f"{sequence.name} {sequence.channels} {sequence.hw}".encode())
        for array in (sequence.t_us, sequence.labelled):
            digest.update(np.ascontiguousarray(array, np.int64).tobytes())
        digest.update(_by_frame(_pieces(sequence, dataset.test_mode)))
    return dict(
        split=dataset.split,
        recordings=len(dataset.sequences),
        labelled_frames=len(dataset),
        boxes=int(dataset.box_counts.sum()),
        sha256=digest.hexdigest()[:16],
    )


def _pieces(sequence: RecordingFrames, with_ignored: bool) -> list[_Piece]:
    """Boxes and labels of the labelled frames, and those that evaluation ignores."""
    arrays = sequence.arrays
    first_row = arrays["first_row"]
    tables = [("bboxes", "labels", first_row[:-1], first_row[1:])]
    if with_ignored:
        t_us = sequence.t_us[sequence.labelled]
        rows = (np.searchsorted(arrays["ignored_us"], t) for t in (t_us, t_us + 1))
        tables.append(("ignored_bboxes", "ignored_labels", *rows))
    return [
        _Piece(first, stop - first, words)
        for bboxes, labels, first, stop in tables
        for words in (arrays[bboxes].view(np.int64), arrays[labels].astype(np.int64)[:, None])
    ]


class _Piece(NamedTuple):
    """One table of which each frame has some rows: ``count`` (L,) of them from ``first`` (L,)."""

    first: np.ndarray
    count: np.ndarray
    words: np.ndarray  # int64 (rows, W)


def _by_frame(pieces: list[_Piece]) -> bytes:
    """The rows of all pieces, frame by frame; within a frame piece by piece."""
    num_words = [piece.count * piece.words.shape[1] for piece in pieces]
    stop = np.cumsum(sum(num_words))
    out = np.empty(stop[-1], np.int64)
    place = stop - sum(num_words)
    for piece, added in zip(pieces, num_words, strict=True):
        width = piece.words.shape[1]
        number = np.arange(piece.count.sum())  # of each row in its frame
        number -= np.repeat(np.cumsum(piece.count) - piece.count, piece.count)
        target = np.repeat(place, piece.count) + number * width
        out[target[:, None] + np.arange(width)] = piece.words[
            np.repeat(piece.first, piece.count) + number
        ]
        place = place + added
    return out.tobytes()


def digest(dataset: Dataset) -> str:
    """``sha256`` of :func:`fingerprint`; empty for data of another kind.

    Args:
        dataset: any data set.
    """
    return str(fingerprint(dataset)["sha256"]) if hasattr(dataset, "sequences") else ""
