"""tools/tune_thresholds.py: a table, a figure and a file that tools/detect.py and a config take."""

from __future__ import annotations

import cv2
import pytest
from mmengine.config import Config

from etram_mmdet.evaluation.operating_points.points import OperatingPoints
from etram_mmdet.evaluation.predictions import save_predictions
from tests.helpers.cli import run
from tests.test_evaluation.test_tuning import CLASSES, street


@pytest.fixture
def predictions(tmp_path):
    frames = street("day_0", 0.6, 0.4) + street("day_1", 0.62, 0.4)
    save_predictions(
        tmp_path / "p.json",
        frames,
        CLASSES,
        dict(nms=dict(type="nms", iou_threshold=0.45)),
        "my runs/iter_4.pth",
    )
    return tmp_path / "p.json"


def test_fragment_table_and_figure(predictions):
    output = run("tools/tune_thresholds.py", predictions, "--precision", 0.9, "--nms", "--by-size")
    assert "goal: precision of at least 0.9" in output and "WARNING car: only 0 boxes" in output
    path = predictions.with_name("operating_points.py")
    told = "python tools/detect.py 'my runs/iter_4.pth' RECORDING --out film.mp4"
    assert f"next:\n{told} --operating-points {path}" in output
    points = OperatingPoints.from_config(Config.fromfile(path).operating_points.to_dict(), CLASSES)
    assert points.score_thr[0] == pytest.approx(
        [0.41, 0.41, 0.41], abs=0.2
    ) and points.sides_px == (16, 32)
    assert cv2.imread(str(path.with_suffix(".png"))).shape[1] == 1300
    comment = path.read_text().split("operating_points")[0]
    assert "precision of at least 0.9, from 60 frames of 2 recordings" in comment.replace(
        "\n# ", " "
    )
    assert (
        "2 recordings, 0.05 minutes of stream" in comment.replace("\n# ", " ")
        and "AP is measured without" in comment
    )


def test_false_alarms_at_the_step_of_deployment(predictions):
    """Sixty windows are .05 minutes at 50 ms and .01 at 10 ms."""
    output = run("tools/tune_thresholds.py", predictions, "--false-alarms", 200)
    assert (
        "left out of the tuning (0.05 minutes)" in output
        and "WARNING every evaluated frame holds a box" in output
    )
    assert "too short to guarantee" not in output
    output = run("tools/tune_thresholds.py", predictions, "--false-alarms", 200, "--step-ms", 10)
    assert "WARNING 0.01 minutes of stream are too short to guarantee at most 200" in output


def test_the_proof_of_false_alarms_runs(trained, tmp_path):
    """At full size it takes half an hour: docs/evaluation.md has its numbers."""
    checkpoint = trained[0] / "iter_4.pth"
    output = run(
        "tests/proofs/false_alarms.py", checkpoint, tmp_path, "--recordings", 2, "--seconds", 1.5
    )
    assert "windows, 0.05 minutes" in output and "all bounds and classes: " in output
    assert "pedestrian, 10" in output and "wheelchair, 30" in output


@pytest.mark.parametrize(
    "options, says",
    [
        (("--precision", 1.5), "--precision 1.5: expected a share"),
        (("--precision", 0.9, "--recall", 0.9), "not allowed with argument"),
        (("--false-alarms", 5, "--step-ms", 0), "--step-ms 0.0: expected more than 0"),
        (("--out", "thresholds.txt"), "a config fragment is a .py file"),
    ],
)
def test_bad_options(predictions, options, says):
    assert says in run("tools/tune_thresholds.py", predictions, *options, ok=False)
    assert not predictions.with_name("operating_points.py").exists()


def test_bad_predictions(tmp_path):
    save_predictions(tmp_path / "one.json", street("day_0", 0.6, 0.4, count=1), CLASSES, {})
    assert "at least two frames with boxes are needed" in run(
        "tools/tune_thresholds.py", tmp_path / "one.json", ok=False
    )
    save_predictions(
        tmp_path / "strict.json", street("a", 0.6, 0.4), CLASSES, dict(nms=dict(iou_threshold=0.2))
    )
    assert "none of the IoUs to try is lower" in run(
        "tools/tune_thresholds.py", tmp_path / "strict.json", "--nms", ok=False
    )
    assert {p.suffix for p in tmp_path.iterdir()} == {".json"}
