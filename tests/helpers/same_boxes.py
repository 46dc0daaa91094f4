"""Compare boxes that were computed with another batch size, step by step, or on another device.

Processors round differently with the size of a batch. So boxes whose scores are equal up to
rounding may change places, and NMS may keep another of two that overlap. A test that wants the same
order or the same digits holds on one processor only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from etram_mmdet.ops.suppression import _iou

SCORE = 1e-6
SIDE_PX = 1e-3
NMS_IOU = 0.44  # boxes that overlap more compete for the same object


class Found(NamedTuple):
    """Boxes (N, 4) xyxy, scores (N,) and labels (N,) of one frame."""

    bboxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


def assert_same_boxes(ours: Found, expected: Found) -> None:
    """Check that boxes are equal up to rounding.

    For the few that are not, there must be an overlapping box of equal score.
    """
    assert abs(len(ours.scores) - len(expected.scores)) <= 0.05 * len(expected.scores)
    for one, other in ((ours, expected), (expected, ours)):
        if len(one.scores):
            assert _share(one, other, may_compete=False) > 0.95
            assert _share(one, other, may_compete=True) == 1


def _share(of: Found, among: Found, may_compete: bool) -> float:
    is_there = np.abs(of.bboxes[:, None] - among.bboxes).max(2) < SIDE_PX
    if may_compete:
        overlaps = _iou(
            *(torch.from_numpy(np.float32(each.bboxes)) for each in (of, among)), offset=0
        )
        is_there |= overlaps.numpy() > NMS_IOU
    is_alike = (of.labels[:, None] == among.labels) & (
        np.abs(of.scores[:, None] - among.scores) < SCORE
    )
    return (is_there & is_alike).any(1).mean()
