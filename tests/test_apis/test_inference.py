"""init_detector and EventInferencer: streams give the same boxes as an evaluation."""

from __future__ import annotations

import json
from unittest.mock import Mock

import h5py
import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from etram_mmdet.apis.inference import SCORE_THR, EventInferencer
from etram_mmdet.datasets.etram_dataset import ETraMDataset
from etram_mmdet.deploy.window_times import start_on_grid
from etram_mmdet.engine.checkpoints.contents import CONFIG_KEY
from etram_mmdet.engine.checkpoints.opening import init_detector, load_checkpoint_file
from etram_mmdet.evaluation.operating_points.points import OperatingPoints
from etram_mmdet.evaluation.predictions import load_predictions
from etram_mmdet.events.class_sets import ETRAM8
from etram_mmdet.events.formats import open_recording
from etram_mmdet.events.formats.writing import write_recording
from etram_mmdet.events.preprocessing.frame_times import select_frames
from etram_mmdet.utils.errors import InputError
from tests.helpers.cli import ALL_BOXES, CONFIG, SMALL, run
from tests.helpers.paths import ROOT
from tests.helpers.raw import make_events
from tests.helpers.same_boxes import Found, assert_same_boxes
from tests.test_tools.test_train_and_test import rows


@pytest.fixture(scope="module")
def checkpoint(trained):
    return trained[0] / "iter_4.pth"


@pytest.fixture(scope="module")
def recording(raw_sample):
    return next((raw_sample / "val").glob("val_day_0000*.h5"))


@pytest.fixture(scope="module")
def first_us(sample):
    """End of the first window that an evaluation of the recording uses, in microseconds."""
    dataset = ETraMDataset(sample, "val", [], test_mode=True)
    k = [s.name for s in dataset.sequences].index("val_day_0000")
    return int(dataset.sequences[k].t_us[dataset.segments[k].start])


