"""tools/make_config.py: from a folder of recordings to a training that runs."""

from __future__ import annotations

import json
import shlex

import numpy as np
import pytest
from mmengine.config import Config

from tests.helpers.cli import run

TOOL = "tools/make_config.py"


@pytest.fixture
def foreign(raw_sample, tmp_path):
    """Recordings for training with labels of another tool.

    They are COCO JSON, with ids from 1 and other names.
    """
    folder = tmp_path / "my_raw" / "train"
    folder.mkdir(parents=True)
    for events in (raw_sample / "train").glob("*_td.h5"):
        name = events.name.removesuffix("_td.h5")
        (folder / events.name).symlink_to(events)
        boxes = np.load(events.with_name(f"{name}_bbox.npy"))
        times = np.unique(boxes["t"]).tolist()
        images = [
            dict(id=i, file_name=f"{i}.png", width=96, height=64, t_us=t)
            for i, t in enumerate(times)
        ]
        annotations = [
            dict(
                id=i,
                image_id=times.index(box["t"]),
                category_id=min(int(box["class_id"]), 2) + 1,
                bbox=[float(box[side]) for side in "xywh"],
            )
            for i, box in enumerate(boxes)
        ]
        categories = [
            dict(id=i, name=name) for i, name in ((1, "walker"), (2, "fork lift"), (3, "dog"))
        ]
        content = dict(images=images, annotations=annotations, categories=categories)
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder.parent


def commands_of(printed: str) -> list[list[str]]:
    lines = printed.partition("next:\n")[2].splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith("python")]


def test_its_commands_lead_to_a_training(foreign, tmp_path):
    """Without a split val, which the training says."""
    config = tmp_path / "own.py"
    words = (
        "--out",
        config,
        "--data-root",
        tmp_path / "frames",
        "--classes",
        "walker",
        "fork lift",
    )
    printed = run(TOOL, foreign, *words)
    assert (
        "sensor: 96x64 pixels, from the recordings, the labels or --sensor" in printed
        and "left out: dog " in printed
    )
    assert Config.fromfile(config).class_set.to_dict() == dict(
        classes=("walker", "fork lift"), leave_out=("dog",)
    )
    assert "No recordings for val or test" in printed
    preprocess, dry_run, train = commands_of(printed)
    assert train == ["tools/train.py", str(config)]
    assert "3 recordings preprocessed, 0 were finished before, 0 problems" in run(
        *preprocess, "--workers", 0
    )
    small = ("train_dataloader.num_workers=0", "model.backbone.partition_size=(1,3)")
    trained = run(*dry_run, "--cfg-options", *small)
    assert "val: no recordings, so the training runs without validation" in trained
    assert "Nothing was kept" in trained and "fork lift" in trained
    assert f"{config}: this file exists; choose another one with --out" in run(
        TOOL, foreign, *words, ok=False
    )
    assert f"--downsample: {config} states it too" in run(
        *preprocess, "--downsample", "none", ok=False
    )


def test_there_is_a_test_where_there_are_recordings_for_it(raw_sample, tmp_path):
    printed = run(
        TOOL, raw_sample, "--out", tmp_path / "a.py", "--classes", "0=walker", "1=car", "5=car"
    )
    commands = commands_of(printed)
    tools = "preprocess train train test detect".split()
    assert [words[0] for words in commands] == [f"tools/{name}.py" for name in tools]
    assert commands[4][2].startswith(str(raw_sample / "test"))
    assert "left out: 2 " in printed and "test_dataloader" not in (tmp_path / "a.py").read_text()


def test_a_damaged_recording_is_a_problem_and_no_end(foreign, tmp_path):
    name = min((foreign / "train").glob("*_td.h5"))
    head = name.read_bytes()[:3000]
    name.unlink()
    name.write_bytes(head)
    output = run(TOOL, foreign, "--out", tmp_path / "own.py", ok=False)
    assert (
        f"PROBLEM {name}: the HDF5 file is truncated" in output and (tmp_path / "own.py").exists()
    )
