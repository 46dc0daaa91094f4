"""Breakdown: sizes in sensor pixels, light, recordings, false alarms; what has no boxes has no number."""

from __future__ import annotations

import json

import numpy as np
import pytest

from etram_mmdet.evaluation.breakdown import break_down, labelled_minutes, recall_at_false_alarms, size_names
from etram_mmdet.evaluation.breakdown_table import as_dict, format_breakdown
from etram_mmdet.evaluation.event_coco_metric import EventCocoMetric
from etram_mmdet.evaluation.matching import match
from etram_mmdet.evaluation.results import Boxes, FrameResult
from tests.test_evaluation.test_event_coco_metric import CLASSES, random_samples, sample


def square(side: float, x: float = 0.0) -> list[float]:
    return [x, 0, x + side, side]


def frame(truth, found=None, labels=None, scores=None, recording="day_0", t_us=0, scale=1) -> FrameResult:
    """Detections are the ground truth unless given."""
    truth = np.array(truth, np.float32).reshape(-1, 4)
    found = truth if found is None else np.array(found, np.float32).reshape(-1, 4)
    labels = np.zeros(len(truth), np.int64) if labels is None else np.array(labels)
    found_labels = labels[: len(found)] if len(found) <= len(labels) else np.zeros(len(found), np.int64)
    scores = np.full(len(found), 0.9) if scores is None else np.array(scores)
    found = Boxes(found, found_labels, scores.astype(np.float32))
    return FrameResult(recording, t_us, Boxes(truth, labels), found, scale)


def test_sizes_are_sides_in_sensor_pixels():
    """Half resolution: 3, 4, 8, 16 and 48 network pixels are 6, 8, 16, 32 and 96; a lower border belongs to a range."""
    sides = (3, 4, 8, 16, 48)
    truth = [square(side, 100 * i) for i, side in enumerate(sides)]
    parts = break_down([frame(truth, scale=2)], ("car",))
    assert size_names() == ["0-8", "8-16", "16-32", "32-96", "96+"]
    assert parts.boxes_by_size.tolist() == [[1, 1, 1, 1, 1]] and parts.ap_by_size == pytest.approx(np.ones((1, 5)))
    assert break_down([frame(truth, scale=1)], ("car",)).boxes_by_size.tolist() == [[2, 1, 1, 1, 0]]


def test_a_missed_size_shows_in_its_range_only():
    truth = [square(10), square(20, 50), square(40, 100)]
    parts = break_down([frame(truth, truth[1:])], ("car", "tram"))
    assert parts.ap_by_size[0, 1:4] == pytest.approx([0, 1, 1])
    assert np.isnan(parts.ap_by_size[0, [0, 4]]).all() and np.isnan(parts.ap_by_size[1]).all()
    found = parts.metrics()
    assert found["AP_8-16_sensor_px"] == 0 and found["AP_16-32_sensor_px"] == pytest.approx(1)
    assert "AP_0-8_sensor_px" not in found and "AP_96+_sensor_px" not in found


def test_day_night_and_recordings():
    box = [square(20)]
    frames = [
        frame(box, recording="val_day_0", t_us=0),
        frame(box, [], recording="val_day_1", t_us=100_000),
        frame(box, [], recording="val_night_0", t_us=0),
        frame([], recording="val_night_1", t_us=0),
    ]
    parts = break_down(frames, ("car",))
    assert parts.by_light["day"].ap == pytest.approx(51 / 101)  # half of the boxes, all at full precision
    assert parts.by_light["night"].ap == 0 and parts.by_light["night"].boxes == 1
    assert parts.by_recording["val_day_0"].ap == pytest.approx(1) and parts.by_recording["val_night_1"].ap is None
    assert parts.metrics()["AP_low"] == 0 and parts.metrics()["AP_high"] == pytest.approx(1)
    assert break_down([frame(box, recording="street")], ("car",)).by_light == {}


