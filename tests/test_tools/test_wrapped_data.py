"""A training on two cities at once, from its start to its checkpoint."""

from __future__ import annotations

import csv
import json
import shutil

import pytest
import torch

from tests.helpers.cli import ALL_BOXES, CONFIG, SMALL, run
from tests.helpers.paths import ROOT

TWO_CITIES = """_base_ = "{base}"
train = _base_.train_dataloader["dataset"]
val = _base_.val_dataloader["dataset"]
data_root = None
train_dataloader = dict(
    dataset=dict(_delete_=True, type="ConcatDataset", datasets=[
        dict(type="RepeatDataset", times=2, dataset=dict(train, data_root="{first}/")),
        dict(train, data_root="{second}/"),
    ]))
val_dataloader = dict(
    dataset=dict(_delete_=True, type="ConcatDataset", datasets=[
        dict(val, data_root="{first}/"),
        dict(val, data_root="{second}/"),
    ]))
test_dataloader = val_dataloader
"""


@pytest.fixture(scope="module")
def run_on_two(sample, tmp_path_factory):
    """Work folder, config and output of a training on a sample and on a copy of it."""
    folder = tmp_path_factory.mktemp("two")
    second = folder / "second"
    shutil.copytree(sample, second)
    config = folder / "two.py"
    config.write_text(TWO_CITIES.format(base=ROOT / CONFIG, first=sample, second=second))
    output = run(
        "tools/train.py", config, "--work-dir", folder / "run", "--cfg-options", *SMALL, ALL_BOXES
    )
    return folder / "run", config, output


def test_a_training_on_two_cities_says_what_it_saw(run_on_two):
    work, _, output = run_on_two
    assert "6 recordings" in output and "4 recordings" in output
    record = json.loads((work / "run.json").read_text())
    assert (record["train_data"]["recordings"], record["val_data"]["recordings"]) == (6, 4)
    with (work / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["split"] for row in rows] == ["val", "val"] and all(row["data"] for row in rows)
    assert {"val_4.png", "val_4.json", "results.png"} <= {path.name for path in work.iterdir()}
    assert list(work.glob("val_4.mp4"))


def test_its_checkpoint_opens_on_its_own(run_on_two):
    work, _, _ = run_on_two
    checkpoint = torch.load(work / "iter_4.pth", weights_only=True)
    assert set(checkpoint["meta"]["dataset_meta"]) == {"classes", "palette"}
    output = run("tools/test.py", work / "iter_4.pth", "--work-dir", work.parent / "tested")
    assert "coco/AP" in output


def test_its_batches_can_be_looked_at(run_on_two):
    _, config, _ = run_on_two
    picture = config.with_name("batches.png")
    run(
        "tools/browse_dataset.py", config, "--out", picture, "--batches", 1, "--cfg-options", *SMALL
    )
    assert picture.stat().st_size > 0


def test_class_sets_that_differ_are_refused(run_on_two):
    _, config, _ = run_on_two
    text = config.read_text().replace(
        'dict(train, data_root="', 'dict(train, class_set="etram3_from8", data_root="', 1
    )
    other = config.with_name("other.py")
    other.write_text(text.replace("data_root = None", "data_root = class_set = None"))
    output = run(
        "tools/train.py",
        other,
        "--work-dir",
        config.parent / "no",
        "--cfg-options",
        *SMALL,
        ok=False,
    )
    assert "pedestrian, vehicle, micro-mobility" in output and "pedestrian, car" in output


def test_a_training_from_mmengines_own_samplers(sample, tmp_path):
    config = tmp_path / "plain.py"
    sampler = (
        "train_dataloader = dict(batch_sampler=None, sampler=dict(shuffle=True), batch_size=32)\n"
    )
    config.write_text(f'_base_ = "{ROOT / CONFIG}"\n{sampler}')
    options = ["--cfg-options", f"data_root={sample}/", *SMALL, "train_cfg.max_iters=6", ALL_BOXES]
    output = run("tools/train.py", config, "--work-dir", tmp_path / "run", *options)
    assert (
        "iter_6.pth" in {path.name for path in (tmp_path / "run").iterdir()} and "coco/AP" in output
    )
