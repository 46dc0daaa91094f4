"""Tensors go to the device and back together."""

from __future__ import annotations

import pytest
import torch
from mmdet.structures.bbox import HorizontalBoxes

from etram_mmdet.models.data_preprocessors.moved_samples import moved
from etram_mmdet.utils.transfer import all_to_device, all_to_host
from tests.cuda_stand_in import device  # noqa: F401
from tests.cuda_stand_in.detectors import HW, build, clips, narrow_config
from tests.cuda_stand_in.memory import DEVICE
from tests.cuda_stand_in.waits import recorded

THERE = torch.device(DEVICE)
MIXED = (
    torch.arange(5, dtype=torch.uint8),
    torch.rand(3, 4),
    torch.tensor([7, 2**40]),
    torch.zeros(0, 4),
    torch.tensor(3.5, dtype=torch.float64),
    torch.arange(6.0).view(2, 3).t(),
    torch.tensor([True, False]),
)


def test_there_and_back_without_a_change():
    with recorded() as seen:
        there = all_to_device(MIXED, THERE)
        assert not seen
        back = all_to_host(there)
        assert len(seen) == 1
    assert {tensor.device for tensor in there} == {THERE}
    for tensor, sent in zip(back, MIXED, strict=True):
        assert tensor.device.type == "cpu" and tensor.dtype == sent.dtype
        assert torch.equal(tensor, sent)


def test_tensors_that_are_there_stay():
    there = torch.ones(2, device=THERE)
    found = all_to_device([there, torch.zeros(1)], THERE)
    assert found[0] is there and found[1].device == THERE


@pytest.mark.parametrize("where", [THERE, torch.device("cpu")], ids=str)
def test_nothing_is_nothing(where):
    assert all_to_device([], where) == all_to_host([]) == []


def test_samples_keep_all_but_the_device():
    model = build(narrow_config("baseline"), "cpu")
    samples = clips(model, 2, 3)["data_samples"]
    frame = samples[0][0]
    frame.gt_instances.marks = HorizontalBoxes(frame.gt_instances.bboxes)
    frame.gt_instances.names = list("abcdefgh")
    with recorded() as seen:
        found = moved(samples, THERE)
    assert len(seen) == 1  # that of mmdet's class of boxes, which goes alone
    for lane, sent in zip(found, samples, strict=True):
        assert lane.lane == sent.lane
        for one, other in zip(lane, sent, strict=True):
            assert one.img_shape == HW and one.metainfo == other.metainfo
            assert one.gt_instances.bboxes.device == one.gt_instances.labels.device == THERE
            assert torch.equal(one.gt_instances.bboxes.cpu(), other.gt_instances.bboxes)
            assert torch.equal(one.gt_instances.labels.cpu(), other.gt_instances.labels)
    assert found[0][0].gt_instances.marks.device == THERE
    assert found[0][0].gt_instances.names == list("abcdefgh")
    assert frame.gt_instances.bboxes.device.type == "cpu"
