"""Two data sets are the same where a difference of AP would mean something."""

from __future__ import annotations

import shutil

import numpy as np

from etram_mmdet.datasets import ETraMDataset
from etram_mmdet.datasets.statistics import fingerprint


def of(root, split="train", **keys):
    return fingerprint(ETraMDataset(f"{root}/", split, [dict(type="PackClip")], **keys))


def test_counts_and_stability(sample):
    dataset = ETraMDataset(f"{sample}/", "train", [])
    found = fingerprint(dataset)
    assert found == fingerprint(dataset) and len(found["sha256"]) == 16
    assert (found["split"], found["recordings"], found["labelled_frames"]) == ("train", 3, len(dataset))
    assert found["boxes"] == len(dataset.box_statistics().labels)


def test_what_changes_results_changes_it_and_what_does_not_does_not(sample, tmp_path):
    plain = of(sample)
    assert of(sample, clip_length=3) == plain
    others = [
        of(sample, split="val"),
        of(sample, class_set="etram3_from8"),
        of(sample, metainfo=dict(classes=["x"] * 8)),
    ]
    assert len({plain["sha256"], *(o["sha256"] for o in others)}) == 4


def test_ignored_boxes_matter_to_evaluation_alone(sample, tmp_path):
    """Which a folder of an earlier version lacks."""
    shutil.copytree(sample / "train", tmp_path / "train")
    for path in tmp_path.rglob("ignored_boxes.npy"):
        path.unlink()
    assert of(tmp_path) == of(sample)
    kept, forgotten = (of(root, test_mode=True)["sha256"] for root in (sample, tmp_path))
    assert kept != forgotten == of(sample)["sha256"]


def test_one_moved_box_changes_it(sample):
    dataset = ETraMDataset(f"{sample}/", "train", [])
    before = fingerprint(dataset)
    sequence = dataset.sequences[1]
    sequence._bboxes = sequence._bboxes + np.float32([1, 0, 1, 0])
    after = fingerprint(dataset)
    assert after["sha256"] != before["sha256"] and after["boxes"] == before["boxes"]
