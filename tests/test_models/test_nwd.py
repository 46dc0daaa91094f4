"""Wasserstein distance of boxes, by hand; as loss and as assignment cost."""

from __future__ import annotations

import math

import pytest
import torch
from mmdet.models.losses import iou_loss
from mmengine.structures import InstanceData

from etram_mmdet.datasets.statistics import BoxStatistics
from etram_mmdet.models import NWDLoss, NWDSimOTAAssigner, RVTSimOTAAssigner, fit_to_data, nwd
from etram_mmdet.utils.errors import InputError
from tests.helpers.plugins import build_plugin, data_with

A = torch.tensor([[0.0, 0, 4, 6]])


def test_by_hand():
    """Centres (2, 3) and (5, 7), 5 px apart; half sizes (2, 3) and (3, 5): W^2 = 9 + 16 + 1 + 4."""
    b = torch.tensor([[2.0, 2, 8, 12]])
    assert nwd(A, b, 12.8).item() == pytest.approx(math.exp(-math.sqrt(30) / 12.8), rel=1e-5)
    assert nwd(A, A, 12.8).item() == pytest.approx(1, abs=1e-4)
    assert nwd(A, b, 12.8) == nwd(b, A, 12.8)


def test_tells_apart_what_iou_cannot():
    near, far = A + torch.tensor([6.0, 0, 6, 0]), A + torch.tensor([20.0, 0, 20, 0])
    assert nwd(A, near, 10) > nwd(A, far, 10) > 0
    assert iou_loss(A, near, reduction="none") == iou_loss(A, far, reduction="none")


def test_gradient_pulls_towards_the_box_without_overlap():
    pred = (A + torch.tensor([20.0, 0, 20, 0])).requires_grad_()
    NWDLoss(iou_share=0.0, constant_px=10.0)(pred, A).backward()
    assert pred.grad[0, 0] > 0 and pred.grad[0, 2] > 0 and pred.grad[0, 1] == 0
    same = A.clone().requires_grad_()
    NWDLoss(constant_px=10.0)(same, A).backward()
    assert same.grad.isfinite().all()


def test_gradient_is_the_numerical_one():
    generator = torch.Generator().manual_seed(0)
    corner, size = (
        torch.rand(4, 2, generator=generator, dtype=torch.float64) * 9 for _ in range(2)
    )
    target = torch.cat([corner, corner + size + 1], 1)
    pred = (target + torch.rand(4, 4, generator=generator, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: NWDLoss(constant_px=7.0)(p, target), (pred,))


def test_loss_by_hand():
    """Half a (1 - IoU^2) and half a (1 - NWD): a 10 px square shifted by 5 px, IoU 1/3."""
    pred, target = torch.tensor([[5.0, 0, 15, 10]]), torch.tensor([[0.0, 0, 10, 10]])
    expected = 5 * (0.5 * (8 / 9) + 0.5 * (1 - math.exp(-5 / 20)))
    assert NWDLoss(constant_px=20.0)(pred, target).item() == pytest.approx(expected, rel=1e-5)
    assert NWDLoss(iou_share=1.0, constant_px=20.0)(pred, target).item() == pytest.approx(
        5 * 8 / 9, rel=1e-5
    )
    assert NWDLoss(constant_px=20.0)(
        pred.expand(3, 4), target.expand(3, 4)
    ).item() == pytest.approx(3 * expected)


def test_constant_is_the_mean_size_of_the_training_boxes():
    loss, given = NWDLoss(), NWDLoss(constant_px=12.8)
    data = data_with(0, 0, size_px=(4.0, 9.0))
    assert data.box_statistics().mean_size_px == pytest.approx(6)
    for module in (loss, given):
        fit_to_data(module, data)
    assert (loss.constant_px, given.constant_px) == (pytest.approx(6), 12.8)
    with pytest.raises(InputError, match="NWDLoss: no constant_px"):
        NWDLoss()(A, A)


def test_mean_size_is_of_roots_not_of_areas():
    boxes = BoxStatistics(
        ("a",), torch.tensor([0, 0]).numpy(), torch.tensor([[4.0, 4], [10, 10]]).numpy()
    )
    assert boxes.mean_size_px == pytest.approx(7)


def candidates() -> tuple[InstanceData, InstanceData]:
    """Two priors near a small box that neither prediction touches.

    The second one is nearer, the first surer.
    """
    truth = InstanceData(bboxes=torch.tensor([[8.0, 8, 12, 12]]), labels=torch.tensor([0]))
    predicted = InstanceData(
        bboxes=torch.tensor([[40.0, 8, 44, 12], [13.0, 8, 17, 12]]),
        scores=torch.tensor([[0.8], [0.7]]),
        priors=torch.tensor([[10.0, 10, 8, 8], [10.0, 10, 8, 8]]),
    )
    return predicted, truth


def test_assigner_prefers_the_nearer_of_two_that_do_not_overlap():
    predicted, truth = candidates()
    assert RVTSimOTAAssigner().assign(predicted, truth).gt_inds.tolist() == [1, 0]
    assert NWDSimOTAAssigner(constant_px=10.0).assign(predicted, truth).gt_inds.tolist() == [0, 1]
    assert NWDSimOTAAssigner(nwd_share=0.0, constant_px=10.0).assign(
        predicted, truth
    ).gt_inds.tolist() == [1, 0]


def test_assigner_is_told_about_the_data_through_its_head():
    assert build_plugin("NWDSimOTAAssigner").bbox_head.assigner.constant_px == pytest.approx(6)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: NWDLoss(iou_share=1.5), "iou_share=1.5"),
        (lambda: NWDSimOTAAssigner(nwd_share=-1), "nwd_share=-1"),
    ],
)
def test_bad_shares_get_a_sentence(build, says):
    with pytest.raises(InputError, match=says):
        build()
