"""One line in a child config, or one option, changes the data of every tool.

A checkpoint carries its own settings.
"""

from __future__ import annotations

import json

import pytest
import torch

from etram_mmdet.apis import EventInferencer
from etram_mmdet.engine.checkpoints.opening import load_checkpoint_file
from etram_mmdet.engine.checkpoints.rvt_weights import to_rvt
from etram_mmdet.events.preprocessing.folder import preprocess_folder
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from tests.helpers.cli import ALL_BOXES, CONFIG, SMALL, run
from tests.helpers.paths import ROOT

REPRESENTATION = dict(type="TernaryVolume", bins=5, downsample="sum")
WINDOW_US = 20_000


@pytest.fixture(scope="module")
def child(raw_sample, tmp_path_factory):
    """A config with the four keys and nothing else, and the same as options for its parent."""
    folder = tmp_path_factory.mktemp("child")
    settings = PreprocessSettings(representation=REPRESENTATION, window_us=WINDOW_US)
    assert not preprocess_folder(raw_sample, folder / "data", settings, workers=2).problems
    path = folder / "mine.py"
    path.write_text(
        f"_base_ = {str(ROOT / CONFIG)!r}\n"
        f"data_root = {str(folder / 'data')!r}\n"
        "class_set = 'etram3_from8'\n"
        f"representation = dict(_delete_=True, **{REPRESENTATION!r})\n"
        f"window_us = {WINDOW_US}\n"
    )
    return path


@pytest.fixture(scope="module")
def run_folder(child):
    folder = child.parent / "run"
    output = run("tools/train.py", child, "--work-dir", folder, "--cfg-options", *SMALL, ALL_BOXES)
    return folder, output


def test_train(child, run_folder):
    _, output = run_folder
    assert (
        "5 x 32 x 48 (TernaryVolume, 20 ms, 2 sensor px per px), clips of 5 frames every 50 ms"
        in output
    )
    assert (
        f"{child.parent / 'data' / 'train'}: 3 recordings" in output
        and "class_set etram3_from8" in output
    )
    assert (
        "model.bbox_head.num_classes: 8, now 3" in output
        and "class_set: etram8, now etram3_from8" in output
    )


def test_a_checkpoint_brings_them_to_test_and_detection(run_folder, raw_sample, tmp_path):
    folder, _ = run_folder
    output = run(
        "tools/test.py",
        folder / "iter_4.pth",
        "--work-dir",
        tmp_path,
        "--out",
        tmp_path / "found.json",
    )
    assert (
        "micro-mobility" in output
        and json.loads((tmp_path / "found.json").read_text())["classes"][1] == "vehicle"
    )
    run("tools/evaluate.py", tmp_path / "found.json")
    inferencer = EventInferencer(folder / "iter_4.pth", device="cpu")
    assert inferencer.classes == ("pedestrian", "vehicle", "micro-mobility")
    assert inferencer.window_us == WINDOW_US
    assert inferencer.step_us == 50_000  # of RVT's frame rule, whatever the window
    assert inferencer.representation(64, 96).shape == (5, 32, 48)
    recording = next((raw_sample / "test").glob("*_td.h5"))
    out = tmp_path / "found.csv"
    run(
        "tools/detect.py",
        folder / "iter_4.pth",
        recording,
        "--out",
        out,
        "--duration-s",
        "0.2",
        "--score-thr",
        "0",
    )
    rows = [line.split(",") for line in out.read_text().splitlines()[1:]]
    assert rows and {row[-1] for row in rows} <= {"pedestrian", "vehicle", "micro-mobility"}
    assert len({row[0] for row in rows}) == 4  # a window each 50 ms


def test_browse(child, tmp_path):
    run(
        "tools/browse_dataset.py",
        child,
        "--out",
        tmp_path / "a.png",
        "--batches",
        "1",
        "--cfg-options",
        SMALL[-1],
    )
    assert (tmp_path / "a.png").is_file()


@pytest.mark.parametrize("by_option", [False, True])
def test_inspect(child, tmp_path, by_option):
    words = [child]
    if by_option:
        data = child.parent / "data"
        words = [
            CONFIG,
            "--cfg-options",
            f"data_root={data}",
            "class_set=etram3_from8",
            f"window_us={WINDOW_US}",
        ]
        words += [
            "representation._delete_=True",
            *(f"representation.{k}={v}" for k, v in REPRESENTATION.items()),
        ]
    output = run("tools/inspect_data.py", *words[:1], "--out", tmp_path, *words[1:])
    assert "micro-mobility" in output and "wheelchair" not in output


def test_benchmark(child, tmp_path):
    size = [
        "--device",
        "cpu",
        "--frame",
        "32",
        "48",
        "--windows",
        "2",
        "--steps",
        "1",
        "--batch",
        "1",
    ]
    run(
        "tools/benchmark.py",
        child,
        *size,
        "--json",
        tmp_path / "b.json",
        "--cfg-options",
        SMALL[-1],
    )
    assert (tmp_path / "b.json").is_file()


def test_convert(child, run_folder, tmp_path):
    """Weights of five input channels and three classes fit a config with a line for each."""
    weights = load_checkpoint_file(run_folder[0] / "iter_4.pth")["state_dict"]
    torch.save(
        dict(state_dict={f"mdl.{k}": v for k, v in to_rvt(weights).items()}), tmp_path / "rvt.ckpt"
    )
    run(
        "tools/convert_rvt.py",
        *(
            tmp_path / "rvt.ckpt",
            tmp_path / "ours.pth",
            "--config",
            child,
            "--cfg-options",
            SMALL[-1],
            ALL_BOXES,
        ),
    )
    assert "vehicle" in run("tools/test.py", tmp_path / "ours.pth", "--work-dir", tmp_path)


def test_ablate(child, tmp_path):
    (tmp_path / "plan.py").write_text(
        "baseline = 'mine'\nseeds = (0,)\nsamples = 8\n"
        f"runs = dict(mine=dict(config={str(child)!r}))\n"
        "common = {'model.backbone.partition_size': [1, 3], 'default_hooks.logger.interval': 1,\n"
        "    'param_scheduler.0.pct_start': 0.3, 'train_cfg.val_begin': 1, "
        "'model.test_cfg.score_thr': 0.0}\n"
    )
    run("tools/ablate.py", tmp_path / "plan.py", "--out", tmp_path / "out", "--devices", "cpu")
    logs = "".join(path.read_text() for path in (tmp_path / "out").rglob("*.log"))
    assert "5 x 32 x 48 (TernaryVolume, 20 ms" in logs and "class_set etram3_from8" in logs


def test_other_files_than_the_class_set_reads_are_refused(child):
    """Ids 0 to 7, and a class set of the grouped files."""
    words = ["class_set=etram3", SMALL[-1]]
    output = run("tools/train.py", child, "--dry-run", "--cfg-options", *words, ok=False)
    assert "are not in class_set 'etram3', which reads ids 0 to 2" in output
