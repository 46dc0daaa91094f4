"""Times of the steps between a recording and the frames that a network gets."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from etram_mmdet.datasets.folder_sequence import FolderSequence
from etram_mmdet.datasets.raw_event_dataset import RecordingSequence
from etram_mmdet.events.class_mapping import ClassSet
from etram_mmdet.events.formats import open_recording
from etram_mmdet.events.preprocessing.folder import preprocess_folder
from etram_mmdet.events.preprocessing.frame_store import (
    FrameFile,
    checksum,
    compress,
    create_frames,
    write_checksums,
)
from etram_mmdet.events.preprocessing.labelled_frames import find_frames
from etram_mmdet.events.preprocessing.recording import preprocess_recording
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.events.preprocessing.sources import Source
from etram_mmdet.events.representations import build_representation

STAGES = ("events", "binning", "compression", "checksums", "writing")


@dataclass
class Stages:
    """Seconds of each stage of preprocessing one recording. The stages run one after the other.

    Attributes:
        num_events: events in the recording.
        num_frames: frames made from it.
        bytes_written: size of the file of frames.
        seconds: seconds by stage.
    """

    num_events: int
    num_frames: int
    bytes_written: int
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))


def time_stages(source: Source, settings: PreprocessSettings, path: Path) -> Stages:
    """Preprocesses one recording and times each stage.

    Args:
        source: recording and label file.
        settings: how the recording becomes frames.
        path: HDF5 file to write.

    Returns:
        Seconds of each stage, and how many events and frames there were.
    """
    with (
        open_recording(source.events, **settings.opening) as recording,
        h5py.File(path, "w") as file,
    ):
        frames = find_frames(recording, source, settings).frames
        representation = build_representation(
            settings.representation, recording.height, recording.width
        )
        stages = Stages(recording.num_events, len(frames.repr_us), 0)
        recording.release()
        data = create_frames(
            file, len(frames.repr_us), representation.shape, representation.dtype, settings.codec
        )
        image = np.empty(representation.shape, representation.dtype)
        checksums = []
        for index, end_us in enumerate(frames.repr_us.tolist()):
            window = end_us - settings.window_us, end_us
            with _clock(stages.seconds, "events"):
                events = recording.read(*window)
            with _clock(stages.seconds, "binning"):
                representation(events, window, out=image)
            with _clock(stages.seconds, "compression"):
                chunk = compress(image, settings.codec)
            with _clock(stages.seconds, "checksums"):
                checksums.append(checksum(index, chunk))
            with _clock(stages.seconds, "writing"):
                data.id.write_direct_chunk((index, 0, 0, 0), chunk)
        write_checksums(data, checksums)
    stages.bytes_written = path.stat().st_size
    return stages


@contextmanager
def _clock(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] += time.perf_counter() - start


def frames_per_s(
    source: Source, settings: PreprocessSettings, classes: ClassSet, folder: Path, clip: int = 5
) -> dict[str, float]:
    """Measures the frames per second that one process loads, by source and order of clips.

    Way ``HDF5 per clip`` is RVT's: the preprocessed file is opened for every clip and read through
    HDF5's filters.

    Args:
        source: recording and label file.
        settings: how the recording becomes frames.
        classes: meaning of the class ids in the label file.
        folder: sequence folder to write.
        clip: frames in a clip. Default: 5.

    Returns:
        Frames per second by names such as ``"preprocessed, at random"``.
    """
    preprocess_recording(source, folder, settings)
    preprocessed = FolderSequence(folder, settings.representation, settings.window_us, classes)
    unchecked = FrameFile(preprocessed.path)
    unchecked.checksums = None
    ways = {
        "preprocessed": preprocessed.read,
        "without checksums": unchecked.read,
        "HDF5 per clip": partial(_open_and_read, preprocessed.path),
        "recording": RecordingSequence(source, settings, classes).read,
    }
    starts = np.arange(0, preprocessed.num_frames - clip, clip)
    orders = {"in order": starts, "at random": np.random.default_rng(0).permutation(starts)}
    return {
        f"{name}, {order}": _best_rate(
            lambda r=read, o=order: _read_clips(r, orders[o], clip), len(starts) * clip
        )
        for name, read in ways.items()
        for order in orders
    }


def _read_clips(read: Callable[[int, int], np.ndarray], starts: np.ndarray, clip: int) -> None:
    for start in starts.tolist():
        read(start, start + clip)


def _open_and_read(path: Path, start: int, stop: int) -> np.ndarray:
    with h5py.File(path, "r") as file:
        return file["data"][start:stop]


def _best_rate(work: Callable[[], None], amount: int, repeats: int = 3) -> float:
    """Returns the amount per second in the fastest run; the first run compiles and fills caches."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return amount / min(seconds)


def scaling(
    src: Path, dst: Path, settings: PreprocessSettings, workers: list[int]
) -> dict[int, float]:
    """Measures the events per second of preprocessing a whole folder, by number of workers.

    Args:
        src: folder of recordings.
        dst: folder to write to, with one folder for each number of workers.
        settings: how recordings become frames.
        workers: numbers of workers to try.
    """
    rates = {}
    for count in workers:
        start = time.perf_counter()
        summary = preprocess_folder(src, dst / str(count), settings, count)
        seconds = time.perf_counter() - start
        rates[count] = sum(manifest["num_events"] for manifest in summary.manifests) / seconds
    return rates
