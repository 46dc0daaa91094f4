"""tools/detect.py: a recording in; a film, JSON or a table out."""

from __future__ import annotations

import csv
import json
import re
import shutil

import cv2
import h5py
import numpy as np
import pytest
import torch

from etram_mmdet.datasets.etram_dataset import ETraMDataset
from etram_mmdet.engine.checkpoints.contents import CONFIG_KEY
from etram_mmdet.engine.checkpoints.opening import load_checkpoint_file
from etram_mmdet.evaluation.predictions import load_predictions
from etram_mmdet.events.formats import open_recording
from tests.helpers.cli import CONFIG, run
from tests.helpers.encoders import numbers
from tests.helpers.paths import ROOT


@pytest.fixture(scope="module")
def words(trained, raw_sample):
    recording = next((raw_sample / "val").glob("val_day_0000*.h5"))
    return ["tools/detect.py", trained[0] / "iter_4.pth", recording, "--device", "cpu"]


def test_json_and_csv_say_the_same(words, tmp_path):
    options = ["--score-thr", 1e-5, "--start-s", 0.5, "--duration-s", 0.5]
    output = run(*words, "--out", tmp_path / "d.json", *options)
    assert "0.5 s of val_day_0000_td.h5" in output and "events per pixel" not in output
    told = run(*words, "--out", tmp_path / "d.csv", *options, "--fuse").splitlines()[-1]
    frames = load_predictions(tmp_path / "d.json").frames
    assert {f.recording for f in frames} == {"val_day_0000"}  # as data sets call it
    assert (
        len(frames) == 10 and frames[0].hw == (32, 48) and frames[0].scale == 2
    )  # as tools/test.py saves them
    with open(tmp_path / "d.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(f.found) for f in frames) > 20
    assert told.startswith(
        f"found {len(rows)} boxes in 10 windows with scores of at least 1e-05: pedestrian "
    )
    number = sum(row["class"] == "wheelchair" for row in rows)
    assert told.endswith(f", wheelchair {number}")
    first = next(f for f in frames if len(f.found))
    assert int(rows[0]["t_us"]) == first.t_us and float(rows[0]["score"]) == pytest.approx(
        first.found.scores[0], abs=1e-4
    )
    sides = [float(rows[0][side]) for side in ("x1", "y1", "x2", "y2")]
    assert sides == pytest.approx(2 * first.found.clipped(first.hw).bboxes_xyxy[0], abs=0.01)
    assert 48 < max(float(row["x2"]) for row in rows) <= 96  # sensor pixels, not the network's
    assert min(f.found.scores.min(initial=1) for f in frames) >= 1e-5


def test_a_recording_without_a_size_has_that_of_the_training(words, tmp_path):
    """It is an array with columns given by an option; boxes equal those of a file with a size."""
    with open_recording(words[2]) as recording:
        events = recording.read(0, 700_000)._asdict()
    np.save(tmp_path / "val_day_0000_td.npy", numbers(events, "pytx", "i8"))
    own = [*words[:2], tmp_path / "val_day_0000_td.npy", *words[3:], "--event-columns", "p,y,t,x"]
    options = ["--score-thr", 1e-5, "--start-s", 0.2, "--duration-s", 0.3]
    for name, command in (("stated", words), ("assumed", own)):
        output = run(*command, "--out", tmp_path / f"{name}.csv", *options)
        assert ("val_day_0000_td.npy: does not state the size of its sensor" in output) == (
            name == "assumed"
        )
        assert ("assumed 96x64, the size in training" in output) == (name == "assumed")
    assert (tmp_path / "stated.csv").read_text() == (tmp_path / "assumed.csv").read_text()


def test_labels_or_a_start_time_say_where_windows_end(words, sample, tmp_path):
    """The times of an evaluation follow the labels and are no whole steps of the clock."""
    (t_us,) = [
        s.t_us for s in ETraMDataset(sample, "val", []).sequences if s.name == "val_day_0000"
    ]
    expected = t_us[10:16].tolist()
    assert expected[0] % 50_000
    for options in (["--labels", words[2].with_name("val_day_0000_bbox.npy")], []):
        start_s = (expected[0] - 50_000) / 1e6
        output = run(
            *words,
            "--out",
            tmp_path / "d.json",
            "--start-s",
            start_s,
            "--duration-s",
            0.301,
            *options,
        )
        assert "found 0 boxes in 6 windows with scores of at least 0.3: pedestrian 0" in output
        assert re.fullmatch(
            r"the highest score was [\d.e-]+ \(\w+\); .* --score-thr [\d.e-]+",
            output.splitlines()[-1],
        )
        assert [f.t_us for f in load_predictions(tmp_path / "d.json").frames] == pytest.approx(
            expected, abs=2
        )


def test_film_shows_every_window(words, tmp_path):
    low = "--precision", "bfloat16"
    output = run(
        *words,
        "--out",
        tmp_path / "new" / "film.mp4",
        "--score-thr",
        1e-5,
        "--duration-s",
        0.6,
        *low,
    )
    assert "codec: " in output
    film = cv2.VideoCapture(str(tmp_path / "new" / "film.mp4"))
    frames = [film.read()[1] for _ in range(int(film.get(cv2.CAP_PROP_FRAME_COUNT)))]
    assert len(frames) == 12 and film.get(cv2.CAP_PROP_FPS) == pytest.approx(20)
    assert frames[0].shape[1] == 960 and np.ptp(frames[-1]) > 150


def test_a_damaged_last_stamp_does_not_make_the_recording_longer(words, tmp_path):
    damaged = tmp_path / words[2].name
    shutil.copy(words[2], damaged)
    with h5py.File(damaged, "r+") as file:
        file["events/t"][-1] = 1 << 40  # twelve days
    options = ["--score-thr", 1e-5, "--start-s", 0.8]
    output = run(*words[:2], damaged, *words[3:], "--out", tmp_path / "damaged.csv", *options)
    assert "left out: 1 events_with_bad_stamp" in output
    run(*words, "--out", tmp_path / "sound.csv", *options)
    assert (tmp_path / "damaged.csv").read_text() == (tmp_path / "sound.csv").read_text()


@pytest.mark.parametrize(
    "change, says",
    [
        (("--out", "film.gif"), "expected a name that ends in one of .mp4, .json, .csv"),
        (
            ("--out", "d.csv", "--sensor", 640, 480),
            "the file states a sensor of 96x64, but 640x480 is given",
        ),
        (("--out", "film.mp4", "--duration-s", 0.01), "the film would have no frame"),
        (("--out", "d.csv", "--step-ms", 0), "--step-ms 0.0: expected more than 0"),
        (
            ("--out", "d.csv", "--step-ms", 20, "--labels", "x.npy"),
            "--labels and --step-ms both choose the windows",
        ),
        (("--out", "d.csv", "--labels", "none_bbox.npy"), "none_bbox.npy"),
        (
            ("--out", "d.csv", "--operating-points", "none.py"),
            "none.py: cannot be read (No such file",
        ),
    ],
)
def test_bad_input_gets_a_sentence(words, tmp_path, change, says):
    change = [tmp_path / word if str(word).startswith(("film", "d.")) else word for word in change]
    assert says in run(*words, *change, ok=False)
    assert not list(tmp_path.iterdir())


def test_a_config_has_no_weights():
    output = run("tools/detect.py", "configs/baseline.py", "none.raw", "--out", "d.csv", ok=False)
    assert "configs/baseline.py is a config, without weights" in output


def test_missing_recording(trained):
    words = ["tools/detect.py", trained[0] / "iter_4.pth", "none.raw", "--out", "d.csv"]
    assert "none.raw: no such recording" in run(*words, ok=False)


def test_a_checkpoint_of_foreign_plugins_is_used_with_its_config(
    words, trained, sample, tmp_path, monkeypatch
):
    """On its own it is refused, since that would import what a file names."""
    (tmp_path / "my_plugin.py").write_text(
        "import etram_mmdet.plugins\n"
        "from mmdet.models.losses import IoULoss\n"
        "from mmdet.registry import MODELS\n\n\n"
        "@MODELS.register_module(force=True)\n"
        "class MyIoULoss(IoULoss):\n"
        "    pass\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    config = tmp_path / "mine.py"
    config.write_text(
        f"_base_ = {str(ROOT / CONFIG)!r}\n"
        "custom_imports = dict(imports=['my_plugin'])\n"
        f"data_root = {str(sample)!r}\n"
        "model = dict(backbone=dict(partition_size=(1, 3)), test_cfg=dict(score_thr=0.0),\n"
        "             bbox_head=dict(loss_bbox=dict(_delete_=True, type='MyIoULoss')))\n"
    )
    content = load_checkpoint_file(trained[0] / "iter_4.pth")
    carried = json.loads(content["meta"][CONFIG_KEY])
    carried["custom_imports"] = dict(imports=["etram_mmdet.plugins", "my_plugin"])
    carried["model"]["bbox_head"]["loss_bbox"] = dict(type="MyIoULoss")
    content["meta"][CONFIG_KEY] = json.dumps(carried)
    torch.save(content, tmp_path / "mine.pth")
    rest = [
        words[2],
        "--device",
        "cpu",
        "--out",
        tmp_path / "d.csv",
        "--duration-s",
        "0.2",
        "--score-thr",
        "0",
    ]
    assert "needs the modules my_plugin" in run(
        "tools/detect.py", tmp_path / "mine.pth", *rest, ok=False
    )
    assert "0.2 s of" in run("tools/detect.py", config, tmp_path / "mine.pth", *rest)
    assert len((tmp_path / "d.csv").read_text().splitlines()) > 1


def test_three_paths_at_most(words):
    output = run("tools/detect.py", "a.py", "b.pth", "c.raw", "d", "--out", "x.csv", ok=False)
    assert "expected [CONFIG] CHECKPOINT RECORDING, got 4 paths" in output


def test_data_unlike_those_of_the_training_are_told(words, trained, sample, tmp_path):
    """detect.py and test.py warn; nothing comes from a checkpoint without training statistics."""
    content = load_checkpoint_file(words[1])
    assert set(content["meta"]["trained_on"]) == {"side_px", "events_per_px"}
    content["meta"]["trained_on"] = dict(side_px=[2.0, 3.0], events_per_px=[40.0, 50.0])
    torch.save(content, tmp_path / "x.pth")
    other = run(
        words[0], tmp_path / "x.pth", *words[2:], "--out", tmp_path / "d.csv", "--duration-s", 0.3
    )
    sentence = "events per pixel, but 40 to 50 in the checkpoint's training data; train on data"
    assert sentence in other
    tested = run("tools/test.py", tmp_path / "x.pth", "--work-dir", tmp_path / "test")
    assert (
        sentence in tested
        and "of the boxes are larger than those in the checkpoint's training data" in tested
    )
