"""What a data set costs per frame; tests/proofs/data_at_size.py measures it at full size."""

from __future__ import annotations

import gc
import hashlib
import io
import json
import os
import sys
from collections import Counter
from itertools import islice
from multiprocessing import context
from multiprocessing.reduction import ForkingPickler
from types import SimpleNamespace

import numpy as np
import pytest

from etram_mmdet.datasets import (
    ETraMDataset,
    Segment,
    StreamBatchSampler,
    StreamEvalBatchSampler,
)
from etram_mmdet.datasets.clip_orders import boxes_per_item
from etram_mmdet.datasets.clips import Segments, single_clips, training_segments
from etram_mmdet.datasets.domain import domain_of
from etram_mmdet.datasets.folder_sequence import FolderSequence
from etram_mmdet.datasets.recorded_boxes import ignored_boxes
from etram_mmdet.datasets.recording_frames import RecordingFrames, _smallest_type
from etram_mmdet.datasets.statistics import fingerprint, frame_step_us
from etram_mmdet.engine.summary.data import data_lines, unlearnt_classes
from etram_mmdet.evaluation.ground_truth import truth_columns, truth_of
from etram_mmdet.evaluation.results import Boxes, FrameResult
from etram_mmdet.events.labels import BBOX_DTYPE
from etram_mmdet.events.preprocessing.checksums import check_files, with_checksums
from etram_mmdet.events.preprocessing.frame_store import FrameFile
from etram_mmdet.utils.errors import InputError
from tests.proofs.data_at_size import make

FEW, MANY = 40, 640
RECORDINGS = 3
LENGTH = 5


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """Recordings of few and of many frames."""
    made = {}
    for frames in (FEW, MANY):
        made[frames] = tmp_path_factory.mktemp(f"frames{frames}")
        make(made[frames], RECORDINGS, frames)
    return made


def load(root, **keys) -> ETraMDataset:
    return ETraMDataset(root, "train", **keys)


def sampler_of(dataset, mode="mixed", **orders) -> StreamBatchSampler:
    return StreamBatchSampler(SimpleNamespace(dataset=dataset, seed=0), 4, mode, **orders)


def test_no_python_object_is_kept_for_a_frame(roots):
    def blocks_of(root) -> int:
        gc.collect()
        before = sys.getallocatedblocks()
        dataset = load(root)
        sampler = sampler_of(dataset)
        next(iter(sampler))
        fingerprint(dataset)
        gc.collect()
        return sys.getallocatedblocks() - before

    blocks_of(roots[FEW])  # what is imported and cached at the first use
    few, many = (blocks_of(roots[frames]) for frames in (FEW, MANY))
    assert abs(many - few) < RECORDINGS * (MANY - FEW) / 20


def test_a_started_process_is_sent_no_frame(roots, monkeypatch):
    """What a spawned process is sent is as long for many frames as for few."""
    spawning = SimpleNamespace(duplicate_for_child=int, DupFd=lambda number: number)
    monkeypatch.setattr(context, "_tls", SimpleNamespace(spawning_popen=spawning))
    few, many = (len(ForkingPickler.dumps(load(roots[frames]))) for frames in (FEW, MANY))
    assert many < 1.1 * few


def test_a_start_asks_no_frame_one_by_one(roots, monkeypatch):
    for name in ("boxes_of", "ignored_of", "tracks_of"):
        monkeypatch.setattr(RecordingFrames, name, None)
    dataset = load(roots[FEW])
    assert data_lines(dataset) and unlearnt_classes(dataset, dataset) == []
    assert fingerprint(dataset)["boxes"] == dataset.box_counts.sum() > 0
    assert domain_of(dataset) and frame_step_us(dataset)
    weighted = dict(type="ClassWeightedOrder")
    assert next(iter(sampler_of(dataset, stream_order=weighted, random_order=weighted)))


def test_boxes_are_counted_once_when_they_are_read(roots, monkeypatch):
    dataset = load(roots[FEW])
    counts = np.bincount(dataset.box_statistics().labels, minlength=8)
    for sequence in dataset.sequences:
        monkeypatch.setattr(sequence, "arrays", None)
    for _ in range(2):
        assert f" {counts.sum():,} boxes" in data_lines(dataset)[0]
        assert dataset.box_counts.tolist() == counts.tolist()


@pytest.mark.parametrize("test_mode", [False, True])
def test_every_file_is_opened_once(roots, monkeypatch, test_mode):
    opened = Counter()

    def counting(function, place):
        def call(*args, **kwargs):
            opened[str(args[place])] += 1
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr(io, "open", counting(io.open, 0))
    monkeypatch.setattr(FrameFile, "__init__", counting(FrameFile.__init__, 1))
    load(roots[FEW], test_mode=test_mode)
    files = {str(path) for path in roots[FEW].rglob("*") if path.is_file()}
    assert len(files) == 7 * RECORDINGS
    assert {path: opened[path] for path in files} == dict.fromkeys(files, 1)


