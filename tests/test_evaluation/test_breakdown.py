"""Breakdown of AP: sizes in sensor pixels, light, recordings, false alarms, missing boxes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from etram_mmdet.evaluation.breakdown import (
    break_down,
    recall_at_false_alarms,
    size_names,
    stream_minutes,
)
from etram_mmdet.evaluation.breakdown_table import as_dict, format_breakdown
from etram_mmdet.evaluation.event_coco_metric import EventCocoMetric
from etram_mmdet.evaluation.matching import match
from etram_mmdet.evaluation.results import Boxes, FrameResult
from tests.test_evaluation.test_event_coco_metric import CLASSES, random_samples, sample


def square(side: float, x: float = 0.0) -> list[float]:
    return [x, 0, x + side, side]


def frame(
    truth, found=None, labels=None, scores=None, recording="day_0", t_us=0, scale=1
) -> FrameResult:
    """Detections are the ground truth unless given."""
    truth = np.array(truth, np.float32).reshape(-1, 4)
    found = truth if found is None else np.array(found, np.float32).reshape(-1, 4)
    labels = np.zeros(len(truth), np.int64) if labels is None else np.array(labels)
    found_labels = (
        labels[: len(found)] if len(found) <= len(labels) else np.zeros(len(found), np.int64)
    )
    scores = np.full(len(found), 0.9) if scores is None else np.array(scores)
    found = Boxes(found, found_labels, scores.astype(np.float32))
    return FrameResult(recording, t_us, Boxes(truth, labels), found, scale)


def test_sizes_are_sides_in_sensor_pixels():
    """At half resolution 3, 4, 8, 16 and 48 network pixels are 6, 8, 16, 32 and 96 sensor pixels.

    The lower border of a range belongs to it.
    """
    sides = (3, 4, 8, 16, 48)
    truth = [square(side, 100 * i) for i, side in enumerate(sides)]
    parts = break_down([frame(truth, scale=2)], ("car",))
    assert size_names() == ["0-8", "8-16", "16-32", "32-96", "96+"]
    assert parts.boxes_by_size.tolist() == [[1, 1, 1, 1, 1]] and parts.ap_by_size == pytest.approx(
        np.ones((1, 5))
    )
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
    assert parts.by_light["day"].ap == pytest.approx(
        51 / 101
    )  # half of the boxes, all at full precision
    assert parts.by_light["night"].ap == 0 and parts.by_light["night"].boxes == 1
    assert (
        parts.by_recording["val_day_0"].ap == pytest.approx(1)
        and parts.by_recording["val_night_1"].ap is None
    )
    assert 0 < parts.metrics()["AP_low"] < 26 / 101 < parts.metrics()["AP_high"] < 1
    assert break_down([frame(box, recording="street")], ("car",)).by_light == {}


def recall_of(frames, num_classes: int, minutes: float) -> list:
    return recall_at_false_alarms(match(frames), num_classes, minutes)[0].tolist()


def test_recall_at_false_alarms_by_hand():
    """Detections, best first: hit, alarm, then hit and alarm of equal score.

    A rate at which no alarm is allowed in so short a stream is not measured.
    """
    truth = [square(20), square(20, 100), square(20, 200)]
    found = [truth[0], square(20, 300), truth[1], square(20, 400)]
    frames = [frame(truth, found, scores=[0.9, 0.8, 0.7, 0.7])]
    assert recall_of(frames, 1, 1.0)[0] == pytest.approx([1 / 3, 2 / 3, 2 / 3])
    assert recall_of(frames, 1, 0.15)[0] == pytest.approx([np.nan, 1 / 3, 2 / 3], nan_ok=True)
    assert recall_of(frames, 1, 0.01)[0] == pytest.approx([np.nan] * 3, nan_ok=True)
    assert np.isnan(recall_of(frames, 2, 1.0)[1]).all()


def test_minutes_are_those_of_the_stream():
    """Each frame is one window: 600 of them are half a minute at 50 ms, whenever labels come."""
    frames = [frame([], t_us=t) for t in range(0, 600 * 500_000, 500_000)]
    assert stream_minutes(frames) == pytest.approx(0.5)
    assert stream_minutes([f._replace(step_us=33_333) for f in frames]) == pytest.approx(
        1 / 3, rel=1e-4
    )


def test_rarer_labels_change_no_rate():
    """One window in four has a false alarm; labels at all rates give the same alarms per minute."""
    box = [square(20)]
    pattern = [frame(box, [*box, square(20, 300)], scores=[0.9, 0.8])] + [frame(box)] * 3
    windows = [pattern[t % 4]._replace(t_us=t * 50_000) for t in range(8_400)]
    some = [break_down(windows[::every], ("car",)) for every in (1, 3, 7)]
    assert [parts.alarms_per_min.item() for parts in some] == pytest.approx([300] * 3)
    assert [parts.minutes for parts in some] == pytest.approx([7, 7 / 3, 1])
    assert all(parts.recall.tolist() == [[1, 1, 1]] for parts in some)


def test_alarms_of_classes_without_boxes_count_among_all():
    """Twenty windows a second: trees are taken for pedestrians; the only label, a car, is found."""
    found = [square(20), square(10, 100), square(10, 200)]
    one = frame([square(20)], found, scores=[0.6, 0.7, 0.2], labels=[1])
    frames = [
        one._replace(t_us=t, found=replace(one.found, labels=np.array([1, 0, 0])))
        for t in range(1200)
    ]
    parts = break_down(frames, ("pedestrian", "car"))
    assert parts.minutes == 1 and parts.alarms_per_min.tolist() == [1200, 0]
    assert parts.recall[1].tolist() == [1, 1, 1] and parts.recall_of_all.tolist() == [0, 0, 0]
    assert (
        parts.metrics()["fp_per_min"] == 1200
        and parts.metrics()["recall_of_all_at_60_fp_per_min"] == 0
    )
    line = next(
        line for line in format_breakdown(parts).splitlines() if line.startswith("all classes")
    )
    assert line.split() == ["all", "classes", "0.0000", "0.0000", "0.0000", "1,200.0"]


def test_a_detection_that_is_left_out_is_no_alarm():
    inside_out = frame([square(20)], [square(20), [20, 0, 0, 20]])
    parts = break_down([inside_out], ("car",))
    assert parts.alarms_per_min.tolist() == [0]


def test_a_rate_that_a_short_recording_cannot_measure():
    """One window is .00083 minutes: 60 false alarms a minute would be a twentieth of one."""
    parts = break_down([frame([square(20)])], ("car",))
    assert np.isnan(parts.recall).all() and not any(
        "fp_per_min" in key for key in parts.metrics() if "recall" in key
    )
    text = format_breakdown(parts)
    assert text.count("not measurable") == 9 and "0.00 minutes of stream" in text


def test_it_says_whether_empty_frames_count():
    full = frame([square(20)])
    assert "Every window holds a box" in format_breakdown(break_down([full], ("car",)))
    text = format_breakdown(break_down([full, frame([], [square(20)], t_us=5)], ("car",)))
    assert "1 of them hold no box" in text and "Every window" not in text


def test_text_and_json_show_missing_classes_as_such():
    frames = [
        frame([square(20)], recording=f"day_{i}", t_us=t) for i in range(2) for t in (0, 100_000)
    ]
    parts = break_down(frames, ("car", "tram"))
    text = format_breakdown(parts)
    tram = next(line for line in text.splitlines() if line.startswith("tram"))
    assert (
        set(tram.split()) == {"tram", "-", "not", "measurable", "0.0"}
        and "-1.0" not in text
        and "nan" not in text
    )
    assert (
        "no confidence interval of AP can be computed from 2 recordings; at least 4 are needed"
        in text
    )
    content = json.loads(json.dumps(as_dict(parts), allow_nan=False))
    assert content["classes"]["tram"]["ap_by_size"] == [None] * 5
    assert content["classes"]["car"]["boxes_by_size"] == [0, 0, 4, 0, 0]
    assert content["recordings"]["day_0"] == dict(
        frames=2, boxes=2, ap=pytest.approx(1), ap50=pytest.approx(1)
    )


def test_the_metric_gives_the_headlines_breakdown():
    metric = EventCocoMetric(("coco", "prophesee"))
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process(
        None, [s | dict(recording=f"day_{i % 5}") for i, s in enumerate(random_samples(40, 0))]
    )
    found = metric.evaluate(1)
    assert metric.headline.protocol.name == "coco" and len(metric.headline.frames) == 40
    assert found["coco/AP_low"] <= found["coco/AP"] <= found["coco/AP_high"]
    assert (
        found["coco/AP_day"] == pytest.approx(found["coco/AP"]) and "prophesee/AP_day" not in found
    )


def test_large_boxes_of_a_class_agnostic_headline():
    metric = EventCocoMetric(("etram_paper",))
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process(None, [sample(600_000, [square(90)], [1], labels=[2])])
    assert metric.evaluate(1)["etram_paper/AP_32-96_sensor_px"] == pytest.approx(1)
    assert metric.headline.classes == ("any class",)


def test_a_recording_may_be_called_day():
    box = [square(20)]
    parts = break_down([frame(box, recording="day"), frame(box, [], recording="day_2")], ("car",))
    assert parts.by_light["day"].frames == 2 and parts.by_recording["day"].ap == 1
    assert parts.by_light["day"].ap == pytest.approx(51 / 101)
