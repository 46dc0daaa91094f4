"""Boxes and frames: refused columns, selection of rows."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from etram_mmdet.evaluation.results import Boxes
from etram_mmdet.utils.errors import InputError

CLASSES = ("pedestrian", "car")


def boxes() -> Boxes:
    return Boxes(
        np.float32([[0, 0, 4, 4], [1, 1, 5, 5], [2, 2, 6, 6]]),
        np.array([1, 0, 1]),
        scores=np.float32([0.1, 0.2, 0.3]),
        ids=np.array([7, 8, 9]),
        class_scores=np.float32([0.4, 0.5, 0.6]),
        classes=CLASSES,
    )


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        (
            "bboxes_xyxy",
            np.zeros((3, 5), np.float32),
            r"bboxes_xyxy has the shape \(3, 5\), expected \(3, 4\)",
        ),
        (
            "bboxes_xyxy",
            np.zeros((2, 4), np.float32),
            r"bboxes_xyxy has the shape \(2, 4\), expected \(3, 4\)",
        ),
        (
            "bboxes_xyxy",
            np.zeros((3, 4), np.int64),
            "bboxes_xyxy are of type int64, expected floats",
        ),
        (
            "labels",
            np.zeros((3, 1), np.int64),
            r"labels has the shape \(3, 1\), expected \(3,\) for 3 labels",
        ),
        ("labels", np.zeros(3), "labels are of type float64, expected integers"),
        ("scores", np.float32([0.1, 0.2]), r"scores has the shape \(2,\), expected \(3,\)"),
        (
            "scores",
            np.float32([0.1, np.nan, np.inf]),
            "scores holds 2 values that are NaN or infinite",
        ),
        (
            "class_scores",
            np.float32([0.1, 0.2, np.nan]),
            "class_scores holds 1 values that are NaN",
        ),
        (
            "scores",
            np.float32([0, 87.5, 100]),
            "scores holds 2 values outside 0 to 1, such as 87.5; divide percent",
        ),
        (
            "class_scores",
            np.float32([0, 1, -0.1]),
            "class_scores holds 1 values outside 0 to 1, such as -0.1",
        ),
        ("ids", np.float32([1, 2, 3]), "ids are of type float32, expected integers"),
    ],
)
def test_a_wrong_column_is_named(column, value, says):
    with pytest.raises(InputError, match=says):
        replace(boxes(), **{column: value})


def test_truth_that_is_not_finite_is_not_blamed_on_the_training():
    wrong = np.float32([[0, 0, np.nan, 4]])
    with pytest.raises(
        InputError, match=r"expected none\. Correct the labels that these boxes come from$"
    ):
        Boxes(wrong, np.array([0]))
    with pytest.raises(InputError, match="If training diverged, lower the learning rate"):
        Boxes(wrong, np.array([0]), np.float32([0.5]))


@pytest.mark.parametrize("rows", [np.array([False, True, True]), np.array([1, 2]), slice(1, None)])
def test_rows_take_every_column_along(rows):
    chosen = boxes()[rows]
    assert len(chosen) == 2 and chosen.bboxes_xyxy.tolist() == [[1, 1, 5, 5], [2, 2, 6, 6]]
    assert chosen.labels.tolist() == [0, 1] and chosen.ids.tolist() == [8, 9]
    assert chosen.scores.tolist() == pytest.approx([0.2, 0.3])
    assert chosen.class_scores.tolist() == pytest.approx([0.5, 0.6])
    assert chosen.names == ["pedestrian", "car"]
    truth = Boxes(boxes().bboxes_xyxy, boxes().labels)
    assert truth[rows].scores is None and truth[rows].ids is None


def test_equal_where_every_column_is():
    assert boxes() == boxes() and boxes() == pickle.loads(pickle.dumps(boxes()))
    for name in ("bboxes_xyxy", "labels", "scores", "ids", "class_scores"):
        assert boxes() != replace(boxes(), **{name: np.roll(getattr(boxes(), name), 1, axis=0)}), (
            name
        )
    assert boxes() != replace(boxes(), scores=None) and boxes() != replace(boxes(), classes=())


def test_no_box_has_every_score():
    empty = Boxes.empty()
    assert len(empty) == 0 and empty.bboxes_xyxy.shape == (0, 4)
    assert len(empty.scores) == len(empty.class_scores) == 0 and empty.names == []
