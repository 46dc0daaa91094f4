"""How long does a training take to start on 1,000 recordings, and how much memory does it need?

    python tests/proofs/data_at_size.py FOLDER [--recordings 100 300 1000] [--start-method spawn]

Makes recordings of 5,000 labelled frames with 0 to 8 boxes each in FOLDER: eight different ones,
and links to their files under other names, which take little disk. Each number of recordings is
then measured in a process of its own. Seconds are those of the processor, so that other programs do
not count:

    open      seconds for opening every file of the recordings once, with h5py or ``open()``
    load      seconds for building the data set
    summary   seconds for what a training asks of it before its first step: every box four times
              for counts and plugins, the range of box sizes and events, the digest
    sampler   seconds for a sampler of half random, half streamed lanes, and its first 100 batches
    peak      largest memory of the process (resident), with PyTorch
    data      how much of it the data set added
    objects   Python objects that the data set keeps, and how many of them a frame
    worker    memory of its own (private, not shared) that the data set costs a loading process:
              a worker that has touched every recording, less a worker of an empty data set
    lists     folders that building the data set lists, per recording, by Python's audit events
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np

from etram_mmdet.datasets import ETraMDataset, StreamBatchSampler
from etram_mmdet.datasets.domain import domain_of
from etram_mmdet.datasets.statistics import fingerprint, frame_step_us
from etram_mmdet.events.formats.new_hdf5 import new_hdf5
from etram_mmdet.events.labels import BBOX_DTYPE
from etram_mmdet.events.preprocessing.frame_store import (
    checksum,
    compress,
    create_frames,
    write_checksums,
)
from etram_mmdet.events.preprocessing.frame_times import STEP_US
from etram_mmdet.events.preprocessing.sequence_folder import (
    representation_path,
    write_ignored,
    write_labels,
    write_manifest,
)
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.events.representations import build_representation
from etram_mmdet.utils.text import table

FRAMES = 5_000
DIFFERENT = 8
MOST_BOXES = 8
LISTING = ("os.scandir", "os.listdir")
WIDTH = 640
HEIGHT = 360
MIB = 1 << 20


def boxes_at(frame_us: np.ndarray, seed: int) -> np.ndarray:
    """Boxes of 0 to `MOST_BOXES` road users in each frame."""
    rng = np.random.default_rng(seed)
    t_us = np.repeat(frame_us, rng.integers(0, MOST_BOXES + 1, len(frame_us)))
    boxes = np.zeros(len(t_us), BBOX_DTYPE)
    boxes["t"] = t_us
    for name, low, high in (("x", 0, 500), ("y", 0, 250), ("w", 10, 120), ("h", 10, 100)):
        boxes[name] = rng.uniform(low, high, len(boxes))
    boxes["class_id"] = rng.choice(8, len(boxes), p=[0.4, 0.2, 0.1, 0.1, 0.1, 0.06, 0.03, 0.01])
    boxes["track_id"] = rng.integers(1, 500, len(boxes))
    return boxes


def write_frames(path: Path, num_frames: int) -> None:
    """The same frame at every time, compressed once."""
    settings = PreprocessSettings()
    shape = build_representation(settings.representation, HEIGHT, WIDTH).shape
    frame = np.random.default_rng(0).choice(4, shape, p=[0.97, 0.01, 0.01, 0.01]).astype(np.uint8)
    frame[:, 16:] = 0  # small files
    chunk = compress(frame)
    with new_hdf5(path) as file:
        data = create_frames(file, num_frames, shape, np.uint8)
        for index in range(num_frames):
            data.id.write_direct_chunk((index, 0, 0, 0), chunk)
        write_checksums(data, [checksum(index, chunk) for index in range(num_frames)])


def write_sequence(folder: Path, seed: int, num_frames: int, frames: Path | None) -> Path:
    """Write a sequence folder; its frames are a link to ``frames`` if there are any."""
    settings = PreprocessSettings()
    representation = build_representation(settings.representation, HEIGHT, WIDTH)
    path = folder / representation_path(representation, settings.window_us)
    path.parent.mkdir(parents=True)
    t_us = STEP_US * np.arange(1, num_frames + 1)
    np.save(path.with_name("objframe_idx_2_repr_idx.npy"), np.arange(num_frames))
    np.save(path.with_name("timestamps_us.npy"), t_us)
    if frames is None:
        write_frames(path, num_frames)
    else:
        os.link(frames, path)
    boxes = boxes_at(t_us, seed)
    write_labels(folder, boxes, t_us)
    write_ignored(folder, boxes[:0])
    ids, counts = np.unique(boxes["class_id"], return_counts=True)
    manifest = dict(
        recording=folder.name,
        split=folder.parent.name,
        source_files={},
        representation=settings.representation,
        representation_path=str(path.relative_to(folder)),
        width=WIDTH,
        height=HEIGHT,
        sensor_size_is_assumed=False,
        num_events=0,
        t_first_us=0,
        t_last_us=int(t_us[-1]),
        stamps_corrected=0,
        frame_rule="rvt",
        num_frames=num_frames,
        num_representations=num_frames,
        frames_without_events=0,
        dropped={},
        boxes_per_class_id={str(i): int(n) for i, n in zip(ids, counts, strict=True)},
    )
    write_manifest(folder, manifest)
    return path


def make(root: Path, recordings: int, num_frames: int = FRAMES) -> None:
    """Write `DIFFERENT` sequence folders below ``root``, and others of links to their files."""
    split = root / "train"
    frames = None
    for number in range(recordings):
        folder = split / f"{number:05d}"
        if folder.is_dir():
            frames = frames or next(folder.rglob("*.h5"))
        elif number < DIFFERENT:
            frames = write_sequence(folder, number, num_frames, frames)
        else:
            link(split / f"{number % DIFFERENT:05d}", folder)


def link(source: Path, target: Path) -> None:
    for path in sorted(source.rglob("*")):
        copy = target / path.relative_to(source)
        if path.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, copy)


def listed_by(call: Callable[[], object]) -> int:
    """Number of folders that a call lists."""
    counts: Counter[str] = Counter()
    sys.addaudithook(lambda event, _: counts.update([event]) if event in LISTING else None)
    call()
    found = sum(counts.values())
    counts.clear()
    return found


def open_all(root: Path, recordings: int) -> None:
    for number in range(recordings):
        for path in sorted((root / "train" / f"{number:05d}").rglob("*.*")):
            with h5py.File(path) if path.suffix == ".h5" else path.open("rb"):
                pass


def seconds_of(call: Callable[[], object]) -> tuple[float, object]:
    begin = time.process_time()
    result = call()
    return time.process_time() - begin, result


def resident() -> int:
    """Resident memory of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def private() -> int:
    """Memory that this process alone uses, in bytes."""
    rows = Path("/proc/self/smaps_rollup").read_text().splitlines()
    sizes = {row.split(":")[0]: int(row.split()[1]) for row in rows[1:]}
    return (sizes["Private_Clean"] + sizes["Private_Dirty"]) << 10


