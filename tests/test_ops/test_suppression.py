"""The stand-in for mmcv's compiled operators."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import types

import numpy as np
import pytest
import torch

from etram_mmdet import ops
from etram_mmdet.ops import suppression


def greedy(bboxes, scores, iou_threshold, offset):
    """The definition, box by box, as mmcv's C++ loop has it."""
    bboxes = bboxes.numpy()
    left = sorted(range(len(scores)), key=lambda i: -scores[i].item())  # sorted() is stable
    kept = []
    for i in left:
        if all(not iou(bboxes[i], bboxes[j], offset) > iou_threshold for j in kept):
            kept.append(i)
    return kept


def iou(a, b, offset):
    width = max(min(a[2], b[2]) - max(a[0], b[0]) + offset, 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]) + offset, 0)
    area_a, area_b = ((x[2] - x[0] + offset) * (x[3] - x[1] + offset) for x in (a, b))
    union = area_a + area_b - width * height
    return width * height / union if union else np.nan


def random_boxes(n, seed, extent=60.0):
    """Whole-pixel boxes, whose IoUs equal thresholds; some are duplicates or have no area."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(n, 2, generator=generator) * extent
    boxes = torch.cat([corner, corner + torch.rand(n, 2, generator=generator) * 30], 1).round()
    boxes[::7] = boxes[n // 2]
    boxes[::11, 2:] = boxes[::11, :2]
    return boxes, (torch.rand(n, generator=generator) * 20).round() / 20


@pytest.fixture(params=["one block", "many blocks", "installed"])
def nms(request, monkeypatch):
    """Plain torch with all boxes at once and few at a time, and this machine's version."""
    if request.param != "installed":
        monkeypatch.setattr(suppression, "_torchvision_nms", lambda: None)
    if request.param == "many blocks":
        monkeypatch.setitem(suppression.BLOCK, "cpu", 16)
    return ops.nms


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("iou_threshold", [0.0, 0.5, 0.65])
def test_nms_is_greedy(nms, offset, iou_threshold):
    for seed in range(8):
        bboxes, scores = random_boxes(50, seed)
        assert nms(bboxes, scores, iou_threshold, offset).tolist() == greedy(
            bboxes, scores, iou_threshold, offset
        )


def test_nms_follows_a_chain_of_overlaps(nms):
    """Each box overlaps only the next: every second stays, after one round per box."""
    left = torch.arange(100.0) * 5
    bboxes = torch.stack([left, torch.zeros(100), left + 10, torch.full((100,), 10.0)], 1)
    assert nms(bboxes, torch.arange(100.0, 0, -1), 0.3, 0).tolist() == list(range(0, 100, 2))


def test_nms_threshold_is_strict_and_offset_counts(nms):
    bboxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 4]])
    scores = torch.tensor([0.9, 0.8])
    assert nms(bboxes, scores, 4 / 9, 0).tolist() == [0, 1]  # IoU 36/81, not over it
    assert nms(bboxes, scores, 4 / 9, 1).tolist() == [0]  # IoU 50/100


def test_nms_of_nothing(nms):
    kept = nms(torch.zeros(0, 4), torch.zeros(0), 0.5, 0)
    assert kept.dtype == torch.int64 and kept.shape == (0,)


def test_nms_of_half_precision(nms):
    """Areas here exceed what float16 can hold."""
    bboxes, scores = random_boxes(40, 0)
    bboxes *= 16
    assert nms(bboxes.half(), scores.half(), 0.5, 0).tolist() == greedy(
        bboxes, scores.half(), 0.5, 0
    )


def test_mmdet_uses_it():
    from mmcv.ops import batched_nms
    from mmdet.models import YOLOXHead  # noqa: F401  (importing mmdet.models is what fails without a stand-in)

    bboxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 10], [50, 50, 60, 60]])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6])
    labels = torch.tensor([0, 0, 1, 0])
    detections, kept = batched_nms(bboxes, scores, labels, dict(type="nms", iou_threshold=0.5))
    assert kept.tolist() == [0, 2, 3]
    assert torch.equal(detections, torch.cat([bboxes, scores[:, None]], 1)[kept])


needs_stand_in = pytest.mark.skipif(
    getattr(importlib.util.find_spec(ops.EXTENSION), "loader", None) is not None,
    reason="mmcv has its operators",
)


@needs_stand_in
def test_other_operators_say_how_to_get_them():
    from mmcv.ops import RoIPool

    with pytest.raises(
        RuntimeError, match=r"'roi_pool_forward' was called.*MMCV_WITH_OPS=1 pip install"
    ):
        RoIPool(1, 1.0)(torch.zeros(1, 1, 8, 8), torch.zeros(1, 5))


@needs_stand_in
def test_stand_in_looks_like_a_module():
    module = sys.modules[ops.EXTENSION]
    assert module.__spec__.name == ops.EXTENSION
    assert not hasattr(
        module, "__path__"
    )  # a dunder name handed out as an operator would confuse importlib
    ops.install()
    assert sys.modules[ops.EXTENSION] is module


def test_real_operators_are_left_alone(monkeypatch):
    real = types.ModuleType(ops.EXTENSION)
    real.__spec__ = importlib.machinery.ModuleSpec(ops.EXTENSION, loader=None)
    monkeypatch.setitem(sys.modules, ops.EXTENSION, real)
    ops.install()
    assert sys.modules[ops.EXTENSION] is real
    assert not hasattr(real, "nms")
