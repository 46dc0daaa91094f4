"""Simulated traffic before a fixed event camera, written in eTraM's on-disk form.

It replaces real recordings when those are not at hand: in tests, demonstrations and continuous
integration. It is realistic in the properties that matter to a detector (shape, size,
perspective, motion, no events of objects that do not move), but does not make real data
unnecessary.

Class balance: long-tailed as in eTraM, but with a shorter tail. Cars and pedestrians come with the
traffic. Of the other six classes every recording has three as guests, so that each occurs in every
split of two or more recordings. With eTraM's own shares (wheelchair 0.06 %, tram 0.03 % of the
boxes) a sample of minutes would not hold a single one. In the default sample the most frequent
class has about 15 times as many boxes as the rarest, in eTraM over 1000 times.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import h5py
import hdf5plugin
import numpy as np
from tqdm import tqdm

from etram_mmdet.events.choices import SPLITS
from etram_mmdet.events.class_sets import ETRAM8
from etram_mmdet.events.formats.array_files import open_hdf5
from etram_mmdet.events.recording import Events
from etram_mmdet.simulation.rendering import concatenate, film, label
from etram_mmdet.simulation.scene import Scene, build_scene
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import atomic_write, because, remove_leftovers
from etram_mmdet.utils.workers import WorkerDied, Workers

VERSION = 1  # raise it when the same seed no longer gives the same recording
GUESTS = ("bicycle", "bus", "motorbike", "truck", "tram", "wheelchair")
GUESTS_PER_RECORDING = 3
NIGHTS = (1, 3)  # of every five recordings
EVENTS_PER_CHUNK = 1 << 16
DISK_DTYPES = {"x": np.uint16, "y": np.uint16, "p": np.int16, "t": np.int64}


@dataclass(frozen=True)
class Job:
    """All settings that decide a recording; its file stores them as attributes.

    Args:
        seed: seed of the whole sample.
        split: ``train``, ``val`` or ``test``.
        index: number of the recording in its split.
        width: width of the sensor, in pixels.
        height: height of the sensor, in pixels.
        duration_s: length of the recording.
        simulator_version: `VERSION` of this module.
    """

    seed: int
    split: str
    index: int
    width: int
    height: int
    duration_s: float
    simulator_version: int = VERSION

    @property
    def night(self) -> bool:
        return self.index % 5 in NIGHTS

    @property
    def name(self) -> str:
        return f"{self.split}_{'night' if self.night else 'day'}_{self.index:04d}"

    @property
    def guests(self) -> tuple[str, ...]:
        """Rare classes in this recording; two recordings in a row have all six between them."""
        pair, half = divmod(self.index, 2)
        order = _rng(self.seed, SPLITS.index(self.split), pair, 1).permutation(len(GUESTS))
        return tuple(
            GUESTS[i] for i in sorted(order[half * GUESTS_PER_RECORDING :][:GUESTS_PER_RECORDING])
        )

    def scene(self) -> Scene:
        """The street with all its actors."""
        rng = _rng(self.seed, SPLITS.index(self.split), self.index, 2)
        return build_scene(self.width, self.height, self.duration_s, self.night, self.guests, rng)

    def paths(self, out: Path) -> tuple[Path, Path]:
        """Paths of the events and of the boxes."""
        return out / self.split / f"{self.name}_td.h5", out / self.split / f"{self.name}_bbox.npy"


@dataclass(frozen=True)
class SimulatedRecording:
    """A recording in memory.

    Args:
        events: all events, in time order.
        boxes: (n,) boxes of the visible actors, as :func:`label` gives them.
        width: width of the sensor, in pixels.
        height: height of the sensor, in pixels.
    """

    events: Events
    boxes: np.ndarray
    width: int
    height: int


class RecordingSummary(NamedTuple):
    """Counts of one recording of a sample.

    Args:
        split: ``train``, ``val`` or ``test``.
        night: whether it is night in the recording.
        events: number of events.
        duration_s: length of the recording.
        boxes: number of boxes per class of `ETRAM8`.
    """

    split: str
    night: bool
    events: int
    duration_s: float
    boxes: tuple[int, ...]  # per class of `ETRAM8`


def simulate_recording(
    seed: int,
    *,
    width: int = 1280,
    height: int = 720,
    duration_s: float = 6.0,
    night: bool = False,
    guests: tuple[str, ...] = (),
) -> SimulatedRecording:
    """Simulate one recording in memory; for long or large ones use `rendering.film` instead.

    Args:
        seed: seed of all random numbers; the same seed gives the same recording.
        width: width of the sensor, in pixels. Default: 1280.
        height: height of the sensor, in pixels. Default: 720.
        duration_s: length of the recording. Default: 6.
        night: whether it is night. Default: no.
        guests: rare classes that pass through the view, some of `GUESTS`. Default: none.
    """
    scene_rng = _rng(seed, 2)
    sensor_rng = _rng(seed, 3)
    scene = build_scene(width, height, duration_s, night, guests, scene_rng)
    events = concatenate(list(film(scene, duration_s, sensor_rng)))
    return SimulatedRecording(events, label(scene, duration_s), width, height)


def make_sample(
    out: str | Path,
    *,
    seed: int = 0,
    width: int = 1280,
    height: int = 720,
    recordings: tuple[int, int, int] = (24, 6, 4),
    duration_s: float = 6.0,
    workers: int | None = None,
) -> list[RecordingSummary]:
    """Write a data set of simulated recordings, and count the events and boxes of each.

    Recordings that exist already are kept, so an interrupted run can continue. The seed and the
    sizes alone decide the bytes; the number of workers does not.

    Args:
        out: folder of the sample.
        seed: seed of all random numbers. Default: 0.
        width: width of the sensor, in pixels, at least 32. Default: 1280.
        height: height of the sensor, in pixels, at least 32. Default: 720.
        recordings: number of train, val and test recordings. Default: 24, 6 and 4.
        duration_s: length of each recording, at least 0.2. Default: 6.
        workers: number of processes. Default: one per CPU.

    Raises:
        InputError: for a number that is too small, an existing recording that was made with
            other settings, and when the folder cannot be written.
    """
    out = Path(out)
    limits = dict(
        seed=(seed, 0), width=(width, 32), height=(height, 32), duration_s=(duration_s, 0.2)
    )
    limits |= {f"recordings[{i}]": (count, 0) for i, count in enumerate(recordings)} | {
        "workers": (workers or 1, 1)
    }
    for name, (value, least) in limits.items():
        if value < least:
            raise InputError(
                f"{name} is {value}, expected {least} or more; set it to at least {least}"
            )
    jobs = [
        Job(seed, split, index, width, height, float(duration_s))
        for split, count in zip(SPLITS, recordings, strict=True)
        for index in range(count)
    ]
    try:
        _write_missing(jobs, out, workers)
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {because(error, out)}") from error
    return [_summarise(job, out) for job in jobs]


def _write_missing(jobs: list[Job], out: Path, workers: int | None) -> None:
    for split in SPLITS:
        (out / split).mkdir(parents=True, exist_ok=True)
    todo = [job for job in jobs if not _is_done(job, out)]
    workers = min(workers or os.cpu_count() or 1, os.cpu_count() or 1, max(len(todo), 1))
    # OpenCV's own threads would slow the workers down, and a forked copy of them would wait
    # forever.
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with Workers(0 if workers == 1 else workers) as pool:
            for job, result in tqdm(
                pool.run(partial(_write_recording, out), todo), "recordings", len(todo)
            ):
                if isinstance(result, WorkerDied):
                    raise InputError(
                        f"{job.name}: the worker process that simulated it was killed, perhaps "
                        "because memory ran out; use fewer --workers"
                    )
    finally:
        cv2.setNumThreads(threads)
        for split in SPLITS:
            remove_leftovers(out / split)


def _rng(*entropy: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(entropy))


def _is_done(job: Job, out: Path) -> bool:
    """Whether the recording exists; `InputError` if it was made with other settings."""
    events_path, boxes_path = job.paths(out)
    if not (events_path.exists() and boxes_path.exists()):
        return False
    with open_hdf5(events_path) as file:
        for name, expected in asdict(job).items():
            if file.attrs.get(name) != expected:
                raise InputError(
                    f"{events_path}: was made with {name} {file.attrs.get(name)}, expected "
                    f"{expected}; choose another folder or delete {out}"
                )
    return True


def _write_recording(out: Path, job: Job) -> None:
    """Write boxes, then events: a file of events means that the recording is complete."""
    events_path, boxes_path = job.paths(out)
    sensor_rng = _rng(job.seed, SPLITS.index(job.split), job.index, 3)
    scene = job.scene()
    with atomic_write(boxes_path) as aside:
        np.save(aside, label(scene, job.duration_s))
    # In memory first: HDF5 writes when it frees an object, and then merely prints an error about a
    # full disk.
    with h5py.File(events_path.name, "w", driver="core", backing_store=False) as file:
        file.attrs.update(asdict(job))
        _write_events(file.create_group("events"), film(scene, job.duration_s, sensor_rng), job)
        file.flush()
        content = file.id.get_file_image()
    with atomic_write(events_path, len(content)) as aside:
        aside.write_bytes(content)


def _write_events(group: h5py.Group, pieces: Iterator[Events], job: Job) -> None:
    """Write the events in eTraM's layout.

    ``track_times`` is off, since a time stamp inside would make equal recordings differ.
    """
    for name in ("width", "height"):
        group.create_dataset(name, data=np.int64(getattr(job, name)), track_times=False)
    blosc = hdf5plugin.Blosc(cname="zstd", clevel=1, shuffle=hdf5plugin.Blosc.SHUFFLE)
    layout = dict(
        shape=(0,), maxshape=(None,), chunks=(EVENTS_PER_CHUNK,), track_times=False, **blosc
    )
    for name, dtype in DISK_DTYPES.items():
        group.create_dataset(name, dtype=dtype, **layout)
    stored = 0
    for events in pieces:
        for name in DISK_DTYPES:
            group[name].resize((stored + len(events.t),))
            group[name][stored:] = getattr(events, name)
        stored += len(events.t)


def _summarise(job: Job, out: Path) -> RecordingSummary:
    events_path, boxes_path = job.paths(out)
    with open_hdf5(events_path) as file:
        events = len(file["events/t"])
    boxes = np.bincount(np.load(boxes_path)["class_id"], minlength=len(ETRAM8))
    return RecordingSummary(
        job.split, job.night, events, job.duration_s, tuple(int(n) for n in boxes)
    )
