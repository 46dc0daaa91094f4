"""The stand-in device computes, refuses and waits as CUDA does."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from etram_mmdet.ops.suppression import nms
from tests.cuda_stand_in import autocast  # noqa: F401
from tests.cuda_stand_in.device import mark_pinned
from tests.cuda_stand_in.memory import DEVICE
from tests.cuda_stand_in.waits import counted, recorded

TWO_DEVICES = "Expected all tensors to be on the same device"


@pytest.fixture
def ours():
    return torch.arange(6.0).view(2, 3).to(DEVICE)


def test_a_view_shares_memory_and_an_operator_makes_new(ours):
    ours[1].mul_(10)
    twice = ours * 2
    assert ours.cpu().tolist() == [[0, 1, 2], [30, 40, 50]]
    assert twice.cpu().tolist() == [[0, 2, 4], [60, 80, 100]]
    assert str(twice.device) == str(ours.t().device) == DEVICE


def test_a_view_of_other_numbers_shares_memory(ours):
    ours.view(torch.int32)[0, 1] = 0
    assert ours[0].tolist() == [0, 0, 2]


def test_a_deep_copy_is_on_the_device_and_has_its_own_memory(ours):
    other = copy.deepcopy(ours)
    other.zero_()
    assert other.device == ours.device and ours.sum().item() == 15


def test_gradients_reach_parameters_of_the_device():
    layer = torch.nn.Conv2d(2, 3, 3)
    frames = torch.rand(1, 2, 5, 5)
    twin = copy.deepcopy(layer).to(DEVICE)
    for each, given in ((layer, frames), (twin, frames.to(DEVICE))):
        each(given).square().sum().backward()
    torch.testing.assert_close(twin.weight.grad.cpu(), layer.weight.grad)


@pytest.mark.parametrize(
    "mix",
    [
        lambda ours: ours + torch.ones(3),
        lambda ours: torch.ones(2, 3).add_(ours),
        lambda ours: torch.cat([ours, torch.ones(2, 3)]),
        lambda ours: torch.stack([ours[0, 0], torch.ones(())]),
        lambda ours: torch.nn.Linear(3, 1)(ours),
        lambda ours: ours.index_select(0, torch.tensor([1])),
        lambda ours: ours.scatter_(1, torch.tensor([[1]]), 1.0),
        lambda ours: torch.where(torch.ones(2, 3) > 0, ours, ours),
    ],
)
def test_two_devices_are_refused(ours, mix):
    with pytest.raises(RuntimeError, match=TWO_DEVICES):
        mix(ours)


def test_a_number_of_the_host_goes_with_pointwise_operators(ours):
    assert (ours + torch.tensor(1.0)).sum().item() == 21
    assert ours.masked_fill(ours > 2, torch.tensor(0.0)).sum().item() == 3


def test_numpy_is_refused(ours):
    with pytest.raises(TypeError, match="device type tensor to numpy"):
        np.asarray(ours)


@pytest.mark.parametrize(
    ("work", "what"),
    [
        (lambda ours: ours.sum().item(), ["_local_scalar_dense"]),
        (lambda ours: bool((ours > 9).any()), ["_local_scalar_dense"]),
        (lambda ours: ours.nonzero(), ["nonzero"]),
        (lambda ours: torch.equal(ours, ours), ["equal"]),
        (lambda ours: ours.cpu(), ["copy to the host"]),
        (lambda ours: ours.tolist(), ["copy to the host"]),
        (lambda ours: ours.new_tensor([1.0]), ["copy to the device"]),
        (lambda ours: ours[ours > 2], ["index by a mask"]),
        (lambda ours: ours[torch.tensor([1])], ["index by indices of the host"]),
        (
            lambda ours: ours.long().bincount() if ours.dim() == 1 else ours[0].long().bincount(),
            ["bincount"],
        ),
        (
            lambda ours: torch.ones(2).to(DEVICE, non_blocking=True),
            ["copy to the device, not pinned"],
        ),
        (lambda ours: torch.ones(2).pin_memory().to(DEVICE), ["copy to the device"]),
        (lambda ours: torch.ones(2).pin_memory().to(DEVICE, non_blocking=True), []),
        (lambda ours: torch.empty(2, pin_memory=True).to(DEVICE, non_blocking=True), []),
        (lambda ours: mark_pinned(torch.empty(2, 3)).copy_(ours, non_blocking=True), []),
        (lambda ours: ours[ours.new_zeros(1).long()].sum() + ours.max(), []),
        (lambda ours: ours.topk(2).values.sort().indices, []),
        (lambda ours: torch.zeros(3, device=DEVICE).fill_(2), []),
    ],
)
def test_waits(ours, work, what):
    with recorded() as seen:
        work(ours)
    assert [wait.what for wait in seen] == what


def test_the_place_of_a_wait_is_named():
    boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 5]]).to(DEVICE)
    with recorded() as seen:
        nms(boxes, boxes[:, 3], 0.5, 0)
    assert counted(seen)
    assert all(where.startswith("suppression.py ") for _, where in counted(seen))


def test_autocast_computes_products_in_half_and_sums_in_full_precision(ours):
    with torch.autocast(ours.device.type, dtype=torch.float16):
        product = ours @ ours.t()
        assert product.dtype == torch.float16 and product.sum().dtype == torch.float32
        assert torch.cat([ours, product.repeat(1, 2)[:, :3]]).dtype == torch.float32
        with pytest.raises(RuntimeError, match="unsafe to autocast"):
            torch.nn.functional.binary_cross_entropy(ours.sigmoid(), ours.sigmoid())
    assert (ours @ ours.t()).dtype == torch.float32