@pytest.fixture(scope="module")
def evaluated(checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    run("tools/test.py", checkpoint, "--work-dir", folder, "--out", folder / "p.json")
    return [f for f in load_predictions(folder / "p.json").frames if f.recording == "val_day_0000"]


@pytest.mark.parametrize("begin", ["start time", "label file", "sequence folder"])
def test_a_stream_gives_what_evaluation_gives(
    evaluated, checkpoint, recording, first_us, sample, begin
):
    """Boxes and scores are equal, though events are raw and frames come one at a time."""
    expected = evaluated
    inferencer = EventInferencer(checkpoint, device="cpu", score_thr=0.0)
    begins = {
        "start time": dict(start_us=first_us - inferencer.step_us),
        "label file": dict(labels=recording.with_name("val_day_0000_bbox.npy")),
        "sequence folder": dict(labels=sample / "val" / "val_day_0000"),
    }
    found = {window.t_us: window.found for window in inferencer.windows(recording, **begins[begin])}
    assert min(found) == first_us
    assert len(expected) >= 15 and max(len(f.found) for f in expected) > 10
    for frame in expected:
        boxes = found[frame.t_us]
        assert np.all(np.diff(boxes.scores) <= 0)  # best first
        assert boxes.names == [inferencer.classes[k] for k in boxes.labels]
        ours = Found(boxes.bboxes_xyxy, boxes.scores, boxes.labels)
        assert_same_boxes(
            ours, Found(frame.found.bboxes_xyxy, frame.found.scores, frame.found.labels)
        )


@pytest.mark.parametrize("name", ["mine.csv", "mine.json", "mine", "several.json"])
def test_label_files_of_all_formats_tell_when_windows_end(checkpoint, recording, tmp_path, name):
    """Any name of the file is accepted, since the user passes its path.

    The formats include a folder of YOLO files, and a file that names its recording.
    """
    labels = recording.with_name("val_day_0000_bbox.npy")
    classes = ["--source-classes", *ETRAM8, "--frame-size", "96", "64"]
    run("tools/convert_labels.py", labels, tmp_path / name, *classes)
    if name == "mine":
        (tmp_path / "mine_frames.csv").rename(tmp_path / "val_day_0000_frames.csv")
    if name == "several.json":
        content = json.loads((tmp_path / name).read_text())
        for image in content["images"]:
            image["file_name"] = f"val_day_0000/{image['file_name']}"
        (tmp_path / name).write_text(json.dumps(content))
    inferencer = EventInferencer(checkpoint, device="cpu")
    with open_recording(recording) as opened:
        assert inferencer.times(opened, labels=tmp_path / name) == inferencer.times(
            opened, labels=labels
        )


def test_boxes_that_are_shown_are_cut_to_the_frame(checkpoint, recording):
    """They are the rows of the network's boxes, in sensor pixels; some reached beyond the frame."""
    inferencer = EventInferencer(checkpoint, device="cpu", score_thr=0.0)
    windows = list(inferencer.windows(recording, stop_us=500_000))
    shown = dict(inferencer.stream(recording, stop_us=500_000))
    whole = np.concatenate([window.found.bboxes_xyxy for window in windows]) * 2
    cut = np.concatenate([window.boxes.bboxes_xyxy for window in windows])
    assert np.array_equal(cut, whole.clip(0, [94, 62, 94, 62])) and not np.array_equal(cut, whole)
    assert all(shown[window.t_us] == window.boxes for window in windows)


def test_operating_points_see_the_boxes_that_are_shown(checkpoint):
    """Thresholds by size use the size of the clipped box.

    Of a box of 20x20 network pixels 5x20 lie inside the frame. Its side is then 20 sensor pixels
    instead of 40. Only boxes with sides below 30 pass.
    """
    inferencer = EventInferencer(checkpoint, device="cpu")
    classes = inferencer.classes
    thresholds = {name: [0.5, 1.0] for name in classes}
    inferencer.operating_points = OperatingPoints.from_config(
        dict(score_thr=thresholds, sides_px=[30]), classes
    )
    found = InstanceData(
        bboxes=torch.tensor([[-15.0, 0, 5, 20]]),
        scores=torch.tensor([0.7]),
        labels=torch.tensor([0]),
    )
    inferencer.engine.streamer = Mock(return_value=([found], None), device="cpu")
    shown = inferencer.detect(np.zeros((20, 32, 48), np.uint8))
    assert shown.bboxes_xyxy.tolist() == [[0, 0, 10, 40]]


def test_state_is_carried_until_reset(checkpoint, recording):
    inferencer = EventInferencer(checkpoint, device="cpu", score_thr=0.0)
    images = [window.image for window in inferencer.windows(recording, stop_us=500_000)][-3:]
    inferencer.reset()
    first, second = inferencer.detect(images[-1]), inferencer.detect(images[-1])
    assert not np.array_equal(first.scores, second.scores)
    inferencer.reset()
    assert np.array_equal(inferencer.detect(images[-1]).scores, first.scores)


def test_a_faster_stream_says_nearly_the_same(checkpoint, recording):
    """Weights are nearly untrained: scores are near 0, and boxes of equal scores change places."""
    model = init_detector(checkpoint, device="cpu")
    found = []
    for fast in (dict(), dict(fuse=True), dict(precision="bfloat16")):
        inferencer = EventInferencer(model, score_thr=0.0, **fast)
        found.append(
            [
                np.sort(boxes.scores)[-5:]
                for _, boxes in inferencer.stream(recording, stop_us=500_000)
            ]
        )
    exact, fused, low = map(np.array, found)
    assert exact.shape == (10, 5) and np.abs(exact - fused).max() < 1e-6
    assert 0 < np.abs(exact - low).max() < 0.05 * exact.max()


def test_an_unknown_precision_is_a_sentence(checkpoint):
    with pytest.raises(InputError, match="precision='half', expected float32, bfloat16, float16"):
        EventInferencer(checkpoint, "cpu", precision="half")


def test_a_second_stream_starts_from_zero(checkpoint, recording):
    inferencer = EventInferencer(checkpoint, device="cpu", score_thr=0.0)
    runs = [
        [boxes.scores for _, boxes in inferencer.stream(recording, stop_us=400_000)]
        for _ in range(2)
    ]
    assert len(runs[0]) > 3 and all(map(np.array_equal, *runs))


def test_streams_of_one_inferencer_may_take_turns(checkpoint, recording):
    """Two parts of a recording and two cameras: each gets the same boxes as when it runs alone."""
    inferencer = EventInferencer(checkpoint, device="cpu", score_thr=0.0)
    parts = [dict(stop_us=400_000), dict(start_us=1_000_000, stop_us=1_350_000)]
    alone = [list(inferencer.windows(recording, **part)) for part in parts]
    cameras = [inferencer.new_stream() for _ in parts]
    in_turns = zip(*(inferencer.windows(recording, **part) for part in parts), strict=False)
    for expected, windows in zip(zip(*alone, strict=False), in_turns, strict=True):
        for camera, one, other in zip(cameras, expected, windows, strict=True):
            assert one.t_us == other.t_us and len(one.boxes.scores) > 5
            np.testing.assert_array_equal(other.boxes.scores, one.boxes.scores)
            np.testing.assert_array_equal(camera.detect(one.image).scores, one.boxes.scores)


def test_windows_follow_each_other(checkpoint, recording):
    inferencer = EventInferencer(checkpoint, device="cpu")
    times = [t_us for t_us, _ in inferencer.stream(recording, start_us=100_000, stop_us=400_000)]
    assert times == list(range(150_000, 400_001, 50_000))
    fine = EventInferencer(inferencer.model, step_us=20_000)
    assert [t for t, _ in fine.stream(recording, 100_000, 160_000)] == [120_000, 140_000, 160_000]
    with open_recording(recording) as opened:
        assert [t for t, _ in inferencer.stream(opened, 100_000, 400_000)] == times
        everything = [t for t, _ in inferencer.stream(opened)]
        assert 0 < everything[0] - opened.t_first_us <= 50_000 > opened.t_last_us - everything[-1]


def test_windows_end_at_whole_steps_of_the_clock(checkpoint, recording):
    """Steps are counted from 0 if the clock begins at 0, else from the first event."""
    inferencer = EventInferencer(checkpoint, device="cpu")
    with open_recording(recording) as opened:
        assert 0 < opened.t_first_us < 50_000
        assert list(inferencer.times(opened, stop_us=120_000)) == [50_000, 100_000]
    assert start_on_grid(999_000, 40_000) == 960_000
    assert start_on_grid(7_000_013, 40_000) == 7_000_013


def test_labels_of_another_frame_rule_are_told(
    checkpoint, raw_sample, recording, tmp_path, monkeypatch
):
    """RVT's rule keeps ten labels per second, the other rule all of them.

    A label after the last event is evaluated too.
    """
    warnings = []
    monkeypatch.setattr(
        "etram_mmdet.deploy.window_times.say", lambda text, *_: warnings.append(text)
    )
    labels = recording.with_name("val_day_0000_bbox.npy")
    with open_recording(recording) as opened:
        times = EventInferencer(checkpoint, device="cpu").times(opened, labels=labels)
        assert not warnings and np.abs(np.diff(times) - 50_000).max() < 2
        assert (
            list(
                EventInferencer(checkpoint, "cpu", step_us=33_333).times(opened, labels=labels)[:9]
            )
            == times[:9]
        )
        assert "frames come every 50 ms, but training used 33.3 ms" in warnings.pop()
        boxes = np.load(labels)
        frames = select_frames(np.unique(boxes["t"]), opened.t_first_us, "auto", 50_000)
        boxes["t"][-1] = frames.label_us[-1] + 200_000
        for side in "xywh":
            boxes[side][-1] = 20
        np.save(tmp_path / "late_bbox.npy", boxes)
        late = EventInferencer(checkpoint, device="cpu").times(
            opened, labels=tmp_path / "late_bbox.npy"
        )
        assert late[-1] == boxes["t"][-1] > opened.t_last_us


def test_the_step_of_the_training_is_the_step_of_every_stream(
    checkpoint, recording, tmp_path, monkeypatch
):
    """Checkpoints before version 0.2 do not store the step.

    Then it follows from the frame rule in the config, or is 50 ms with a warning.
    """
    content = load_checkpoint_file(checkpoint)
    assert content["meta"]["step_us"] == 50_000
    warnings = []
    monkeypatch.setattr("etram_mmdet.deploy.inferencer.say", lambda text, *_: warnings.append(text))

    def inferencer(trained_us, **options):
        content["meta"]["step_us"] = trained_us
        if trained_us is None:
            del content["meta"]["step_us"]
        torch.save(content, tmp_path / "x.pth")
        return EventInferencer(init_detector(tmp_path / "x.pth", device="cpu"), **options)

    for step_us in (33_333, 40_000, 20_000):
        times = [
            t_us
            for t_us, _ in inferencer(step_us).stream(recording, 100_000, 100_000 + 3 * step_us)
        ]
        assert times == [100_000 + k * step_us for k in (1, 2, 3)]
    assert inferencer(40_000, step_us=10_000).step_us == 10_000 and not warnings
    assert inferencer(None).step_us == 50_000
    assert "from window to window in its training; assumed 50 ms" in warnings.pop()
    config = json.loads(content["meta"][CONFIG_KEY])
    config["test_dataloader"]["dataset"].update(
        type="RawEventDataset", frames="rvt", window_us=20_000
    )
    content["meta"][CONFIG_KEY] = json.dumps(config)
    assert inferencer(None).step_us == 50_000 and not warnings
    with pytest.raises(InputError, match=r"meta\.step_us is not valid"):
        inferencer(0)


def test_thresholds(checkpoint, recording, tmp_path):
    """Default threshold, one threshold for all classes, and thresholds per class from a file."""
    model = init_detector(checkpoint, device="cpu")
    image = next(EventInferencer(model).windows(recording, 400_000)).image

    def detect(**options):
        return EventInferencer(model, **options).detect(image)

    everything = detect(score_thr=0.0)
    assert len(detect(score_thr=float(np.median(everything.scores))).scores) == pytest.approx(
        len(everything.scores) / 2, abs=1
    )
    assert EventInferencer(model).operating_points.score_thr == pytest.approx(
        np.full((8, 1), SCORE_THR)
    )
    common = int(np.bincount(everything.labels).argmax())
    name = model.dataset_meta["classes"][common]
    scores = {c: 0.0 if c == name else 1.0 for c in model.dataset_meta["classes"]}
    (tmp_path / "points.py").write_text(f"operating_points = dict(score_thr={scores})")
    tuned = detect(operating_points=tmp_path / "points.py")
    assert set(tuned.names) == {name} and len(tuned.names) == (everything.labels == common).sum()


def test_a_class_that_is_switched_off_is_named(checkpoint, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("etram_mmdet.deploy.inferencer.say", lambda text, *_: said.append(text))
    scores = dict.fromkeys(ETRAM8, 0.5) | dict(tram=1.0)
    (tmp_path / "points.py").write_text(f"operating_points = dict(score_thr={scores})")
    EventInferencer(checkpoint, device="cpu", operating_points=tmp_path / "points.py")
    EventInferencer(checkpoint, device="cpu")
    assert said == ["classes switched off by a score threshold of 1: tram"]


def test_tuned_thresholds_travel_in_the_checkpoint_and_do_not_touch_evaluation(
    trained, sample, recording, tmp_path
):
    """The config is that of docs/evaluation.md; AP and the recorded ``test_cfg`` do not change."""
    (tmp_path / "operating_points.py").write_text(
        f"operating_points = dict(score_thr={dict.fromkeys(ETRAM8, 1.0)})"
    )
    (tmp_path / "tuned.py").write_text(
        f"_base_ = [{str(ROOT / CONFIG)!r}, 'operating_points.py']\n"
        "model = dict(test_cfg=dict(operating_points=_base_.operating_points))\n"
    )
    options = [
        "--cfg-options",
        f"data_root={sample}/",
        *SMALL,
        ALL_BOXES,
        f"load_from={trained[0] / 'iter_4.pth'}",
    ]
    folder = tmp_path / "run"
    run("tools/train.py", tmp_path / "tuned.py", "--work-dir", folder, *options, "base_lr=1e-12")
    tuned = EventInferencer(folder / "iter_4.pth", device="cpu")
    assert not next(tuned.windows(recording, 400_000)).boxes.names
    assert (
        EventInferencer(tuned.model, score_thr=0.0)
        .detect(next(tuned.windows(recording, 400_000)).image)
        .names
    )
    run("tools/test.py", folder / "iter_4.pth", "--work-dir", tmp_path)
    ours, theirs = (rows(f)[-1] for f in (tmp_path, folder))
    assert ours["coco/AP"] == theirs["coco/AP"] and float(ours["coco/AP"]) > 0
    assert ours["test_cfg"] == theirs["test_cfg"] == rows(trained[0])[-1]["test_cfg"]


@pytest.mark.parametrize(
    "text, says",
    [
        ("points = 1", "defines no operating_points; expected a file of tools/tune_thresholds.py"),
        (
            "operating_points = dict(score_thr=dict(Car=.3, Truck=.2))",
            "for the classes Car, Truck, but the model detects the classes ped",
        ),
        ("operating_points = dict(scores=.3)", "holds scores; expected score_thr"),
        ("operating_points = [.3]", "defines no operating_points"),
        ("operating_points = (", "expected a file of operating points"),
    ],
)
def test_thresholds_for_something_else(checkpoint, tmp_path, text, says):
    (tmp_path / "points.py").write_text(text)
    with pytest.raises(InputError, match=says):
        EventInferencer(checkpoint, device="cpu", operating_points=tmp_path / "points.py")


def test_a_device_that_is_not_there(checkpoint):
    for device in ("nowhere", "cuda:99"):
        with pytest.raises(InputError, match=f"device '{device}' cannot be used here"):
            init_detector(checkpoint, device=device)


def test_init_detector_takes_configs_and_checkpoints(checkpoint):
    fresh = init_detector(CONFIG, device="cpu")
    assert not fresh.training and fresh.dataset_meta["classes"][0] == "pedestrian"
    loaded = init_detector(checkpoint, device="cpu")
    assert loaded.cfg.model.backbone.patch_size == 2
    with pytest.raises(InputError, match="describes another model"):
        init_detector("configs/baseline.py", device="cpu", checkpoint=checkpoint)
    with pytest.raises(InputError, match=r"is a checkpoint itself; leave out b\.pth"):
        init_detector(checkpoint, device="cpu", checkpoint="b.pth")
    with pytest.raises(InputError, match="no such checkpoint"):
        init_detector("nothing.pth")


def without_size(recording, path):
    """The recording in a file that does not state the size of its sensor."""
    with open_recording(recording) as opened:
        write_recording(opened, path)
    with h5py.File(path, "r+") as file:
        del file["events/width"], file["events/height"]
    return path


def test_the_sensor_of_the_training_is_that_of_a_recording_without_size(
    checkpoint, recording, tmp_path, monkeypatch
):
    content = load_checkpoint_file(checkpoint)
    assert content["meta"]["sensor_px"] == [96, 64]
    told = []
    monkeypatch.setattr("etram_mmdet.deploy.inferencer.say", lambda text, *_: told.append(text))
    path = without_size(recording, tmp_path / "a.h5")
    inferencer = EventInferencer(checkpoint, device="cpu", score_thr=0.0)
    with open_recording(path) as opened:
        assert (opened.width, opened.height) == (304, 240)
        assert "assumed 96x64, the size in training" in inferencer.fit_sensor(opened)
        assert (opened.width, opened.height, opened.size_is_assumed) == (96, 64, True)
    assert inferencer.sensor_px == (96, 64) and inferencer.representation().shape == (20, 32, 48)
    assert list(inferencer.stream(path, stop_us=300_000)) == list(
        inferencer.stream(recording, stop_us=300_000)
    )
    assert (
        len(told) == 1
        and "assumed 96x64, the size in training. State another with --sensor" in told[0]
    )
    content["meta"]["sensor_px"] = [96, 0]
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(InputError, match=r"meta\.sensor_px is not valid"):
        init_detector(tmp_path / "x.pth", device="cpu")


def test_a_recording_whose_events_lie_beyond_the_sensor_of_the_training_keeps_its_own(
    checkpoint, tmp_path
):
    events = make_events(500) | dict(x=np.linspace(0, 500, 500).astype(np.uint16))
    np.savez(tmp_path / "a.npz", **events)
    inferencer = EventInferencer(checkpoint, device="cpu")
    with open_recording(tmp_path / "a.npz") as opened:
        assert (
            "assumed 640x480, the smallest known size that its events fit into"
            in inferencer.fit_sensor(opened)
        )
        assert (opened.width, opened.height, opened.dropped_out_of_frame) == (640, 480, 0)
    inferencer.sensor_px = None
    with pytest.raises(InputError, match="does not state the size of its sensor"):
        inferencer.representation()


def test_boxes_are_sensor_pixels_whatever_the_frame_is_smaller_by(checkpoint, recording, tmp_path):
    """The same network on frames of 24x16 instead of 48x32 pixels."""
    content = load_checkpoint_file(checkpoint)
    config = json.loads(content["meta"][CONFIG_KEY])
    for place in (config, *(config[f"{split}_dataloader"]["dataset"] for split in ("val", "test"))):
        place["representation"] = dict(type="StackedHistogram", bins=10, downsample=4)
    content["meta"][CONFIG_KEY] = json.dumps(config)
    torch.save(content, tmp_path / "x.pth")
    inferencer = EventInferencer(tmp_path / "x.pth", device="cpu", score_thr=0.0)
    assert inferencer.representation().shape == (20, 16, 24)
    windows = list(inferencer.windows(recording, stop_us=200_000))
    found = np.concatenate([window.found.bboxes_xyxy for window in windows])
    shown = np.concatenate([window.boxes.bboxes_xyxy for window in windows])
    assert len(found) and windows[0].image.shape == (20, 16, 24)
    np.testing.assert_array_equal(shown, 4 * found.clip(0, [23, 15, 23, 15]))
