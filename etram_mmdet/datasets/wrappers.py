"""mmengine's wrappers around data sets of streams: Concat-, Repeat- and ClassBalancedDataset.

A wrapper counts items, but a stream has to be asked for by recording and frames. :func:`as_streams`
presents a wrapper as one data set of recordings, and lets the wrapper serve its clips.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from mmdet.datasets import MultiImageMixDataset
from mmengine.dataset import ClassBalancedDataset, ConcatDataset, RepeatDataset
from torch.utils.data import Dataset

from etram_mmdet.datasets.clip_orders import repeat_factors
from etram_mmdet.datasets.clips import ClipRequest, Segment, Segments
from etram_mmdet.datasets.etram_dataset import ETraMDataset
from etram_mmdet.datasets.frame_paths import register_frames
from etram_mmdet.datasets.recording_frames import RecordingFrames
from etram_mmdet.utils.errors import InputError

Wrapper = ConcatDataset | RepeatDataset | ClassBalancedDataset
Shown = tuple[ETraMDataset, int]  # a recording, by its number in its data set


def as_streams(dataset: Dataset) -> ETraMDataset:
    """The data set of recordings for samplers and hooks; wrappers become :class:`CombinedStreams`.

    A wrapper is prepared once. Afterwards ``DataLoader`` gets clips from it, since ``DataLoader``
    calls ``__getitems__`` for a batch when a data set has it. Any other data set is returned
    unchanged.

    Args:
        dataset: data set of recordings, a wrapper of mmengine or mmdet, or any other data set.

    Raises:
        InputError: as :class:`CombinedStreams` does, and for a wrapper that mixes images.
    """
    if isinstance(dataset, MultiImageMixDataset):
        raise InputError(
            "MultiImageMixDataset mixes single images, which breaks streams; use ClipCopyPaste in "
            "the pipeline, which copies road users from other recordings"
        )
    if not isinstance(dataset, Wrapper):
        return dataset
    if "streams" not in vars(dataset):
        dataset.streams = CombinedStreams(dataset)
        dataset.__getitems__ = dataset.streams.items
    return dataset.streams


class CombinedStreams(ETraMDataset):
    """The recordings of a wrapper, or of nested wrappers, as one data set.

    ``RepeatDataset`` shows every recording several times in a pass. ``ClassBalancedDataset``
    repeats recordings by its rule, counting recordings that hold a class where mmengine counts
    images. An evaluation shows every recording once. A recording whose name occurs in several
    folders is called NAME@FOLDER, since metrics tell frames apart by name and time.

    Args:
        wrapper: wrapper of mmengine or mmdet around :class:`ETraMDataset` or
            :class:`RawEventDataset`.

    Raises:
        InputError: when the data sets differ in classes, frames or clips; the message names
            both.
    """

    def __init__(self, wrapper: Wrapper) -> None:
        self.wrapper = wrapper
        shown = _shown_recordings(wrapper)
        if not shown:
            raise InputError(
                f"{type(wrapper).__name__}: contains no recording; set times of RepeatDataset to 1 "
                "or more"
            )
        if shown[0][0].test_mode:
            shown = _once(shown)
        times = Counter(shown)
        self._sources = list(times)
        self.times_shown = tuple(times.values())
        self.parts = list(dict.fromkeys(dataset for dataset, _ in shown))
        first = self.parts[0]
        for other in self.parts[1:]:
            _check_alike(first, other)
        self._metainfo = first.metainfo
        self.class_set = first.class_set
        self.classes = first.classes
        self.representation = first.representation
        self.window_us = first.window_us
        self.clip_length = first.clip_length
        self.test_mode = first.test_mode
        self.split = "+".join(dict.fromkeys(part.split for part in self.parts))
        self.folder = " + ".join(dict.fromkeys(str(part.folder) for part in self.parts))
        self.sequences = _with_own_names(self._sources)
        self.segments = self._of_all("segments", shown)
        self.single_clips = self._of_all("single_clips", shown)
        self._path_folder = register_frames(self)
        self._count_frames()

    def _of_all(self, name: str, shown: list[Shown]) -> Segments:
        """Segments of a recording once for each showing, with its number in this data set."""
        numbers = {source: number for number, source in enumerate(self._sources)}
        by_recording = {part: getattr(part, name).by_recording() for part in self.parts}
        return Segments.joined(
            by_recording[part][recording].with_recording(numbers[part, recording])
            for part, recording in shown
        )

    def read_frames(self, sequence: RecordingFrames, request: ClipRequest) -> np.ndarray:
        return self._sources[request.recording][0].read_frames(sequence, request)

    def items(self, indices: list[int | ClipRequest]) -> list[dict]:
        """The items of a batch; the wrapper itself answers an integer."""
        return [self[i] if isinstance(i, ClipRequest) else self.wrapper[i] for i in indices]

    def __getitem__(self, index: int | ClipRequest) -> dict:
        request = index if isinstance(index, ClipRequest) else self._clip_at(index)
        part, _ = self._sources[request.recording]
        return part.load_clip(self.sequences[request.recording], request, self)


def _shown_recordings(dataset: Dataset) -> list[Shown]:
    """The recordings of one pass in order; one that is shown n times is listed n times."""
    if isinstance(dataset, ConcatDataset):
        return [source for part in dataset.datasets for source in _shown_recordings(part)]
    if isinstance(dataset, RepeatDataset):
        return _shown_recordings(dataset.dataset) * dataset.times
    if isinstance(dataset, ClassBalancedDataset):
        return _balanced(_shown_recordings(dataset.dataset), dataset.oversample_thr)
    if isinstance(dataset, ETraMDataset):
        return [(dataset, number) for number in range(len(dataset.sequences))]
    raise InputError(
        f"{type(dataset).__name__}: expected ETraMDataset or RawEventDataset inside mmengine's "
        "ConcatDataset, RepeatDataset or ClassBalancedDataset"
    )


def _once(shown: list[Shown]) -> list[Shown]:
    """Every recording once, also when a folder is named twice."""
    first: dict[tuple, Shown] = {}
    for dataset, number in shown:
        first.setdefault(
            (dataset.folder.resolve(), dataset.sequences[number].name), (dataset, number)
        )
    return list(first.values())


def _balanced(shown: list[Shown], threshold: float) -> list[Shown]:
    whole = [Segment(number, 0, dataset.sequences[number].num_frames) for dataset, number in shown]
    boxes = [
        dataset.boxes_per_class(segment) for (dataset, _), segment in zip(shown, whole, strict=True)
    ]
    times = np.ceil(repeat_factors(np.stack(boxes), threshold)).astype(int).tolist()
    return [source for source, number in zip(shown, times, strict=True) for _ in range(number)]


def _check_alike(one: ETraMDataset, other: ETraMDataset) -> None:
    """Raise ``InputError`` when two data sets cannot share a batch or train one network."""
    for name, values in _must_agree(one, other).items():
        if values[0] != values[1]:
            raise InputError(
                f"{one.folder} and {other.folder} cannot be combined, since their {name} differ: "
                f"{values[0]} and {values[1]}; give all data sets of a wrapper the same"
            )


def _must_agree(*datasets: ETraMDataset) -> dict[str, list]:
    first = [dataset.sequences[0] for dataset in datasets]
    return {
        "classes (class_set, metainfo)": [
            ", ".join(dataset.metainfo["classes"]) for dataset in datasets
        ],
        "frames (channels, height, width)": [(s.channels, *s.hw) for s in first],
        "representation": [dataset.representation for dataset in datasets],
        "window_us": [dataset.window_us for dataset in datasets],
        "sensor pixels per network pixel": [s.scale for s in first],
        "clip_length": [dataset.clip_length for dataset in datasets],
        "test_mode": [dataset.test_mode for dataset in datasets],
    }


def _with_own_names(sources: list[Shown]) -> list[RecordingFrames]:
    """The recordings; those whose name occurs in several folders become copies NAME@FOLDER."""
    sequences = [dataset.sequences[number] for dataset, number in sources]
    folders = [dataset.folder.resolve() for dataset, _ in sources]
    folders_of: dict[str, set] = {}
    for sequence, folder in zip(sequences, folders, strict=True):
        folders_of.setdefault(sequence.name, set()).add(folder)
    tails = _distinct_tails(set(folders))
    return [
        sequence.renamed(f"{sequence.name}@{tails[folder]}")
        if len(folders_of[sequence.name]) > 1
        else sequence
        for sequence, folder in zip(sequences, folders, strict=True)
    ]


def _distinct_tails(folders: set) -> dict:
    """Folder -> last parts of its path joined by dots, as few as keep all folders different."""
    depth = 1
    while len({folder.parts[-depth:] for folder in folders}) < len(folders):
        depth += 1
    return {folder: ".".join(folder.parts[-depth:]) for folder in folders}
