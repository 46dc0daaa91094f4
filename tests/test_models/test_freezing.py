"""What is frozen does not move: weights, and statistics of BatchNorm; under every schedule."""

from __future__ import annotations

import copy

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, DefaultScope
from torch import nn

from etram_mmdet.engine.config.load import load_config
from etram_mmdet.engine.runner.learning_rates import learning_rates
from etram_mmdet.engine.runner.parameter_groups import freeze
from etram_mmdet.models.building import build_detector
from etram_mmdet.models.layers.freezing import frozen_norms, frozen_parts
from etram_mmdet.testing import random_clips
from etram_mmdet.utils.errors import InputError
from tests.helpers.cli import CONFIG

STEPS = 12
RATE = 0.1
SMALLEST = {"model.backbone.partition_size": (1, 3), "model.backbone.embed_dims": 16}
HW = 32, 48
# Every schedule of mmengine and mmdet, with the settings that it cannot do without.
SCHEDULES = {
    "ConstantLR": dict(factor=0.5, end=4),
    "CosineAnnealingLR": dict(T_max=STEPS, eta_min_ratio=0.01),
    "CosineRestartLR": dict(periods=[STEPS], restart_weights=[1], eta_min_ratio=0.01),
    "ExponentialLR": dict(gamma=0.9),
    "LinearLR": dict(start_factor=0.1, end=4),
    "MultiStepLR": dict(milestones=[4, 8]),
    "OneCycleLR": dict(eta_max=RATE, total_steps=STEPS),
    "PolyLR": dict(eta_min=0.0),
    "QuadraticWarmupLR": dict(end=4),
    "StepLR": dict(step_size=4),
}


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Linear(3, 4)
        self.neck = nn.Linear(4, 4)
        self.bbox_head = nn.Linear(4, 2)


def schedule_of(wrapper, kind: str, **settings):
    with DefaultScope.overwrite_default_scope("mmdet"):
        cfg = dict(type=kind, by_epoch=False, **settings)
        return PARAM_SCHEDULERS.build(cfg, default_args=dict(optimizer=wrapper))


def test_all_schedules_of_learning_rates_are_tried():
    known = {name for name in PARAM_SCHEDULERS.module_dict if name.endswith("LR")}
    assert known - {"ReduceOnPlateauLR"} | {"QuadraticWarmupLR"} == set(
        SCHEDULES
    )  # refused; mmdet's


@pytest.mark.parametrize("kind", SCHEDULES)
def test_rates_by_prefix_under_every_schedule(kind):
    """Frozen weights stay equal to the bit; a tenth of the rate has a tenth of the highest rate."""
    torch.manual_seed(0)
    model = Tiny()
    before = copy.deepcopy(model.state_dict())
    keys = {"backbone": dict(lr_mult=0), "neck": dict(lr_mult=0.1)}
    cfg = dict(
        optimizer=dict(type="AdamW", lr=RATE, weight_decay=0.1),
        paramwise_cfg=dict(custom_keys=keys),
    )
    freeze(cfg, model)
    wrapper = build_optim_wrapper(model, cfg)
    schedule = schedule_of(wrapper, kind, **SCHEDULES[kind])
    groups = wrapper.optimizer.param_groups
    highest = learning_rates(wrapper.optimizer, [schedule], STEPS).max(0)
    of = {id(p): rate for group, rate in zip(groups, highest, strict=True) for p in group["params"]}
    assert of[id(model.neck.weight)] == pytest.approx(of[id(model.bbox_head.weight)] / 10)
    for _ in range(STEPS):
        wrapper.update_params(
            model.bbox_head(model.neck(model.backbone(torch.ones(1, 3)))).square().sum()
        )
        schedule.step()
    moved = {
        name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])
    }
    assert moved == {"neck.weight", "neck.bias", "bbox_head.weight", "bbox_head.bias"}


def test_the_longest_name_decides():
    """As in mmengine: all of the backbone but its second layer."""
    model = nn.ModuleDict(
        dict(backbone=nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), scale=nn.Linear(1, 1))
    )
    freeze(
        dict(
            paramwise_cfg=dict(
                custom_keys={"backbone": dict(lr_mult=0), "backbone.1": dict(lr_mult=1)}
            )
        ),
        model,
    )
    assert frozen_parts(model) == {"backbone.0": 6}
    with pytest.raises(InputError, match="nothing to train"):
        freeze(
            dict(
                paramwise_cfg=dict(
                    custom_keys={"backbone": dict(lr_mult=0), "scale": dict(lr_mult=0)}
                )
            ),
            model,
        )


def test_batchnorm_rests_where_it_is_frozen():
    """So does a norm without parameters in a frozen part; a norm that learns does not."""
    block = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2, affine=False))
    model = nn.Sequential(copy.deepcopy(block), block, nn.BatchNorm2d(2), nn.LayerNorm(2))
    model[0].requires_grad_(False)
    model[2].bias.requires_grad_(False)  # its weight learns
    assert frozen_norms(model) == [model[0][1]]


@pytest.mark.parametrize("frozen_stages", [-1, 0, 2])
def test_a_step_leaves_frozen_stages_and_the_statistics_of_a_frozen_neck(frozen_stages):
    torch.manual_seed(0)
    options = {"model.backbone.frozen_stages": frozen_stages, "optim_wrapper.type": "OptimWrapper"}
    cfg = load_config(CONFIG, SMALLEST | options)
    cfg.optim_wrapper.paramwise_cfg = dict(custom_keys=dict(neck=dict(lr_mult=0)))
    model = build_detector(cfg)
    freeze(cfg.optim_wrapper, model)
    before = copy.deepcopy(model.state_dict())
    model.train()
    model.train_step(random_clips(model, 2, 2, HW), build_optim_wrapper(model, cfg.optim_wrapper))
    moved = {
        name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])
    }
    assert not any(name.startswith("neck.") for name in moved)
    assert {
        "bbox_head.multi_level_cls_convs.0.0.bn.running_mean",
        "backbone.stages.2.downsample.conv.weight",
    } <= moved
    stages = {int(name.split(".")[2]) for name in moved if name.startswith("backbone.stages.")}
    assert stages == {0, 1, 2} - set(range(max(frozen_stages, 0)))
    model.eval()
    model.train()
    assert not any(norm.training for norm in frozen_norms(model))


def test_more_stages_than_there_are_cannot_be_frozen():
    with pytest.raises(InputError, match="frozen_stages=4, expected -1 to 3"):
        build_detector(load_config(CONFIG, SMALLEST | {"model.backbone.frozen_stages": 4}))
