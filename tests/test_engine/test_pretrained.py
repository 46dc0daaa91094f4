"""``Pretrained`` weights are read as tensors, whatever else their file holds."""

from __future__ import annotations

import os

import pytest
import torch
from mmengine.model import BaseModule
from mmengine.registry import DefaultScope
from torch import nn

import etram_mmdet.plugins  # noqa: F401  registers the initializer
from etram_mmdet.engine.checkpoints.pretrained import SafePretrainedInit
from etram_mmdet.utils.errors import InputError
from tests.test_engine.test_checkpoint_files import Bomb


class Net(BaseModule):
    def __init__(self, init_cfg):
        super().__init__(init_cfg)
        self.layer = nn.Linear(2, 2)


def initialized(**init_cfg):
    with DefaultScope.overwrite_default_scope("mmdet"):
        net = Net(dict(type="Pretrained", **init_cfg))
        net.init_weights()
    return net.layer.weight.detach()


def test_objects_beside_the_weights_do_nothing(tmp_path):
    """mmengine's own initializer unpickles the file as soon as it holds more than weights."""
    path, trace = tmp_path / "x.pth", tmp_path / "executed"
    weight = torch.arange(4.0).view(2, 2)
    torch.save(
        dict(state_dict={"layer.weight": weight, "module.layer.bias": weight[0]}, meta=Bomb(trace)),
        path,
    )
    assert torch.equal(initialized(checkpoint=str(path)), weight)
    assert not trace.exists()


def test_a_part_of_a_model_is_taken_by_its_prefix(tmp_path):
    path = tmp_path / "x.pth"
    weights = {"backbone.layer.weight": torch.ones(2, 2), "neck.layer.weight": torch.zeros(2, 2)}
    torch.save(dict(state_dict=weights), path)
    for prefix in ("backbone", "backbone."):
        assert torch.equal(initialized(checkpoint=str(path), prefix=prefix), torch.ones(2, 2))
    with pytest.raises(InputError, match=r"x\.pth: holds no weights under 'head'"):
        initialized(checkpoint=str(path), prefix="head")


def test_an_address_may_give_tensors_only(monkeypatch):
    seen = []

    def read(self, module):
        seen.append(os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"])

    monkeypatch.setattr(SafePretrainedInit.__base__, "__call__", read)
    initialized(checkpoint="torchvision://resnet50")
    assert seen == ["1"] and "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


def test_a_missing_file_is_a_sentence(tmp_path):
    with pytest.raises(InputError, match="no such checkpoint"):
        initialized(checkpoint=str(tmp_path / "none.pth"))


def test_weights_that_are_not_finite_are_refused(tmp_path):
    path = tmp_path / "x.pth"
    torch.save(dict(state_dict={"layer.weight": torch.full((2, 2), float("inf"))}), path)
    with pytest.raises(InputError, match=r"x\.pth: layer\.weight holds NaN or infinity"):
        initialized(checkpoint=str(path))
