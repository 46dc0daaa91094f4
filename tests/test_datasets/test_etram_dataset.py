"""Clips from preprocessed folders."""

from __future__ import annotations

import json
import re
import shutil
from itertools import islice
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS
from mmengine.dataset import pseudo_collate
from numpy.lib.recfunctions import drop_fields, repack_fields
from torch.utils.data import DataLoader

from etram_mmdet.analysis.dataset.read import take_census
from etram_mmdet.datasets import ClipRequest, StreamBatchSampler, StreamEvalBatchSampler
from etram_mmdet.utils.errors import InputError
from tests.helpers.sequence_folders import forget_checksums
from tests.reference.answers import DATA

PIPELINE = [dict(type="PackClip")]


def build(root, split="train", **kwargs):
    return DATASETS.build(
        dict(type="ETraMDataset", data_root=str(root), split=split, pipeline=PIPELINE) | kwargs
    )


def request(recording, start, stop, is_first=False):
    return ClipRequest(recording, start, stop, is_first=is_first, lane=1, seed=(0,))


def test_item_holds_frames_boxes_and_metas():
    """Against the reference's files by hand.

    Labels are in sensor pixels there, twice the network's.
    """
    dataset = build(DATA / "preprocessed_etram")
    sequence = dataset.sequences[0]
    archive = np.load(sequence.path.parents[2] / "labels_v2" / "labels.npz")
    first = int(sequence.labelled[0])
    item = dataset[request(0, first, first + 5, is_first=True)]
    assert item["inputs"].dtype == torch.uint8 and item["inputs"].shape == (5, 20, 360, 640)
    assert np.array_equal(item["inputs"], sequence.read(first, first + 5))
    frame = item["data_samples"][0]
    rows = slice(*archive["objframe_idx_2_label_idx"][:2])
    boxes = archive["labels"][rows]
    x2 = np.minimum((boxes["x"] + boxes["w"]).clip(0, 1279) / 2, 639)
    np.testing.assert_allclose(frame.gt_instances.bboxes[:, 0], boxes["x"] / 2, atol=1e-4)
    np.testing.assert_allclose(frame.gt_instances.bboxes[:, 2], x2, atol=1e-4)
    assert frame.gt_instances.labels.tolist() == boxes["class_id"].tolist()
    assert frame.t_us == sequence.t_us[first] and frame.recording == sequence.name
    assert (
        frame.step_us == sequence.step_us == pytest.approx(50_000, abs=1)
    )  # labels are 100 ms apart
    assert (frame.is_labelled, frame.is_first, frame.is_padding) == (True, True, False)
    assert (item["data_samples"].lane, item["data_samples"].streamed) == (1, True)
    assert [f.is_first for f in item["data_samples"]] == [True] + [False] * 4
    assert not dataset[request(0, first, first + 5)]["data_samples"][0].is_first


def test_ignored_boxes_are_those_of_the_folder(sample, tmp_path):
    """In network pixels and classes, frame by frame, also straight from recordings.

    Training does not get them.
    """
    dataset = build(sample, "val", test_mode=True)
    sequence = dataset.sequences[0]
    kept = np.load(sample / "val" / sequence.name / "ignored_boxes.npy")
    index = int(np.searchsorted(sequence.t_us, kept["t"][0]))
    boxes = kept[kept["t"] == kept["t"][0]]
    corners = (
        np.stack([boxes["x"], boxes["y"], boxes["x"] + boxes["w"], boxes["y"] + boxes["h"]], 1) / 2
    )
    bboxes, labels = sequence.ignored_of(index)
    np.testing.assert_allclose(bboxes, np.minimum(corners, [47, 31, 47, 31]), atol=1e-5)
    assert labels.tolist() == boxes["class_id"].tolist()
    assert sum(len(sequence.ignored_of(i)[1]) for i in range(sequence.num_frames)) == len(kept)
    frame = dataset[request(0, index, index + 1)]["data_samples"][0]
    assert frame.ignored_instances.bboxes.tolist() == bboxes.tolist()
    assert frame.gt_instances.bboxes.tolist() == sequence.boxes_of(index)[0].tolist()
    trained = build(sample, "val")[request(0, index, index + 1)]["data_samples"][0]
    assert torch.equal(trained.gt_instances.bboxes, frame.gt_instances.bboxes)


