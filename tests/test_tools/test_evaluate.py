"""tools/evaluate.py: saved predictions give the numbers of the run that saved them."""

from __future__ import annotations

import json

import pytest

from etram_mmdet.evaluation.predictions import load_predictions, save_predictions
from tests.helpers.cli import CONFIG, run
from tests.test_tools.test_train_and_test import rows


@pytest.fixture(scope="module")
def saved(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    run(
        "tools/test.py", trained[0] / "iter_4.pth", "--work-dir", folder, "--out", folder / "p.json"
    )
    return folder / "p.json"


def numbers(output: str) -> str:
    """The first table's line of means."""
    return next(line for line in output.splitlines() if line.startswith("AP "))


@pytest.mark.parametrize("with_config", [False, True])
def test_same_numbers_as_the_run(saved, sample, with_config):
    options = ["--config", CONFIG, "--cfg-options", f"data_root={sample}/"] if with_config else []
    output = run(
        "tools/evaluate.py", saved, "--protocols", "coco", "prophesee_gen1:class", *options
    )
    assert numbers(output).startswith(f"AP {float(rows(saved.parent)[0]['coco/AP']):.4f}   AP50")
    assert "protocol prophesee_gen1:class: class-aware, first 0.5 s, diagonals < 30" in output


def test_an_archive_gives_the_same_tables(saved, tmp_path):
    content = load_predictions(saved)
    save_predictions(tmp_path / "p.npz", content.frames, content.classes, content.test_cfg)
    of_json, of_npz = (run("tools/evaluate.py", path) for path in (saved, tmp_path / "p.npz"))
    assert numbers(of_npz) and of_npz == of_json


def test_other_recordings_and_missing_frames_are_refused(saved, sample, tmp_path):
    options = ["--config", CONFIG, "--cfg-options", f"data_root={sample}/"]
    assert "of recordings that the evaluated data do not hold" in run(
        "tools/evaluate.py",
        saved,
        *options,
        "test_dataloader.dataset.split=test",
        "--split",
        "test",
        ok=False,
    )
    content = json.loads(saved.read_text())
    content["frames"] = content["frames"][1:]
    (tmp_path / "p.json").write_text(json.dumps(content))
    assert "1 labelled frames of the evaluated data have no predictions" in run(
        "tools/evaluate.py", tmp_path / "p.json", *options, ok=False
    )
    output = run("tools/evaluate.py", saved, *options, "class_set=etram3_from8", ok=False)
    assert "has pedestrian, vehicle, micro-mobility" in output


def test_unknown_protocol(saved):
    assert "unknown protocols ['voc']: expected some of coco" in run(
        "tools/evaluate.py", saved, "--protocols", "voc", ok=False
    )