def test_no_folder_of_a_recording_is_listed(roots, monkeypatch):
    listed = []

    def noting(function):
        return lambda path=".": listed.append(str(path)) or function(path)

    for name in ("scandir", "listdir"):
        monkeypatch.setattr(os, name, noting(getattr(os, name)))
    load(roots[FEW])
    assert listed == [str(roots[FEW] / "train")]


@pytest.mark.parametrize("outside", ["../other.npy", "ABSOLUTE", "labels_v2", "pipe.npy", "a.txt"])
def test_only_arrays_inside_its_folder_are_compared(tmp_path, outside):
    """A manifest from elsewhere may name any file; a pipe would never end."""
    folder = tmp_path / "folder"
    (folder / "labels_v2").mkdir(parents=True)
    os.mkfifo(folder / "pipe.npy")
    (folder / "a.txt").write_text("a")
    np.save(tmp_path / "other.npy", 1)
    np.save(folder / "labels_v2" / "t.npy", 1)
    crc32 = with_checksums(folder, {})["crc32"]
    assert len(crc32) == 2
    check_files(folder, dict(crc32=crc32))
    name = str(tmp_path / "other.npy") if outside == "ABSOLUTE" else outside
    with pytest.raises(InputError, match="missing, but preprocessing wrote it"):
        check_files(folder, dict(crc32=crc32 | {name: 1}))
    with pytest.raises(InputError, match=r"t\.npy: changed since it was written"):
        check_files(folder, dict(crc32=crc32 | {"labels_v2/t.npy": 1}))


def test_the_digest_is_that_of_earlier_versions(roots):
    """It went frame by frame: boxes, labels, then those that evaluation ignores."""
    for test_mode in (False, True):
        dataset = load(roots[FEW], test_mode=test_mode)
        sequence = dataset.sequences[1]
        ignored = np.zeros(4, BBOX_DTYPE)
        ignored["t"] = sequence.t_us[[0, 2, 2, 39]]
        ignored["w"] = ignored["h"] = 4
        added = ignored_boxes(ignored, sequence.hw, sequence.scale, dataset.classes, None)
        sequence.arrays = type(sequence.arrays)({**sequence.arrays, **added})
        assert len(sequence.ignored_of(2)[0]) == 2 and not len(sequence.ignored_of(1)[0])
        assert fingerprint(dataset)["sha256"] == one_by_one(dataset)


def one_by_one(dataset) -> str:
    about = ["train", dataset.metainfo["classes"], dataset.representation, dataset.window_us]
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for sequence in dataset.sequences:
        digest.update(f"{sequence.name} {sequence.channels} {sequence.hw}".encode())
        digest.update(sequence.t_us.tobytes() + sequence.labelled.tobytes())
        for frame in sequence.labelled:
            kinds = (sequence.boxes_of, *[sequence.ignored_of] * dataset.test_mode)
            for column in (column for kind in kinds for column in kind(frame)):
                digest.update(column.tobytes())
    return digest.hexdigest()[:16]


def test_segments_follow_the_rule_for_any_labels():
    rng = np.random.default_rng(0)
    for number in range(200):
        labelled = np.flatnonzero(rng.random(60) < rng.choice([0.02, 0.1, 0.5, 1]))
        runs = np.split(labelled, np.flatnonzero(np.diff(labelled) > LENGTH) + 1)
        streams = [
            Segment(number, max(int(r[0]) - LENGTH + 1, 0), int(r[-1]) + 1) for r in runs if len(r)
        ]
        assert list(training_segments(number, labelled, LENGTH)) == streams
        if len(labelled):
            stops = [int(i) + 1 for i in labelled if i + 1 >= LENGTH] or [int(labelled[-1]) + 1]
            clips = [Segment(number, max(stop - LENGTH, 0), stop) for stop in stops]
            found = single_clips(number, labelled, LENGTH)
            assert found == clips and [found[i] for i in range(-1, 1)] == [clips[-1], clips[0]]
            assert found[1:] == clips[1:] and found != clips[1:] and Segments.of(clips) == clips


ORDERS = dict(
    stream=("stream", {}),
    random=("random", {}),
    mixed=(
        "mixed",
        dict(
            stream_order=dict(type="RepeatFactorOrder", threshold=0.9),
            random_order=dict(type="ClassWeightedOrder"),
        ),
    ),
)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("stream", "82 c1a2c8671e95b2b0"),
        ("random", "81 78336e9d20293008"),
        ("mixed", "164 1c0db4caacfabbd2"),
    ],
)
def test_clips_come_in_the_order_of_earlier_versions(kind, expected):
    """Digests of the first batches, made before clips lay in arrays."""
    numbers = np.arange(400)
    labelled = [numbers[(numbers * k) % 11 < 3] for k in (3, 5, 7)]
    dataset = SimpleNamespace(
        segments=[s for i, frames in enumerate(labelled) for s in training_segments(i, frames, 2)],
        single_clips=[s for i, frames in enumerate(labelled) for s in single_clips(i, frames, 2)],
        clip_length=2,
        metainfo=dict(classes=("a", "b")),
        boxes_before=lambda recording, frames: np.stack(
            [frames, np.multiply(frames, recording)], 1
        ),
    )
    mode, orders = ORDERS[kind]
    sampler = sampler_of(dataset, mode, **orders)
    text = repr([[tuple(r) for r in batch] for batch in islice(iter(sampler), 300)])
    assert f"{len(sampler)} {hashlib.sha256(text.encode()).hexdigest()[:16]}" == expected


