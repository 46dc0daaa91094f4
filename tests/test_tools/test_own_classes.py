"""A class set in a file of one's own: one key or one option for every tool.

A checkpoint carries its content.
"""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from etram_mmdet.apis import init_detector
from tests.helpers.cli import ALL_BOXES, CONFIG, SMALL, run
from tests.helpers.paths import ROOT

OWN = dict(classes=["vehicle", "walker"], mapping={"11": "vehicle", "12": "walker"}, leave_out=[20])
OURS = {0: 12, 1: 11, 2: 20, 3: 11, 4: 20, 5: 11, 6: 11, 7: -1}


@pytest.fixture(scope="module")
def config(raw_sample, tmp_path_factory):
    """A config whose recordings have ids of somebody's own, and one class set in a file."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copytree(raw_sample, folder / "raw")
    for path in folder.glob("raw/*/*_bbox.npy"):
        boxes = np.load(path)
        boxes["class_id"] = [np.uint32(OURS[i] % 2**32) for i in boxes["class_id"].tolist()]
        np.save(path, boxes)
    (folder / "own.json").write_text(json.dumps(OWN))
    words = ["--class-set", folder / "own.json", "--drop-unknown-classes", "--workers", "2"]
    output = run("tools/preprocess.py", folder / "raw", folder / "data", *words)
    assert (
        "boxes_left_out:20" in output and "boxes_to_ignore" in output and "boxes: vehicle" in output
    )
    (folder / "own.py").write_text(
        f"_base_ = {str(ROOT / CONFIG)!r}\ndata_root = {str(folder / 'data')!r}\n"
        f"class_set = {str(folder / 'own.json')!r}\n"
    )
    return folder / "own.py"


@pytest.fixture(scope="module")
def checkpoint(config):
    folder = config.parent / "run"
    output = run("tools/train.py", config, "--work-dir", folder, "--cfg-options", *SMALL, ALL_BOXES)
    assert "class_set own" in output and "model.bbox_head.num_classes: 8, now 2" in output
    (config.parent / "own.json").rename(config.parent / "away.json")
    return folder / "iter_4.pth"


def test_inspect_data(config, tmp_path):
    assert "walker" in run("tools/inspect_data.py", config, "--out", tmp_path, "--no-events")


def test_a_checkpoint_carries_the_classes_without_the_file(checkpoint, raw_sample, tmp_path):
    assert init_detector(checkpoint, device="cpu").dataset_meta["classes"] == ("vehicle", "walker")
    run("tools/test.py", checkpoint, "--work-dir", tmp_path, "--out", tmp_path / "found.json")
    assert json.loads((tmp_path / "found.json").read_text())["classes"] == ["vehicle", "walker"]
    assert "walker" in run(
        "tools/tune_thresholds.py", tmp_path / "found.json", "--out", tmp_path / "points.py"
    )
    recording = next((raw_sample / "test").glob("*_td.h5"))
    words = ["--out", tmp_path / "found.csv", "--duration-s", "0.1", "--score-thr", "0"]
    run("tools/detect.py", checkpoint, recording, *words)
    rows = (tmp_path / "found.csv").read_text().splitlines()[1:]
    assert rows and {row.split(",")[-1] for row in rows} <= {"vehicle", "walker"}
