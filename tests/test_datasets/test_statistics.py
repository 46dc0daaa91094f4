"""Two data sets are the same where a difference of AP would mean something."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import numpy as np

from etram_mmdet.datasets import ETraMDataset
from etram_mmdet.datasets.folder_sequence import FolderSequence
from etram_mmdet.datasets.statistics import digest, fingerprint, frame_step_us
from etram_mmdet.utils.shared_arrays import SharedArrays
from tests.helpers.sequence_folders import forget_checksums


def of(root, split="train", **keys):
    return fingerprint(ETraMDataset(f"{root}/", split, [dict(type="PackClip")], **keys))


def test_boxes_are_read_once_for_it(sample, monkeypatch):
    """When a training starts, the fingerprint is needed up to four times."""
    dataset = ETraMDataset(f"{sample}/", "train", [])
    first = fingerprint(dataset)
    monkeypatch.setattr(FolderSequence, "boxes_of", None)
    first.clear()
    assert fingerprint(dataset)["recordings"] == 3 and digest(dataset)


def test_counts_and_stability(sample):
    dataset = ETraMDataset(f"{sample}/", "train", [])
    found = fingerprint(dataset)
    assert found == fingerprint(dataset) and len(found["sha256"]) == 16
    assert (found["split"], found["recordings"], found["labelled_frames"]) == (
        "train",
        3,
        len(dataset),
    )
    assert found["boxes"] == len(dataset.box_statistics().labels)


def test_what_changes_results_changes_it_and_what_does_not_does_not(sample, tmp_path):
    plain = of(sample)
    assert of(sample, clip_length=3) == plain
    others = [
        of(sample, split="val"),
        of(sample, class_set="etram3_from8"),
        of(sample, metainfo=dict(classes=list("abcdefgh"))),
    ]
    assert len({plain["sha256"], *(o["sha256"] for o in others)}) == 4


def test_the_usual_step_between_frames(sample):
    assert frame_step_us(ETraMDataset(f"{sample}/", "train", [])) == 50_000
    times = [np.array([0, 33_333, 66_666, 100_000]), np.array([7]), np.array([0, 33_334, 133_000])]
    assert (
        frame_step_us(SimpleNamespace(sequences=[SimpleNamespace(t_us=t_us) for t_us in times]))
        == 33_334
    )
    assert frame_step_us(SimpleNamespace(sequences=[SimpleNamespace(t_us=times[1])])) is None


def test_ignored_boxes_matter_to_evaluation_alone(sample, tmp_path):
    """A folder of an earlier version does not have them."""
    shutil.copytree(sample / "train", tmp_path / "train")
    for path in tmp_path.rglob("ignored_boxes.npy"):
        path.unlink()
        forget_checksums(path.parent)
    assert of(tmp_path) == of(sample)
    kept, forgotten = (of(root, test_mode=True)["sha256"] for root in (sample, tmp_path))
    assert kept != forgotten == of(sample)["sha256"]


def test_one_moved_box_changes_it(sample):
    before = of(sample)
    dataset = ETraMDataset(f"{sample}/", "train", [])
    sequence = dataset.sequences[1]
    moved = sequence.arrays["bboxes"] + np.float32([1, 0, 1, 0])
    sequence.arrays = SharedArrays({**sequence.arrays, "bboxes": moved})
    after = fingerprint(dataset)
    assert after["sha256"] != before["sha256"] and after["boxes"] == before["boxes"]