def test_a_folder_that_forgot_its_small_boxes_is_named(sample, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(
        "etram_mmdet.datasets.etram_dataset.print_log", lambda text, *_: said.append(text)
    )
    shutil.copytree(sample / "val", tmp_path / "val")
    build(tmp_path, "val", test_mode=True)
    assert not said
    forgotten = 0
    for folder in (tmp_path / "val").iterdir():
        (folder / "ignored_boxes.npy").unlink()
        forget_checksums(folder)
        forgotten += json.loads((folder / "sequence.json").read_text())["dropped"][
            "boxes_too_small"
        ]
    dataset = build(tmp_path, "val", test_mode=True)
    assert (
        f"that left out boxes under 5 px, up to {forgotten} of them" in said[0]
        and "--overwrite" in said[0]
    )
    assert not any(len(s.ignored_of(i)[1]) for s in dataset.sequences for i in s.labelled)
    build(tmp_path, "val")
    build(DATA / "preprocessed_etram", "val", test_mode=True)  # RVT's own says nothing about it
    assert len(said) == 1


def test_short_clips_are_padded(sample):
    dataset = build(sample)
    item = dataset[request(0, 3, 5)]
    assert [f.is_padding for f in item["data_samples"]] == [False, False, True, True, True]
    assert not item["inputs"][2:].any() and item["inputs"][:2].any()
    assert not any(f.is_labelled or len(f.gt_instances) for f in item["data_samples"][2:])
    empty = dataset[request(0, 0, 0, is_first=True)]
    assert all(f.is_padding for f in empty["data_samples"]) and empty["data_samples"][0].is_first


def results_of(dataset, clip):
    """What the pipeline gets."""
    dataset.pipeline = lambda results: results
    return dataset[clip]


def test_pipelines_get_track_ids_in_step_with_boxes(sample):
    """Against the label file by hand: a class and a track id per row, rows in order of frames."""
    dataset = build(sample)
    sequence = dataset.sequences[1]
    archive = np.load(sequence.path.parents[2] / "labels_v2" / "labels.npz")
    frames = int(sequence.labelled[-1]) + 1
    clips = [
        results_of(dataset, request(1, start, min(start + 5, frames)))
        for start in range(0, frames, 5)
    ]
    for name, column in (("labels", "class_id"), ("tracks", "track_id")):
        assert (
            np.concatenate([v for c in clips for v in c[name]]).tolist()
            == archive["labels"][column].tolist()
        )
    assert len(set(archive["labels"]["track_id"])) > 3
    assert all(
        len(b) == len(t) for c in clips for b, t in zip(c["bboxes"], c["tracks"], strict=True)
    )
    assert all(t.dtype == np.int64 for c in clips for t in c["tracks"])
    assert clips[1]["dataset"] is dataset and clips[1]["request"] == request(1, 5, 10)
    index, bboxes, labels, tracks = sequence.all_boxes()
    for frame in range(frames):
        own = index == frame
        assert np.array_equal(bboxes[own], sequence.boxes_of(frame)[0])
        assert np.array_equal(labels[own], sequence.boxes_of(frame)[1])
        assert np.array_equal(tracks[own], sequence.tracks_of(frame))


def test_flat_boxes_are_left_out_with_their_tracks(sample, tmp_path):
    shutil.copytree(sample, tmp_path, dirs_exist_ok=True)
    path = sorted((tmp_path / "train").iterdir())[0] / "labels_v2" / "labels.npz"
    archive = dict(np.load(path))
    archive["labels"]["track_id"] = np.arange(len(archive["labels"]))
    archive["labels"]["w"][1] = 0
    np.savez(path, **archive)
    sequence = build(tmp_path).sequences[0]
    assert sequence.all_boxes()[3].tolist() == [0, *range(2, len(archive["labels"]))]
    tracks = np.concatenate([sequence.tracks_of(i) for i in sequence.labelled])
    assert tracks.tolist() == sequence.all_boxes()[3].tolist()
    assert sum(len(sequence.boxes_of(i)[0]) for i in sequence.labelled) == len(tracks)


def test_label_files_without_track_ids_are_read(sample, tmp_path):
    """RVT's loader never looks at the column, so folders that RVT preprocessed may lack it."""
    shutil.copytree(sample, tmp_path, dirs_exist_ok=True)
    path = sorted((tmp_path / "train").iterdir())[0] / "labels_v2" / "labels.npz"
    archive = dict(np.load(path))
    archive["labels"] = repack_fields(drop_fields(archive["labels"], "track_id"))
    np.savez(path, **archive)
    sequence, before = build(tmp_path).sequences[0], build(sample).sequences[0]
    first = int(sequence.labelled[0])
    assert np.array_equal(sequence.boxes_of(first)[0], before.boxes_of(first)[0]) and len(
        before.boxes_of(first)[0]
    )
    assert sequence.tracks_of(first).tolist() == [0] * len(before.tracks_of(first))


def test_all_boxes_are_served_once(sample):
    dataset = build(sample, "val", test_mode=True)
    sampler = StreamEvalBatchSampler(SimpleNamespace(dataset=dataset), 3)
    frames = [
        f for batch in sampler for r in batch for f in dataset[r]["data_samples"] if f.is_labelled
    ]
    labels = torch.cat([f.gt_instances.labels for f in frames])
    assert len(frames) == len(dataset)
    assert np.bincount(labels, minlength=8).tolist() == dataset.box_statistics().counts.tolist()


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_workers_change_nothing(sample, workers):
    pipeline = [dict(type="ClipFlip"), dict(type="ClipZoom"), dict(type="PackClip")]
    dataset = build(sample, pipeline=pipeline)

    def load(num_workers):
        sampler = StreamBatchSampler(SimpleNamespace(dataset=dataset, seed=3), 3, mode="mixed")
        loader = DataLoader(
            dataset, batch_sampler=sampler, num_workers=num_workers, collate_fn=pseudo_collate
        )
        return list(islice(loader, 6))

    for one, other in zip(load(0), load(workers), strict=True):
        assert all(map(torch.equal, one["inputs"], other["inputs"]))
        for a, b in zip(one["data_samples"], other["data_samples"], strict=True):
            assert [f.t_us for f in a] == [f.t_us for f in b]
            assert all(
                torch.equal(f.gt_instances.bboxes, g.gt_instances.bboxes)
                for f, g in zip(a, b, strict=True)
            )


def test_augmentation_is_constant_along_a_stream(sample):
    """A stream that is flipped in its first clip is flipped in all of them."""
    dataset = build(sample, pipeline=[dict(type="ClipFlip"), dict(type="PackClip")])
    plain = build(sample)
    sampler = StreamBatchSampler(SimpleNamespace(dataset=dataset, seed=0), 1)
    flips = {}
    for (r,) in islice(iter(sampler), 60):
        mirrored = torch.equal(dataset[r]["inputs"], plain[r]["inputs"].flip(-1))
        flips.setdefault(r.seed, set()).add(mirrored)
    assert all(len(seen) == 1 for seen in flips.values())
    assert {True} in flips.values() and {False} in flips.values()


def test_class_sets_map_ids(sample):
    eight, three = build(sample), build(sample, class_set="etram3_from8")
    counts = eight.box_statistics().counts
    groups = [counts[0], counts[[1, 3, 5, 6]].sum(), counts[[2, 4, 7]].sum()]
    assert three.box_statistics().counts.tolist() == groups
    assert three.metainfo["classes"] == ("pedestrian", "vehicle", "micro-mobility")
    named = build(sample, metainfo=dict(classes=tuple("abcdefgh")))
    assert named.metainfo["classes"] == tuple("abcdefgh")


def test_unknown_ids_are_named(sample):
    with pytest.raises(InputError, match=r"class ids \[.*\] are not in class_set 'etram3'"):
        build(sample, class_set="etram3")
    with pytest.raises(InputError, match="unknown class_set 'etram9'"):
        build(sample, class_set="etram9")


def test_missing_data_names_the_tools(tmp_path):
    with pytest.raises(InputError, match=r"tools/make_sample\.py.*tools/preprocess\.py"):
        build(tmp_path / "nothing")
    (tmp_path / "train").mkdir()
    with pytest.raises(InputError, match=r"no preprocessed sequence.*tools/preprocess\.py"):
        build(tmp_path)


def test_damaged_sequence_is_named(sample, tmp_path):
    shutil.copytree(sample, tmp_path / "copy")
    path = next((tmp_path / "copy" / "train").glob("*/event_representations_v2/*/*.h5"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(
        InputError, match=rf"{path.name}: the HDF5 file is truncated at 100 .*preprocess.py again"
    ):
        build(tmp_path / "copy")


def test_clips_longer_than_every_recording_are_said(sample, monkeypatch):
    """Recordings of single frames can be trained on (PEDRo's samples).

    But nobody means to fill up every clip.
    """
    said = []
    monkeypatch.setattr(
        "etram_mmdet.datasets.etram_dataset.print_log", lambda text, *args: said.append(text)
    )
    longest = max(s.num_frames for s in build(sample).sequences)
    build(sample, clip_length=longest)
    build(sample, clip_length=longest + 1, test_mode=True)
    assert not said
    assert len(build(sample, clip_length=longest + 1))
    assert f"clip_length={longest + 1}, but its longest recording has {longest} frames" in said[0]


def test_sequences_of_two_sizes_are_refused(sample, tmp_path):
    shutil.copytree(sample / "train", tmp_path / "train")
    other = DATA / "preprocessed_etram" / "train" / "train_day_0001"
    shutil.copytree(other, tmp_path / "train" / "zzz")
    with pytest.raises(InputError, match=r"differ in \(channels, height, width\)"):
        build(tmp_path)


def damaged(sample, tmp_path, change):
    """A copy of a sequence whose label arrays went through ``change``; its folder."""
    folder = next((sample / "val").iterdir())
    copy = tmp_path / "val" / folder.name
    shutil.copytree(folder, copy)
    path = copy / "labels_v2" / "labels.npz"
    arrays = dict(np.load(path))
    change(arrays["labels"])
    np.savez(path, **arrays)
    return copy


@pytest.mark.parametrize(("name", "value"), [("x", np.nan), ("h", np.inf), ("y", -np.inf)])
def test_truth_that_is_not_finite_is_found_when_the_folder_is_read(sample, tmp_path, name, value):
    """A training and tools/inspect_data.py find it before the first validation."""

    def change(labels):
        labels[name][3] = labels[name][5] = value

    folder = damaged(sample, tmp_path, change)
    boxes = np.load(folder / "labels_v2" / "labels.npz")["labels"]
    says = (
        f"labels.npz: 2 of {len(boxes)} boxes are not finite, the first in row 3 at t = "
        f"{boxes['t'][3]} us"
    )
    with pytest.raises(InputError, match=says) as raised:
        build(tmp_path, "val")
    assert f"{name} = {value:g}" in str(raised.value) and "run tools/preprocess.py again" in str(
        raised.value
    )
    with pytest.raises(InputError, match=says):
        take_census(tmp_path)


def test_ignored_boxes_that_are_not_finite_or_no_boxes_are_refused(sample, tmp_path):
    folder = damaged(sample, tmp_path, lambda labels: None)
    forget_checksums(folder)
    boxes = np.load(folder / "ignored_boxes.npy")
    boxes["w"][0] = np.nan
    for content, says in (
        (boxes, f"1 of {len(boxes)} boxes are not finite, the first in row 0"),
        (np.zeros(3), "float64"),
    ):
        np.save(folder / "ignored_boxes.npy", content)
        with pytest.raises(InputError, match=f"ignored_boxes.npy: {says}"):
            build(tmp_path, "val", test_mode=True)


@pytest.mark.parametrize("change", [-4, 4])
def test_other_numbers_of_tensors_and_stamps_are_found_when_the_folder_is_read(
    sample, tmp_path, change
):
    folder = damaged(sample, tmp_path, lambda labels: None)
    path = next(folder.rglob("*.h5"))
    with h5py.File(path, "r+") as file:
        number = len(file["data"])
        file["data"].resize(number + change, 0)
        del file["data_crc32"]  # which would tell it too
    with pytest.raises(
        InputError, match=rf"{path.name}: {number + change} tensors, but timestamps_us has {number}"
    ):
        build(tmp_path, "val")


def test_unfinished_sequences_are_not_seen(sample, tmp_path):
    shutil.copytree(sample / "train", tmp_path / "train")
    first = next((tmp_path / "train").iterdir())
    first.rename(first.with_name(f".{first.name}.1.in_progress"))
    assert len(build(tmp_path).sequences) == len(build(sample).sequences) - 1


def test_a_damaged_frame_is_a_sentence_when_it_is_read(sample, tmp_path):
    shutil.copytree(sample, tmp_path, dirs_exist_ok=True)
    dataset = build(tmp_path)
    path = dataset.sequences[0].path
    with h5py.File(path) as file:
        chunk = file["data"].id.get_chunk_info(2)
    with path.open("r+b") as file:
        file.seek(chunk.byte_offset + 16)
        file.write(bytes(chunk.size - 16))
    with pytest.raises(
        InputError,
        match=rf"{path.name}: frame 2 is damaged .its checksum differs.*delete the sequence folder",
    ):
        dataset[request(0, 0, 5)]


def _rows_for_frames(files):
    files["label_idx"] = np.arange(len(files["label_idx"]))


def _reverse_labels(files):
    files["labels"] = files["labels"][::-1]


def _shift_times(files):
    files["label_us"] = files["label_us"] + 26_000


def _drop_a_time(files):
    files["label_us"] = files["label_us"][1:]


def _negative_index(files):
    files["repr_idx"][0] = -2


def _index_twice(files):
    files["repr_idx"][0] = files["repr_idx"][1]


def _index_beyond(files):
    files["repr_idx"][-1] = 1000


def _one_frame_on(files):
    files["repr_idx"] = files["repr_idx"] - 1


CONTRADICTIONS = {
    "rows count frames": (
        _rows_for_frames,
        r"boxes are up to [\d,]+ us off the frames .* the row at which each",
    ),
    "rows in another order": (_reverse_labels, r"boxes are up to [\d,]+ us off the frames"),
    "label times shifted": (
        _shift_times,
        r"labels_v2/timestamps_us.npy: up to 26,000 us off the frames",
    ),
    "a label time too few": (_drop_a_time, r"18 label times for 19 labelled frames"),
    "negative index": (_negative_index, r"repr_idx is not strictly ascending within the 38 frames"),
    "index twice": (_index_twice, r"repr_idx is not strictly ascending within the 38 frames"),
    "index beyond the end": (
        _index_beyond,
        r"repr_idx is not strictly ascending within the 38 frames",
    ),
    "one frame off": (
        _one_frame_on,
        r"labels_v2/timestamps_us.npy: up to [5-9]\d,\d+ us off the frames",
    ),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_indices_that_contradict_the_times_of_boxes_are_refused(sample, tmp_path, case):
    shutil.copytree(sample, tmp_path, dirs_exist_ok=True)
    change, sentence = CONTRADICTIONS[case]
    folder = sorted((tmp_path / "train").iterdir())[0]
    (index_path,) = folder.glob("event_representations_v2/*/objframe_idx_2_repr_idx.npy")
    archive = dict(np.load(folder / "labels_v2/labels.npz"))
    times_path = folder / "labels_v2/timestamps_us.npy"
    names = dict(labels=archive["labels"], label_idx=archive["objframe_idx_2_label_idx"])
    files = names | dict(label_us=np.load(times_path), repr_idx=np.load(index_path))
    change(files)
    np.savez(
        folder / "labels_v2/labels.npz",
        labels=files["labels"],
        objframe_idx_2_label_idx=files["label_idx"],
    )
    np.save(times_path, files["label_us"])
    np.save(index_path, files["repr_idx"])
    with pytest.raises(InputError, match=f"{folder.name}/.*{sentence}"):
        build(tmp_path)
    assert any(re.search(sentence, problem) for problem in take_census(tmp_path).problems)


def test_label_times_may_be_a_little_off_and_missing(sample, tmp_path):
    shutil.copytree(sample, tmp_path, dirs_exist_ok=True)
    for path in tmp_path.glob("*/*/labels_v2/timestamps_us.npy"):
        forget_checksums(path.parents[1])
        np.save(path, np.load(path) + 24_000)
    assert len(build(tmp_path)) == len(build(sample))
    path.unlink()
    assert len(build(tmp_path)) == len(build(sample))
