"""Size-aware loss, by hand."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from mmdet.models.losses import IoULoss

from etram_mmdet.models import SizeAwareIoULoss, SquaredIoULoss, size_weight
from etram_mmdet.utils.errors import InputError
from tests.test_models.test_detector import HEAD, batch, build, losses


def weights(areas, **kwargs):
    return size_weight(torch.tensor(areas, dtype=torch.float64), **kwargs).tolist()


def test_exponential_weights():
    """W = 2: 8x8 1.88, 16x16 1.56, 20x20 1.35, 24x24 1.14, 1 above 1024 ln 2 = 710 px2.

    W = 2.5: 24x24 1.42.
    """
    assert weights([64, 256, 400, 576]) == pytest.approx([1.88, 1.56, 1.35, 1.14], abs=0.005)
    edge = 1024 * math.log(2)
    assert weights([edge - 1, edge + 1, 1e6]) == pytest.approx([1.00098, 1, 1], abs=1e-5)
    assert weights([576], weight=2.5) == pytest.approx([2.5 * math.exp(-576 / 1024)])
    assert weights([100], small_area=100.0) == pytest.approx([1.0])
    assert weights([0]) == [2.0]


def test_step_weights():
    assert weights([1024, 1025, 9216, 9217], mode="step", weight=3.0) == [3, 2, 2, 1]


def test_linear_weights():
    """Saturates at W up to medium / W, then falls to 1 at medium."""
    assert weights([0, 4608, 6912, 9216, 20000], mode="linear") == pytest.approx([2, 2, 1.5, 1, 1])


@pytest.mark.parametrize("mode", ["exponential", "step", "linear"])
def test_weights_fall_with_area(mode):
    w = weights(list(range(1, 12000, 50)), mode=mode)
    assert (
        all(a >= b for a, b in itertools.pairwise(w))
        and w[0] == pytest.approx(2, abs=0.01)
        and w[-1] == 1
    )


def boxes(*sizes, shift=0.0):
    return torch.tensor([[shift, 0.0, shift + s, s] for s in sizes])


def test_loss_by_hand():
    """Two squares, each shifted by half its side: IoU 1/3, loss 8/9, weighted by the area."""
    target = boxes(10.0, 100.0)
    pred = torch.tensor([[5.0, 0, 15, 10], [50, 0, 150, 100]])
    expected = 5 * (8 / 9) * (2 * math.exp(-100 / 1024) + 1)
    assert SizeAwareIoULoss()(pred, target).item() == pytest.approx(expected, rel=1e-5)


def test_normalised_weights_have_mean_one():
    target, pred = boxes(10.0, 10.0, 200.0), boxes(10.0, 10.0, 200.0, shift=3.0)
    normalised = SizeAwareIoULoss(normalize=True)(pred, target)
    w = [2 * math.exp(-100 / 1024)] * 2 + [1]
    per_box = [1 - (7 / 13) ** 2] * 2 + [1 - (197 / 203) ** 2]
    expected = 5 * sum(a * b for a, b in zip(w, per_box, strict=True)) * 3 / sum(w)
    assert normalised.item() == pytest.approx(expected, rel=1e-5)
    equal = boxes(10.0, 10.0)
    plain = SizeAwareIoULoss(size_weight=1.0)(boxes(10.0, 10.0, shift=2.0), equal)
    assert SizeAwareIoULoss(normalize=True)(
        boxes(10.0, 10.0, shift=2.0), equal
    ).item() == pytest.approx(plain.item())


def test_gradient_of_small_boxes_is_larger():
    grads = {}
    for size_weight_ in (1.0, 2.0):
        pred = boxes(10.0, 100.0, shift=1.0).requires_grad_()
        SizeAwareIoULoss(size_weight=size_weight_)(pred, boxes(10.0, 100.0)).backward()
        grads[size_weight_] = pred.grad
    ratio = grads[2.0] / grads[1.0]
    assert ratio[0, 0].item() == pytest.approx(2 * math.exp(-100 / 1024), rel=1e-5)
    assert ratio[1, 0].item() == pytest.approx(1.0)


def test_only_the_box_term_changes():
    aware = HEAD | dict(loss_bbox=dict(type="SizeAwareIoULoss", size_weight=2.0))
    neutral = HEAD | dict(loss_bbox=dict(type="SizeAwareIoULoss", size_weight=1.0))
    plain, one, two = (losses(build(bbox_head=h).train(), batch()) for h in (HEAD, neutral, aware))
    for name in ("loss_cls", "loss_obj", "loss_bbox"):
        assert plain[name].item() == pytest.approx(one[name].item(), rel=1e-5)
    assert two["loss_cls"] == one["loss_cls"] and two["loss_obj"] == one["loss_obj"]
    assert 1.5 < two["loss_bbox"] / one["loss_bbox"] <= 2  # boxes of 3 to 6 px


def test_refuses_with_a_sentence():
    with pytest.raises(InputError, match=r"size_weight=0\.5"):
        SizeAwareIoULoss(size_weight=0.5)
    with pytest.raises(InputError, match="mode='cubic', expected one of exponential, step, linear"):
        size_weight(torch.ones(1), mode="cubic")


def test_squared_iou_loss_is_mmdets_to_the_last_bit():
    """With its gradients, also for boxes that are apart, equal or without area."""
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(40, 2, 2, generator=generator) * 30
    boxes = torch.cat([corners.amin(1), corners.amax(1)], 1)
    target = boxes[:20]
    pred = torch.cat([boxes[:5], target[5:10] + 40, boxes[30:35], target[15:, [0, 1, 0, 1]]])
    found = []
    for loss in (
        SquaredIoULoss(),
        IoULoss(mode="square", eps=1e-16, reduction="sum", loss_weight=5.0),
    ):
        given = pred.clone().requires_grad_()
        total = loss(given, target)
        total.backward()
        found.append((total.detach(), given.grad))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])
    assert SquaredIoULoss()(pred[:0], target[:0]) == 0
