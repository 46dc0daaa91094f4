"""Curves and confusion matrices, compared with numbers computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from etram_mmdet.evaluation.curves import (
    best_common_threshold,
    class_counts,
    confusion_matrix,
    count,
    recall_by_side,
)
from etram_mmdet.evaluation.matching import match
from tests.test_evaluation.test_breakdown import square
from tests.test_evaluation.test_matching import frame


def test_counts_at_thresholds():
    """Detections, best first: hit, alarm, hit. A score equal to a threshold passes it."""
    counts = count(
        np.float32([0.75, 0.5, 0.25]),
        np.array([True, False, True]),
        4,
        np.array([0.0, 0.25, 0.5, 0.6, 1.0]),
    )
    assert counts.hits.tolist() == [2, 2, 1, 1, 0] and counts.alarms.tolist() == [1, 1, 1, 0, 0]
    assert counts.precision == pytest.approx([2 / 3, 2 / 3, 0.5, 1, 1])
    assert counts.recall == pytest.approx([0.5, 0.5, 0.25, 0.25, 0])
    assert counts.f_beta() == pytest.approx([4 / 7, 4 / 7, 2 / 6, 2 / 5, 0])
    precision, recall = 2 / 3, 0.5
    assert counts.f_beta(2)[0] == pytest.approx(5 * precision * recall / (4 * precision + recall))
    assert np.isnan(count(np.float32([0.5]), np.array([False]), 0).f_beta()).all()


def test_best_common_threshold_is_of_the_mean():
    """The best thresholds of two classes are .6 and .2; a class without boxes is left out."""
    sure = count(
        np.float32([0.65, 0.6, 0.5, 0.4, 0.3]), np.array([True, True, False, False, False]), 2
    )
    unsure = count(np.float32([0.2]), np.array([True]), 1)
    nobody = count(np.float32([0.9]), np.array([False]), 0)
    assert best_common_threshold([sure]) == pytest.approx(0.6)
    assert best_common_threshold([unsure, nobody]) == pytest.approx(0.2)
    assert best_common_threshold([sure, unsure]) == pytest.approx(0.2)


def test_confusion_matrix():
    """A car taken for a bus, one car found, one missed, and one false alarm.

    Of two detections of one box, the one of higher score counts.
    """
    truth = [square(20), square(20, 50), square(20, 100)]
    found = [truth[0], truth[1], truth[1], square(20, 300)]
    one = frame(
        truth, found, scores=[0.9, 0.8, 0.7, 0.6], labels=[1, 1, 1], found_labels=[0, 1, 0, 1]
    )
    assert confusion_matrix([one], 2, 0.5).tolist() == [[0, 0, 0], [1, 1, 1], [1, 1, 0]]
    assert confusion_matrix([one], 2, 0.85).tolist() == [[0, 0, 0], [1, 0, 2], [0, 0, 0]]


def test_recall_by_side():
    truth = [square(4), square(10, 50), square(10, 100)]
    one = frame(truth, [truth[0], truth[1]], scores=[0.9, 0.2])._replace(scale=2)
    edges = np.array([0, 16, 64])
    boxes, found = recall_by_side(match([one]), edges, 0.5)
    assert boxes.tolist() == [1, 2] and found.tolist() == [1, 0]
    assert recall_by_side(match([one]), edges, 0.0)[1].tolist() == [1, 1]


def test_class_counts_keep_classes_apart():
    truth = [square(20), square(20, 50)]
    one = frame(truth, truth, scores=[0.9, 0.8], labels=[0, 1], found_labels=[0, 0])
    counts = class_counts(match([one]), 3, np.array([0.5]))
    assert [(c.hits.item(), c.alarms.item(), c.boxes) for c in counts] == [
        (1, 1, 1),
        (0, 0, 1),
        (0, 0, 0),
    ]


def test_a_detection_that_is_left_out_is_neither_hit_nor_alarm():
    """The box ends before it begins, so COCO leaves it out."""
    frames = [frame([[0, 0, 9, 9]], [[0, 0, 9, 9], [9, 0, 0, 9]])]
    counts = class_counts(match(frames, [0.5]), 1, np.zeros(1))[0]
    assert (counts.hits.item(), counts.alarms.item()) == (1, 0)
    assert confusion_matrix(frames, 1, 0.0).tolist() == [[1, 0], [0, 0]]
