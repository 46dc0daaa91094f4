"""Faults that only CUDA would show are found on the device."""

from __future__ import annotations

import pytest
import torch

from etram_mmdet.models.dense_heads import rvt_yolox_head
from etram_mmdet.models.layers import conv_lstm
from etram_mmdet.models.task_modules.assignment import Targets
from etram_mmdet.models.task_modules.rvt_simota_assigner import RVTSimOTAAssigner
from tests.cuda_stand_in import device  # noqa: F401
from tests.cuda_stand_in.detectors import build, clips, narrow_config
from tests.cuda_stand_in.waits import recorded

Head = rvt_yolox_head.RVTYOLOXHead


@pytest.fixture(scope="module")
def model():
    return build(narrow_config("baseline")).train()


@pytest.fixture(autouse=True)
def from_the_start(model):
    model.stream_states["loss"].reset()


def losses(model) -> dict:
    return model(**model.data_preprocessor(clips(model, 2, 2), True), mode="loss")


def zeros_on_the_host(x, *_):
    return torch.zeros(x.shape), torch.zeros(x.shape)


def range_on_the_host(self, cost, ious):
    topk = min(self.candidate_topk, ious.shape[2])
    numbers = ious.topk(topk, dim=2).values.sum(2, keepdim=True).int().clamp(min=1)
    costs, cheapest = cost.topk(topk, dim=2, largest=False)
    taken = (torch.arange(topk) < numbers) & costs.isfinite()
    return torch.zeros_like(cost, dtype=torch.bool).scatter_(2, cheapest, taken)


def targets_on_the_host(self, objectness):
    return torch.zeros(objectness.shape).index_fill_(0, self.index, 1)


def labels_on_the_host(self, num_classes):
    ious = self.ious.cpu()
    zeros = ious.new_zeros(len(ious), num_classes)
    return zeros.scatter_(1, self.labels.cpu()[:, None], ious[:, None])


FAULTS = {
    "state made without a device": (conv_lstm, "_zero_state", zeros_on_the_host),
    "range made without a device": (RVTSimOTAAssigner, "_cheapest", range_on_the_host),
    "targets made without a device": (Targets, "marked", targets_on_the_host),
    "targets moved to the host": (Targets, "soft_labels", labels_on_the_host),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_tensor_on_the_wrong_device_is_refused(fault, model, monkeypatch):
    monkeypatch.setattr(*FAULTS[fault])
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        losses(model)


def test_a_layer_left_on_the_cpu_is_refused(model, monkeypatch):
    level = model.bbox_head.multi_level_conv_cls[0]
    plain = torch.nn.Conv2d(level.in_channels, level.out_channels, 1)
    monkeypatch.setitem(model.bbox_head.multi_level_conv_cls._modules, "0", plain)
    with pytest.raises(RuntimeError, match="same device"):
        losses(model)


def test_a_hidden_item_is_recorded_with_its_place(model, monkeypatch):
    plain = Head.mean_over_positives

    def reads(self, terms, targets):
        targets.ious.sum().item()
        return plain(self, terms, targets)

    monkeypatch.setattr(Head, "mean_over_positives", reads)
    with recorded() as seen:
        losses(model)
    assert [where for what, where in seen if "check_faults.py" in where and "reads" in where]


def test_a_condition_on_a_tensor_is_recorded_with_its_place(model, monkeypatch):
    plain = RVTSimOTAAssigner._near

    def asks(self, priors, boxes):
        return None if (boxes[..., 2] > 1e9).any() else plain(self, priors, boxes)

    monkeypatch.setattr(RVTSimOTAAssigner, "_near", asks)
    with recorded() as seen:
        losses(model)
    assert [where for what, where in seen if "check_faults.py" in where and "asks" in where]
