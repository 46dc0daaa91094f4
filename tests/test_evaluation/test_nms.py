"""IoU and NMS without PyTorch: by hand, and equal to the replacement of mmcv's operator."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from etram_mmdet import ops
from etram_mmdet.evaluation.nms import iou, nms


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ([0, 0, 10, 10], 1.0),
        ([5, 0, 15, 10], 1 / 3),
        ([0, 0, 5, 10], 0.5),
        ([10, 0, 20, 10], 0.0),  # side by side
        ([9, 9, 1, 1], 0.0),  # inside out
        ([5, 5, 5, 5], 0.0),
    ],
)
def test_iou_by_hand(other, expected):
    box = np.array([0.0, 0, 10, 10])
    assert (
        iou(box, np.array(other, float))
        == iou(np.array(other, float), box)
        == pytest.approx(expected, abs=1e-15)
    )


def test_a_box_at_the_limit_stays():
    bboxes_xyxy = np.float32([[0, 0, 10, 10], [0, 0, 5, 10]])  # IoU .5
    labels = np.zeros(2, np.int64)
    assert nms(bboxes_xyxy, labels, np.full(2, 0.5)).tolist() == [0, 1]
    assert nms(bboxes_xyxy, labels, np.full(2, 0.499)).tolist() == [0]


@pytest.mark.parametrize("limit", [0.201, 0.451, 0.701])
def test_equals_the_operator_of_each_class(limit):
    """Corners on a grid, and limits that no IoU of such boxes equals; best first."""
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 20, (300, 2))
    bboxes_xyxy = np.hstack([corners, corners + rng.integers(10, 30, (300, 2))]).astype(np.float32)
    labels = rng.integers(0, 3, 300)
    scores = torch.linspace(1, 0, 300)
    expected = []
    for label in range(3):
        rows = np.flatnonzero(labels == label)
        kept = ops.nms(torch.from_numpy(bboxes_xyxy[rows]), scores[rows], limit, 0)
        expected += rows[kept.numpy()].tolist()
    kept = nms(bboxes_xyxy, labels, np.full(300, limit)).tolist()
    assert kept == sorted(expected) and 10 < len(kept) < 290
