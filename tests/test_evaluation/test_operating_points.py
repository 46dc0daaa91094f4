"""Operating points: which detections pass, and which configs are refused."""

from __future__ import annotations

import numpy as np
import pytest

from etram_mmdet.evaluation.operating_points.points import OperatingPoints
from etram_mmdet.evaluation.results import Boxes
from etram_mmdet.utils.errors import InputError
from tests.test_evaluation.test_breakdown import square

CLASSES = ("pedestrian", "car")


def rows_kept(
    points: OperatingPoints, bboxes_xyxy: np.ndarray, scores: list, labels: list
) -> list[int]:
    boxes = Boxes(bboxes_xyxy, np.array(labels), np.float32(scores), ids=np.arange(len(labels)))
    return points.keep(boxes).ids.tolist()


def test_each_class_has_its_threshold_and_the_best_come_first():
    points = OperatingPoints.from_config(dict(score_thr=dict(car=0.5, pedestrian=0.2)), CLASSES)
    boxes = np.float32([square(10)] * 5)
    assert rows_kept(points, boxes, [0.3, 0.1, 0.5, 0.49, 0.9], [0, 0, 1, 1, 0]) == [4, 2, 0]


def test_sizes_are_sensor_pixels():
    config = dict(score_thr=dict(car=[0.1, 0.5, 0.9], pedestrian=[0, 0, 0]), sides_px=[16, 32])
    points = OperatingPoints.from_config(config, CLASSES)
    boxes = Boxes(np.float32([square(7.9), square(8), square(15.9), square(16)]), np.ones(4, int))
    assert points.thresholds(boxes, 2) == pytest.approx([0.1, 0.5, 0.5, 0.9])
    assert points.thresholds(boxes, 1) == pytest.approx([0.1, 0.1, 0.1, 0.5])
    assert points.as_config() == config


def test_nms_of_a_class_leaves_the_others_alone():
    """Boxes overlap the first one by .6 and .33; only cars have an NMS threshold."""
    boxes = np.float32([[0, 0, 10, 10], [2.5, 0, 12.5, 10], [5, 0, 15, 10]])
    scores = np.float32([0.9, 0.8, 0.7])
    for limit, kept in ((0.5, [0, 2]), (0.3, [0]), (0.7, [0, 1, 2])):
        config = dict(score_thr=dict(car=0, pedestrian=0), nms_iou=dict(car=limit, pedestrian=1.0))
        points = OperatingPoints.from_config(config, CLASSES)
        assert rows_kept(points, boxes, scores, [1, 1, 1]) == kept
        assert rows_kept(points, boxes, scores, [0, 0, 0]) == [0, 1, 2]
        assert rows_kept(points, boxes, scores, [1, 0, 1]) == (
            [0, 1, 2] if limit > 0.34 else [0, 1]
        )


def test_one_for_all():
    points = OperatingPoints.common(CLASSES, 0.5)
    assert rows_kept(points, np.float32([square(9)] * 2), [0.5, 0.4], [0, 1]) == [0]
    assert points.as_config() == dict(score_thr=dict(pedestrian=0.5, car=0.5))


@pytest.mark.parametrize(
    "config, says",
    [
        (
            dict(score_thr=dict(Car=0.5)),
            "score_thr is for the classes Car, but the model detects the classes pedestrian, car;",
        ),
        (dict(score_thr=0.5), "score_thr is for the classes 0.5"),
        (
            dict(score_thr=dict(pedestrian=0.1, car=[0.1, 0.2])),
            "one number per class, or a list of 1 per",
        ),
        (
            dict(score_thr=dict(pedestrian=0.1, car=[0.1, 0.2]), sides_px=[16, 32]),
            "or a list of 3 per class",
        ),
        (dict(score_thr=dict(pedestrian="a", car=0.1)), "one number per class"),
        (dict(score_thr=dict(pedestrian=30, car=0.1)), "expected numbers from 0 to 1"),
        (dict(score_thr=dict(pedestrian=float("nan"), car=0.1)), "expected numbers from 0 to 1"),
        (
            dict(score_thr=dict(pedestrian=[1, 1, 1], car=[1, 1, 1]), sides_px=[32, 16]),
            "expected ascending sides",
        ),
        (
            dict(score_thr=dict(pedestrian=1, car=1), sides_px=16),
            "sides_px: 16, expected ascending sides",
        ),
        (
            dict(score_thr=dict(pedestrian=[1, 1], car=[1, 1]), sides_px=[10**40]),
            "expected ascending sides",
        ),
        (
            dict(score_thr=dict(pedestrian=0.1, car=0.1), nms=0.3),
            "holds nms, score_thr; expected score_thr",
        ),
        (
            dict(score_thr=dict(pedestrian=0.1, car=0.1), nms_iou=dict(car=0.1)),
            "nms_iou is for the classes car",
        ),
    ],
)
def test_what_does_not_fit_is_named(config, says):
    with pytest.raises(InputError, match=says):
        OperatingPoints.from_config(config, CLASSES)