def test_boxes_of_clips_are_those_of_their_frames(roots):
    dataset = load(roots[FEW])
    items = [*dataset.single_clips[::7], Segment(1, 0, FEW), Segment(0, 3, 3)]
    counted = [
        np.bincount(
            np.concatenate(
                [np.empty(0, int)]
                + [dataset.sequences[s.recording].boxes_of(i)[1] for i in range(s.start, s.stop)]
            ),
            minlength=8,
        )
        for s in items
    ]
    assert np.array_equal(boxes_per_item(items, dataset), counted)


def test_numbers_keep_their_value_in_small_types():
    for values in ([], [0, 127], [-129], [40_000, -1], [2**31 - 1], [2**31], [2**40, -3]):
        kept = _smallest_type(np.array(values, np.int64))
        assert kept.tolist() == values and kept.dtype.kind == "i"
    assert (
        _smallest_type(np.array([127])).dtype == np.int8
        and _smallest_type(np.array([128])).dtype == np.int16
    )


def test_types_of_boxes_stay(roots):
    sequence: FolderSequence = load(roots[FEW]).sequences[0]
    bboxes, labels = sequence.boxes_of(0)
    ignored, of_class = sequence.ignored_of(0)
    types = [a.dtype for a in (bboxes, labels, sequence.tracks_of(0), ignored, of_class)]
    assert types == [np.float32, np.int64, np.int64, np.float32, np.int64]
    before = bboxes.tolist()
    bboxes += 1  # a copy, which transforms may change
    assert sequence.boxes_of(0)[0].tolist() == before


def test_an_evaluation_keeps_no_object_for_a_frame_and_the_order_of_earlier_versions(roots):
    """The digest was made when every clip was an object from the start."""
    datasets = {frames: load(roots[frames], test_mode=True) for frames in roots}
    objects = {}
    for frames, dataset in datasets.items():
        gc.collect()
        before = sys.getallocatedblocks()
        kept = eval_sampler(dataset, 2), truth_columns(dataset)
        gc.collect()
        objects[frames] = sys.getallocatedblocks() - before
        assert len(kept[0]) == -(-2 * frames // LENGTH) and kept[1].count == RECORDINGS * frames
    assert objects[MANY] - objects[FEW] < RECORDINGS * (MANY - FEW) / 20
    lengths = [Segment(i, i % 3, i % 3 + (i * 7) % 23 + 1) for i in range(40)]
    dataset = SimpleNamespace(segments=lengths, clip_length=4)
    text = repr([[tuple(r) for r in batch] for batch in eval_sampler(dataset, 3)])
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "ed8eb2d93f53ce33"


def eval_sampler(dataset, batch_size) -> StreamEvalBatchSampler:
    return StreamEvalBatchSampler(SimpleNamespace(dataset=dataset), batch_size)


def test_truth_is_that_of_every_labelled_frame(roots):
    dataset = load(roots[FEW], test_mode=True)
    sequence = dataset.sequences[1]
    ignored = np.zeros(4, BBOX_DTYPE)
    ignored["t"] = sequence.t_us[[0, 2, 2, 39]]
    ignored["x"] = [10, 20, 30, 40]
    ignored["w"] = ignored["h"] = 4
    added = ignored_boxes(ignored, sequence.hw, sequence.scale, dataset.classes, None)
    every_third = dict(labelled=sequence.labelled[::3], first_row=sequence.arrays["first_row"][::3])
    arrays = {**sequence.arrays, **added, **every_third}
    arrays["first_row"] = np.append(arrays["first_row"], len(arrays["bboxes"]))
    sequence.arrays = type(sequence.arrays)(arrays)
    expected = [
        FrameResult(
            sequence.name,
            int(sequence.t_us[i]),
            Boxes(*sequence.boxes_of(i)),
            Boxes.empty(),
            sequence.scale,
            sequence.hw,
            Boxes(*sequence.ignored_of(i)),
            sequence.start_us,
            sequence.step_us,
        )
        for sequence in dataset.sequences
        for i in sequence.labelled
    ]
    assert sum(len(frame.ignored) for frame in expected) == 2
    assert truth_columns(dataset).frames() == expected == list(truth_of(dataset).values())
