"""Files of detections: written atomically, with the same boxes in each format."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from etram_mmdet.apis.inference import Boxes, Window
from etram_mmdet.apis.sinks import SINKS
from etram_mmdet.evaluation.operating_points.points import OperatingPoints
from etram_mmdet.evaluation.predictions import load_predictions
from etram_mmdet.events.representations import build_representation

CLASSES = ("pedestrian", "car")
RECORDING = SimpleNamespace(path=Path("street_td.h5"), height=64, width=96, t_first_us=4_000_000)
INFERENCER = SimpleNamespace(
    classes=CLASSES,
    step_us=40_000,
    palette=[(255, 0, 0), (0, 255, 0)],
    operating_points=OperatingPoints.common(CLASSES, 0.3),
    representation=lambda h, w: build_representation(
        dict(type="StackedHistogram", downsample="nearest"), h, w
    ),
)


def windows(stop=None, step_us=50_000):
    """Three windows with one box each; the window with index ``stop`` raises an error instead."""
    for k in range(3):
        if k == stop:
            raise KeyboardInterrupt
        box = np.array([[10 + k, 20, 40, 50.5]], np.float32)
        shown = Boxes(box, np.array([1]), scores=np.array([0.75], np.float32), classes=CLASSES)
        found = replace(shown, bboxes_xyxy=box / 2 - np.float32([0, 11, 0, 0]))
        yield Window(step_us * (k + 1), np.zeros((20, 32, 48), np.uint8), shown, found, found)


def test_a_film_has_the_speed_of_the_recording(tmp_path):
    """The step of the windows of a label file may differ from that of the training."""
    SINKS[".mp4"](tmp_path / "film.mp4", windows(step_us=25_000), INFERENCER, RECORDING)
    assert cv2.VideoCapture(str(tmp_path / "film.mp4")).get(cv2.CAP_PROP_FPS) == pytest.approx(40)


@pytest.mark.parametrize("suffix", SINKS)
def test_a_file_is_complete_or_absent(suffix, tmp_path):
    path = tmp_path / f"found{suffix}"
    with pytest.raises(KeyboardInterrupt):
        SINKS[suffix](path, windows(stop=2), INFERENCER, RECORDING)
    assert list(tmp_path.iterdir()) == []
    SINKS[suffix](path, windows(), INFERENCER, RECORDING)
    assert list(tmp_path.iterdir()) == [path] and path.stat().st_size > 100


def test_a_file_that_was_there_outlives_a_stop(tmp_path):
    path = tmp_path / "found.csv"
    path.write_text("of an earlier run")
    with pytest.raises(KeyboardInterrupt):
        SINKS[".csv"](path, windows(stop=2), INFERENCER, RECORDING)
    assert path.read_text() == "of an earlier run"


def test_a_table_is_for_a_person_and_predictions_for_an_evaluation(tmp_path):
    """The table holds clipped boxes in sensor pixels, the predictions unclipped network pixels."""
    for suffix in (".json", ".csv", ".npz"):
        SINKS[suffix](tmp_path / f"found{suffix}", windows(), INFERENCER, RECORDING)
    frames = load_predictions(tmp_path / "found.json").frames
    assert load_predictions(tmp_path / "found.npz").frames == frames
    rows = list(csv.DictReader((tmp_path / "found.csv").open()))
    assert [frame.key for frame in frames] == [("street", t) for t in (50_000, 100_000, 150_000)]
    assert frames[1].found.bboxes_xyxy.tolist() == [[5.5, -1, 20, 25.25]]
    assert frames[1].hw == (32, 48) and frames[1].scale == 2 and frames[1].start_us == 4_000_000
    assert {frame.step_us for frame in frames} == {INFERENCER.step_us}
    sides = dict(x1="11.00", y1="20.00", x2="40.00", y2="50.50")
    assert rows[1] == dict(t_us="100000", **sides, score="0.7500", **{"class": "car"})
