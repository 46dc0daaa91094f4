"""Clips straight from recordings equal the preprocessed ones; events can be changed on the way."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS, TRANSFORMS

from etram_mmdet.datasets import ClipRequest, raw_event_dataset
from etram_mmdet.evaluation.ground_truth import truth_of
from etram_mmdet.events.formats import hdf5
from etram_mmdet.events.preprocessing.folder import preprocess_folder
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.events.recording import Events
from etram_mmdet.utils.errors import InputError
from tests.helpers.encoders import WRITERS
from tests.helpers.raw import make_boxes, make_events, write_recording
from tests.helpers.street import make_street
from tests.reference.answers import DATA

PACK = [dict(type="PackClip")]
REPRESENTATIONS = [
    dict(type="StackedHistogram", downsample="nearest"),
    dict(type="StackedHistogram", bins=3, downsample="sum", edges="window"),
    dict(type="MixedDensityEventStack"),
    dict(type="TernaryVolume", downsample="sum"),
    dict(type="MixedDensityEventStack", downsample=3),
    dict(type="TimeSurface"),
]


def build(type_, root, representation, **kwargs):
    cfg = dict(
        type=type_, data_root=str(root), split="train", pipeline=PACK, representation=representation
    )
    return DATASETS.build(cfg | kwargs)


def clip(start=0, stop=5, recording=0, seed=(1, 2)):
    return ClipRequest(recording, start, stop, is_first=True, lane=0, seed=seed)


@pytest.mark.parametrize("representation", REPRESENTATIONS, ids=str)
@pytest.mark.parametrize("window_us", [50_000, 20_000])
def test_equals_the_preprocessed_path_bit_for_bit(raw_sample, tmp_path, representation, window_us):
    assert not preprocess_folder(
        raw_sample, tmp_path, PreprocessSettings(representation=representation, window_us=window_us)
    ).problems
    folder = build("ETraMDataset", tmp_path, representation, window_us=window_us)
    raw = build("RawEventDataset", raw_sample, representation, window_us=window_us)
    assert (
        raw.segments == folder.segments
        and raw.single_clips == folder.single_clips
        and len(raw) == len(folder)
    )
    any_event = False
    for ours, theirs in zip(raw.sequences, folder.sequences, strict=True):
        assert (
            ours.name == theirs.name
            and ours.dtype == theirs.dtype
            and ours.start_us == theirs.start_us == 0
        )
        np.testing.assert_array_equal(ours.t_us, theirs.t_us)
        frames = theirs.read(0, theirs.num_frames)
        np.testing.assert_array_equal(ours.read(0, ours.num_frames), frames)
        any_event |= bool(frames.any())
        for index in range(ours.num_frames):
            for a, b in zip(ours.boxes_of(index), theirs.boxes_of(index), strict=True):
                np.testing.assert_array_equal(a, b)
            for a, b in zip(ours.ignored_of(index), theirs.ignored_of(index), strict=True):
                np.testing.assert_array_equal(a, b)
    assert any_event
    item, reference = raw[clip(3, 8)], folder[clip(3, 8)]
    assert torch.equal(item["inputs"], reference["inputs"])
    assert [f.t_us for f in item["data_samples"]] == [f.t_us for f in reference["data_samples"]]


def test_frames_know_where_their_recording_begins(tmp_path):
    """A clock that does not start at 0, from the recording and from its folder.

    RVT's own folders begin at 0.
    """
    events = make_events(start_us=40_000_000)
    boxes = make_boxes([40_100_000, 40_200_000, 40_300_000])
    write_recording(tmp_path / "raw/train", "a", events, boxes)
    preprocess_folder(tmp_path / "raw", tmp_path / "out")
    begins_us = int(events["t"][0])
    for kind, root in (("RawEventDataset", tmp_path / "raw"), ("ETraMDataset", tmp_path / "out")):
        dataset = build(kind, root, dict(type="StackedHistogram", downsample="nearest"))
        (frame,) = {f.start_us for f in dataset[clip(0, 3)]["data_samples"]}
        assert frame == begins_us == next(iter(truth_of(dataset).values())).start_us
    rvt = build(
        "ETraMDataset",
        DATA / "preprocessed_etram",
        dict(type="StackedHistogram", downsample="nearest"),
    )
    assert {sequence.start_us for sequence in rvt.sequences} == {0}


def test_equals_what_the_reference_preprocessed(reference_raw):
    representation = dict(type="StackedHistogram", downsample="nearest")
    raw = build("RawEventDataset", reference_raw, representation)
    folder = build("ETraMDataset", DATA / "preprocessed_etram", representation)
    for ours, theirs in zip(raw.sequences, folder.sequences, strict=True):
        np.testing.assert_array_equal(
            ours.read(0, ours.num_frames), theirs.read(0, theirs.num_frames)
        )


@pytest.mark.parametrize("format_", WRITERS)
def test_recordings_of_any_format(tmp_path, format_):
    suffix, write = WRITERS[format_]
    for split in ("train", "val", "test"):
        (tmp_path / split).mkdir()
        write(tmp_path / split / f"a_td{suffix}", make_events(seed=5))
        np.save(tmp_path / split / "a_bbox.npy", make_boxes([100_000, 200_000, 300_000]))
    dataset = build("RawEventDataset", tmp_path, dict(type="StackedHistogram", count_cutoff=None))
    assert dataset[clip()]["inputs"].sum() > 2000


def test_only_recently_read_recordings_keep_events(raw_sample, monkeypatch):
    monkeypatch.setattr(raw_event_dataset, "_KEEP_EVENTS_OF", 1)
    dataset = build("RawEventDataset", raw_sample, REPRESENTATIONS[0])
    first = dataset[clip(recording=0)]["inputs"]
    recording = dataset.sequences[0]._recording
    assert recording._block.cache_info().currsize > 0
    dataset[clip(recording=1)]
    assert (
        recording._block.cache_info().currsize
        == recording._stamps._of_block.cache_info().currsize
        == 0
    )
    assert torch.equal(dataset[clip(recording=0)]["inputs"], first)
    assert torch.equal(pickle.loads(pickle.dumps(dataset))[clip(recording=0)]["inputs"], first)


def messages(monkeypatch) -> list[str]:
    """Everything that the dataset logs from now on."""
    logged = []
    monkeypatch.setattr(raw_event_dataset, "print_log", lambda message, *_: logged.append(message))
    return logged


def test_what_is_left_out_is_told(tmp_path, monkeypatch):
    logged = messages(monkeypatch)
    for split in ("train", "val", "test"):
        (tmp_path / split).mkdir()
        for name in "ab":
            WRITERS["DAT"][1](tmp_path / split / f"{name}_td.dat", make_events())
            boxes = make_boxes([100_000, 200_000, 300_000, 300_000], w=[20, 20, 20, 3])
            np.save(tmp_path / split / f"{name}_bbox.npy", boxes)
    (tmp_path / "train" / "b_td.dat").write_bytes(b"")
    dataset = build("RawEventDataset", tmp_path, dict(type="StackedHistogram"))
    assert [s.name for s in dataset.sequences] == ["a"]
    assert (
        len(logged) == 2
        and "left out: " in logged[0]
        and "b_td.dat: the file is empty" in logged[0]
    )
    assert logged[1].endswith("train: boxes left out, by rule: boxes_too_small 1")
    (tmp_path / "train" / "a_td.dat").write_bytes(b"")
    with pytest.raises(InputError, match="no sequence has a labelled frame"):
        build("RawEventDataset", tmp_path, dict(type="StackedHistogram"))


EVENTS = Events(
    np.arange(0, 50_000, 10, dtype=np.int64),
    np.full(5000, 3, np.uint16),
    np.full(5000, 2, np.uint16),
    (np.arange(5000) % 3 == 0).astype(np.uint8),
)


def apply(transform: dict, clip_seed=0, frame_seed=0) -> Events:
    results = dict(
        events=EVENTS,
        height=8,
        width=16,
        window_us=(0, 50_000),
        clip_rng=np.random.default_rng(clip_seed),
        frame_rng=np.random.default_rng(frame_seed),
    )
    return TRANSFORMS.build(transform).transform(results)["events"]


def test_polarity_flip():
    flipped = apply(dict(type="EventPolarityFlip", prob=1.0))
    np.testing.assert_array_equal(flipped.p, 1 - EVENTS.p)
    assert apply(dict(type="EventPolarityFlip", prob=0.0)) is EVENTS
    assert (
        35 < sum(apply(dict(type="EventPolarityFlip"), seed) is EVENTS for seed in range(100)) < 65
    )


def test_drop_leaves_a_share_in_order():
    counts = [
        len(apply(dict(type="EventDrop", prob=1.0, max_share=0.4), seed).t) for seed in range(50)
    ]
    assert min(counts) < 3300 and 4700 < max(counts) <= 5000
    kept = apply(dict(type="EventDrop", prob=1.0))
    assert set(kept.t) < set(EVENTS.t) and (np.diff(kept.t) > 0).all()
    np.testing.assert_array_equal(kept.p, EVENTS.p[kept.t // 10])


def test_jitter_keeps_events_in_the_window_and_in_order():
    moved = apply(dict(type="EventTimeJitter", prob=1.0, max_std_us=3000))
    assert (
        len(moved.t) == 5000
        and (np.diff(moved.t) >= 0).all()
        and moved.t[0] >= 0
        and moved.t[-1] <= 50_000
    )
    assert moved.p.sum() == EVENTS.p.sum() and not np.array_equal(moved.t, EVENTS.t)


def test_noise_adds_events_anywhere_at_the_rate():
    counts = [
        len(apply(dict(type="EventNoise", prob=1.0, max_rate_hz=100), s, s).t) - 5000
        for s in range(60)
    ]
    assert (
        0 <= min(counts) < 100 and 500 < max(counts) < 760
    )  # up to 100 Hz x 128 pixels x 50 ms = 640
    noisy = apply(dict(type="EventNoise", prob=1.0, max_rate_hz=100), 3)
    assert (np.diff(noisy.t) >= 0).all() and noisy.x.max() == 15 and noisy.y.max() == 7
    assert [column.dtype for column in noisy] == [column.dtype for column in EVENTS]


def test_event_pipeline_is_constant_along_a_stream_and_fresh_for_every_frame(raw_sample):
    counts = dict(
        type="StackedHistogram", count_cutoff=None, edges="window"
    )  # lost events must not move the bins
    pipeline = [dict(type="EventPolarityFlip"), dict(type="EventDrop", prob=1.0, max_share=0.9)]
    plain = build("RawEventDataset", raw_sample, counts)
    changed = build("RawEventDataset", raw_sample, counts, event_pipeline=pipeline)
    flips = set()
    for seed in range(8):
        first, again = (
            changed[clip(5, 10, seed=(seed,))]["inputs"],
            changed[clip(5, 10, seed=(seed,))]["inputs"],
        )
        assert torch.equal(first, again)
        overlap = changed[clip(7, 12, seed=(seed,))]["inputs"]
        assert torch.equal(first[2:], overlap[:3])  # the same frames in another clip of the stream
        full = plain[clip(5, 10)]["inputs"]
        is_flipped = not bool((first <= full).all())
        flips.add(is_flipped)
        lost = first.roll(10, 1) if is_flipped else first
        assert (lost <= full).all() and lost.sum() < full.sum()
        on, off = first[:, 10:].float().sum((1, 2, 3)), first[:, :10].float().sum((1, 2, 3))
        assert not torch.equal(on[0], on[1]) or not torch.equal(off[0], off[1])
    assert flips == {True, False}


def test_files_are_read_as_the_config_says(tmp_path):
    """A recording with labels in milliseconds is left out; the message names the right option.

    Read as milliseconds they equal those in microseconds.
    """
    events, boxes = make_street()
    folder = tmp_path / "train"
    write_recording(folder, "a", events, boxes)
    right = build("RawEventDataset", tmp_path, REPRESENTATIONS[0])
    boxes["t"] //= 1000
    write_recording(folder, "a", events, boxes)
    with pytest.raises(InputError, match="no sequence has a labelled frame"):
        build("RawEventDataset", tmp_path, REPRESENTATIONS[0])
    corrected = build(
        "RawEventDataset", tmp_path, REPRESENTATIONS[0], reading=dict(label_time_unit="ms")
    )
    assert np.array_equal(corrected.sequences[0].t_us, right.sequences[0].t_us)
    assert np.array_equal(corrected[clip(3, 8)]["inputs"], right[clip(3, 8)]["inputs"])
    kept = build(
        "RawEventDataset", tmp_path, REPRESENTATIONS[0], reading=dict(keep_implausible=True)
    )
    assert len(kept.sequences) == 1
    with pytest.raises(
        InputError, match="reading: unknown key 'label_unit'; did you mean label_time_unit"
    ):
        build("RawEventDataset", tmp_path, REPRESENTATIONS[0], reading=dict(label_unit="ms"))


@pytest.mark.parametrize(
    ("damaged", "is_used", "is_told"),
    [
        (slice(0, 8000, 2), False, True),
        (slice(0, 1000, 50), True, False),
        (slice(5000, 7000, 2), True, True),
    ],
    ids=["everywhere", "2 % of the first block", "at the end"],
)
def test_damaged_recordings_are_left_out_or_told(tmp_path, monkeypatch, damaged, is_used, is_told):
    """By the rule of tools/preprocess.py, which reads them whole, on the part that is read."""
    monkeypatch.setattr(hdf5, "_EVENTS_PER_BLOCK", 1000)
    logged = []
    monkeypatch.setattr(raw_event_dataset, "print_log", lambda message, *_: logged.append(message))
    events = make_events(8000)
    events["t"][damaged] = events["t"][damaged][::-1]
    for name, its in (("a", events), ("b", make_events(8000))):
        write_recording(
            tmp_path / "train", name, its, make_boxes([100_000, 200_000, 300_000, 390_000])
        )
    dataset = build("RawEventDataset", tmp_path, REPRESENTATIONS[0])
    assert [sequence.name for sequence in dataset.sequences] == ["a", "b"][not is_used :]
    for _ in range(2):
        dataset.sequences[0].read(0, dataset.sequences[0].num_frames)
    told = [line for line in logged if "events were dropped or corrected" in line]
    assert len(told) == is_told and all(f"{tmp_path}/train/a_td.h5: " in line for line in told)
