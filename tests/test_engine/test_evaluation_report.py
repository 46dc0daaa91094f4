"""What a validation leaves in the run's folder, and that a failing picture costs nothing else."""

from __future__ import annotations

import errno
import json
import logging
from types import SimpleNamespace

import cv2
import pytest

from etram_mmdet.engine.hooks.evaluation_report import EvaluationReportHook
from etram_mmdet.evaluation.event_coco_metric import EventCocoMetric
from etram_mmdet.utils.errors import InputError
from tests.helpers.cli import run


def test_every_validation_leaves_its_pictures(trained):
    folder, output = trained
    for step in (2, 4):
        assert {p.name for p in folder.glob(f"val_{step}.*")} == {
            f"val_{step}.{end}" for end in ("json", "png", "mp4")
        }
    assert cv2.imread(str(folder / "results.png")).shape[1] == 1300
    assert "val_4.json, val_4.png, results.png, val_4.mp4" in output
    content = json.loads((folder / "val_4.json").read_text())
    assert content["protocol"].startswith("coco: class-aware") and len(content["recordings"]) == 2
    film = cv2.VideoCapture(str(folder / "val_4.mp4"))
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) == max(
        part["frames"] for part in content["recordings"].values()
    )
    assert film.get(cv2.CAP_PROP_FPS) == pytest.approx(10, rel=0.05)  # the labels' rate: real time


def test_a_test_leaves_its_own(trained, tmp_path):
    """It changes no file of a training, even if it writes into the same folder."""
    run("tools/test.py", trained[0], "--work-dir", tmp_path)
    pictures = {f"tested_val_4.{end}" for end in ("json", "png", "mp4")}
    assert {p.name for p in tmp_path.iterdir() if p.is_file()} == {
        "index.html",
        "results.csv",
        *pictures,
    }


@pytest.mark.parametrize(
    ("error", "level", "has_traceback"),
    [
        (RuntimeError("no ink"), logging.ERROR, True),
        (InputError("a.png: no ink"), logging.WARNING, False),
        (OSError(errno.ENOSPC, "no ink", "a.png"), logging.WARNING, False),
    ],
)
def test_a_failing_picture_costs_a_warning(
    error, level, has_traceback, monkeypatch, caplog, tmp_path
):
    def fail(*args):
        raise error

    hook, logger = EvaluationReportHook(), logging.getLogger("report")
    monkeypatch.setattr(hook, "_write", fail)
    metric = EventCocoMetric()
    metric.headline = object()
    runner = SimpleNamespace(
        logger=logger,
        iter=7,
        val_evaluator=SimpleNamespace(metrics=[metric]),
        val_dataloader=SimpleNamespace(dataset=SimpleNamespace(split="val")),
    )
    with caplog.at_level(logging.WARNING, logger="report"):
        hook.after_val_epoch(runner)
    (record,) = caplog.records
    assert "no pictures of the evaluation at step 7" in caplog.text and record.levelno == level
    assert ("Traceback" in caplog.text) == has_traceback
    assert "no ink" in caplog.text or "a.png: the disk is full" in caplog.text