def touch(dataset: ETraMDataset | None, answers: multiprocessing.Queue) -> None:
    """What a worker does with labels: the boxes and facts of every 50th frame."""
    for index in range(0, len(dataset) if dataset else 0, 50):
        dataset.get_data_info(index)
    gc.collect()
    answers.put(private())


def in_a_worker(dataset: ETraMDataset | None, method: str) -> int:
    context = multiprocessing.get_context(method)
    answers = context.Queue()
    worker = context.Process(target=touch, args=(dataset, answers))
    worker.start()
    told = answers.get()
    worker.join()
    return told


def asked_before_training(dataset: ETraMDataset) -> None:
    for _ in range(4):
        dataset.box_statistics().counts.tolist()
    frame_step_us(dataset)
    domain_of(dataset)
    fingerprint(dataset)


def first_batches(dataset: ETraMDataset) -> None:
    sampler = StreamBatchSampler(SimpleNamespace(dataset=dataset, seed=0), 8, "mixed")
    len(sampler)
    list(islice(iter(sampler), 100))


def measure(root: Path, recordings: int, method: str) -> dict[str, float]:
    """All columns of the table for the first recordings; call it in a process of its own."""
    seconds = {"open s": seconds_of(lambda: open_all(root, recordings))[0]}
    empty = in_a_worker(None, method)
    gc.collect()
    objects = len(gc.get_objects())
    before = resident()
    seconds["load s"], dataset = seconds_of(
        lambda: ETraMDataset(root, "train", indices=recordings, lazy_init=False)
    )
    gc.collect()
    added = len(gc.get_objects()) - objects
    kept = resident() - before
    seconds["summary s"], _ = seconds_of(lambda: asked_before_training(dataset))
    seconds["sampler s"], _ = seconds_of(lambda: first_batches(dataset))
    worker = in_a_worker(dataset, method) - empty
    frames = sum(sequence.num_frames for sequence in dataset.sequences)
    measured = {
        "recordings": recordings,
        "frames": frames,
        **seconds,
        "peak MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "data MiB": kept / MIB,
        "objects": added,
        "objects/frame": added / frames,
        "worker MiB": worker / MIB,
    }
    listed = listed_by(lambda: ETraMDataset(root, "train", indices=recordings, lazy_init=False))
    return measured | {"lists/recording": listed / recordings}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of the recordings")
    parser.add_argument("--recordings", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--start-method", default="fork", choices=("fork", "spawn", "forkserver"))
    parser.add_argument("--one", action="store_true", help="measure one number in this process")
    args = parser.parse_args()
    if args.one:
        found = measure(args.folder, args.recordings[0], args.start_method)
        print(json.dumps(found))
        return
    rows = []
    for number in args.recordings:
        make(args.folder / str(number), number)
        command = [sys.executable, __file__, args.folder / str(number), "--one"]
        command += ["--recordings", number, "--start-method", args.start_method]
        told = subprocess.run(
            list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True
        ).stdout
        rows.append(json.loads(told.splitlines()[-1]))
    print(table([list(rows[0]), *([f"{value:,.4g}" for value in row.values()] for row in rows)]))


if __name__ == "__main__":
    main()