def test_recall_at_false_alarms_by_hand():
    """Six frames at 10 Hz are .01 minutes. Best first: hit, alarm, hit and alarm of equal score."""
    truth = [square(20), square(20, 100), square(20, 200)]
    found = [truth[0], square(20, 300), truth[1], square(20, 400)]
    frames = [frame(truth, found, scores=[0.9, 0.8, 0.7, 0.7])] + [
        frame([], t_us=t) for t in range(100_000, 600_000, 100_000)
    ]
    assert labelled_minutes(frames) == pytest.approx(0.01)
    assert recall_at_false_alarms(match(frames), 1, 1.0)[0] == pytest.approx([1 / 3, 2 / 3, 2 / 3])
    assert recall_at_false_alarms(match(frames), 1, 0.01)[0] == pytest.approx([1 / 3] * 3)
    assert recall_at_false_alarms(match(frames), 1, 0.03)[0] == pytest.approx([1 / 3, 1 / 3, 1 / 3])
    assert recall_at_false_alarms(match(frames), 1, 0.05)[0] == pytest.approx([1 / 3, 1 / 3, 2 / 3])
    assert np.isnan(recall_at_false_alarms(match(frames), 2, 1.0)[1]).all()


def test_one_frame_has_no_minutes():
    parts = break_down([frame([square(20)])], ("car",))
    assert np.isnan(parts.minutes) and not any("per_min" in key for key in parts.metrics())


def test_text_and_json_show_missing_classes_as_such():
    frames = [frame([square(20)], recording=f"day_{i}", t_us=t) for i in range(2) for t in (0, 100_000)]
    parts = break_down(frames, ("car", "tram"))
    text = format_breakdown(parts)
    tram = next(line for line in text.splitlines() if line.startswith("tram"))
    assert set(tram.split()) == {"tram", "-"} and "-1.0" not in text and "nan" not in text
    assert "interval over resamples of the 2 recordings: 1.0000 to 1.0000" in text
    content = json.loads(json.dumps(as_dict(parts), allow_nan=False))
    assert content["classes"]["tram"]["ap_by_size"] == [None] * 5
    assert content["classes"]["car"]["boxes_by_size"] == [0, 0, 4, 0, 0]
    assert content["recordings"]["day_0"] == dict(frames=2, boxes=2, ap=pytest.approx(1), ap50=pytest.approx(1))


def test_the_metric_gives_the_headlines_breakdown():
    metric = EventCocoMetric(("coco", "prophesee"))
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process(None, random_samples(40, 0))
    found = metric.evaluate(1)
    assert metric.headline.protocol.name == "coco" and len(metric.headline.frames) == 40
    assert found["coco/AP_low"] <= found["coco/AP"] <= found["coco/AP_high"]
    assert found["coco/AP_day"] == pytest.approx(found["coco/AP"]) and "prophesee/AP_day" not in found


def test_large_boxes_of_a_class_agnostic_headline():
    metric = EventCocoMetric(("etram_paper",))
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process(None, [sample(600_000, [square(90)], [1], labels=[2])])
    assert metric.evaluate(1)["etram_paper/AP_32-96_sensor_px"] == pytest.approx(1)
    assert metric.headline.classes == ("any class",)


def test_minutes_follow_each_recordings_rate():
    """Ten seconds at 10 Hz, a hundred at 1 Hz; a frame alone counts as the usual one (between .1 and 1 s)."""
    fast = [frame([], recording="a", t_us=t * 100_000) for t in range(100)]
    slow = [frame([], recording="b", t_us=t * 1_000_000) for t in range(100)]
    assert labelled_minutes(fast + slow) == pytest.approx(110 / 60)
    assert labelled_minutes([*fast, *slow, frame([], recording="c")]) == pytest.approx(110.55 / 60)


def test_a_recording_may_be_called_day():
    box = [square(20)]
    parts = break_down([frame(box, recording="day"), frame(box, [], recording="day_2")], ("car",))
    assert parts.by_light["day"].frames == 2 and parts.by_recording["day"].ap == 1
    assert parts.by_light["day"].ap == pytest.approx(51 / 101)
