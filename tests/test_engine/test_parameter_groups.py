"""Learning rates and weight decays of single parameters: paramwise_cfg has effect or is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.optim import OneCycleLR as MMEngineOneCycleLR
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, DefaultScope
from torch import nn

from etram_mmdet.engine.config.keys import check_options
from etram_mmdet.engine.config.load import load_config
from etram_mmdet.engine.runner.learning_rates import learning_rates
from etram_mmdet.engine.runner.one_cycle import OneCycleLR
from etram_mmdet.engine.runner.parameter_groups import (
    check_names,
    check_own_rates,
    freeze,
    told_groups,
)
from etram_mmdet.utils.errors import InputError
from tests.helpers.cli import CONFIG, SMALL, run

STEPS = 20
RATE = 0.1


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
        self.neck = nn.Linear(4, 4)
        self.bbox_head = nn.Linear(4, 2)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.bbox_head(self.neck(self.backbone(x))) * self.scale


def wrapper_of(model, paramwise_cfg=None, weight_decay=0.05, **keys):
    optimizer = dict(type="AdamW", lr=RATE, weight_decay=weight_decay)
    return build_optim_wrapper(
        model, dict(optimizer=optimizer, paramwise_cfg=paramwise_cfg, **keys)
    )


def one_cycle(wrapper, **keys):
    """Build the schedule as a runner does."""
    cfg = dict(type="OneCycleLR", eta_max=RATE, total_steps=STEPS, pct_start=0.25, by_epoch=False)
    with DefaultScope.overwrite_default_scope("mmdet"):
        return PARAM_SCHEDULERS.build(cfg | keys, default_args=dict(optimizer=wrapper))


def peaks_by_name(model, wrapper, schedule) -> dict[str, float]:
    """Highest rate of every parameter over a training's steps.

    Each rate is in proportion to the others.
    """
    rates = learning_rates(wrapper.optimizer, [schedule], STEPS)
    shape = rates / rates.max(0).clip(1e-30)
    moving = rates.max(0) > 0
    np.testing.assert_allclose(
        shape[:, moving], shape[:, moving][:, :1].repeat(moving.sum(), 1), rtol=1e-9
    )
    names = {id(p): name for name, p in model.named_parameters()}
    groups = wrapper.optimizer.param_groups
    return {
        names[id(p)]: peak
        for g, peak in zip(groups, rates.max(0), strict=True)
        for p in g["params"]
    }


def test_every_multiplier_reaches_the_one_cycle_schedule():
    model = Detector()
    wrapper = wrapper_of(
        model,
        dict(
            custom_keys={"backbone": dict(lr_mult=0), "neck.weight": dict(lr_mult=0.1)},
            bias_lr_mult=2,
        ),
    )
    assert isinstance(schedule := one_cycle(wrapper), OneCycleLR)
    assert schedule.eta_max == RATE
    assert peaks_by_name(model, wrapper, schedule) == pytest.approx(
        {
            "scale": RATE,
            "backbone.0.weight": 0,
            "backbone.0.bias": 0,
            "backbone.1.weight": 0,
            "backbone.1.bias": 0,
            "neck.weight": RATE / 10,
            "neck.bias": RATE * 2,
            "bbox_head.weight": RATE,
            "bbox_head.bias": RATE * 2,
        }
    )


def test_without_multipliers_the_schedule_is_mmengines():
    ours, theirs = wrapper_of(Detector()), wrapper_of(Detector())
    cfg = dict(eta_max=0.3, total_steps=STEPS, pct_start=0.25, by_epoch=False)
    expected = learning_rates(theirs.optimizer, [MMEngineOneCycleLR(theirs, **cfg)], STEPS)
    assert np.array_equal(
        learning_rates(ours.optimizer, [one_cycle(ours, eta_max=0.3)], STEPS), expected
    )


def test_another_peak_than_the_optimizers_rate_is_scaled_alike():
    model = Detector()
    wrapper = wrapper_of(model, dict(custom_keys={"neck": dict(lr_mult=0.5)}))
    peaks = peaks_by_name(model, wrapper, one_cycle(wrapper, eta_max=3 * RATE))
    assert (peaks["neck.weight"], peaks["scale"]) == pytest.approx((1.5 * RATE, 3 * RATE))


def test_a_list_of_peaks_is_taken_as_it_is():
    model = Detector()
    wrapper = wrapper_of(model, dict(custom_keys={"neck": dict(lr_mult=0)}))
    values = [
        0.01 * (i + 1) for i in range(len(wrapper.param_groups))
    ]  # the last is what the log tells
    peaks = peaks_by_name(model, wrapper, one_cycle(wrapper, eta_max=values))
    assert list(peaks.values()) == pytest.approx(values[:-1])


def test_frozen_weights_stay_in_training():
    torch.manual_seed(0)
    model = Detector()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    wrapper = wrapper_of(model, dict(custom_keys={"backbone": dict(lr_mult=0)}))
    schedule = one_cycle(wrapper)
    for _ in range(STEPS):
        wrapper.update_params(model(torch.randn(8, 3)).square().mean())
        schedule.step()
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for name in before if not name.startswith("backbone")}


class ConvNeXt(nn.Module):
    """A backbone with the class name that mmdet's constructor knows."""

    def __init__(self):
        super().__init__()
        self.stages = nn.ModuleList([nn.ModuleList([nn.Linear(2, 2)]) for _ in range(4)])


def test_layer_wise_decay_reaches_the_one_cycle_schedule():
    model = nn.Module()
    model.backbone, model.head = ConvNeXt(), nn.Linear(2, 2)
    wrapper = wrapper_of(
        model,
        dict(decay_rate=0.5, decay_type="layer_wise", num_layers=6),
        constructor="mmdet.LearningRateDecayOptimizerConstructor",
    )
    peaks = peaks_by_name(model, wrapper, one_cycle(wrapper))
    assert peaks["head.weight"] == pytest.approx(RATE)
    assert peaks["backbone.stages.0.0.weight"] == pytest.approx(RATE * 0.5**6)
    assert peaks["backbone.stages.3.0.weight"] == pytest.approx(RATE * 0.5)


@pytest.mark.parametrize(
    ("schedule", "says"),
    [
        (
            lambda w: MMEngineOneCycleLR(w, eta_max=RATE, total_steps=STEPS, by_epoch=False),
            "whose rate is 0",
        ),
        (
            lambda w: PARAM_SCHEDULERS.build(
                dict(type="CosineAnnealingLR", T_max=STEPS, eta_min=1e-3, by_epoch=False),
                default_args=dict(optimizer=w),
            ),
            "of up to 0.000994; .*eta_min_ratio",
        ),
    ],
)
def test_schedules_that_give_a_rate_of_zero_another_are_refused(schedule, says):
    wrapper = wrapper_of(Detector(), dict(bias_lr_mult=0))
    own = [group["lr"] for group in wrapper.optimizer.param_groups]
    rates = learning_rates(wrapper.optimizer, [schedule(wrapper)], STEPS)
    with pytest.raises(InputError, match=says):
        check_own_rates(own, rates)


def test_a_schedule_that_knows_one_rate_is_refused():
    wrapper = wrapper_of(Detector(), dict(custom_keys={"backbone": dict(lr_mult=0.1)}))
    own = [group["lr"] for group in wrapper.optimizer.param_groups]
    rates = learning_rates(
        wrapper.optimizer, [MMEngineOneCycleLR(wrapper, eta_max=RATE, total_steps=STEPS)], STEPS
    )
    with pytest.raises(InputError, match=r"lr_mult and bias_lr_mult have no effect"):
        check_own_rates(own, rates[:, :1].repeat(len(own), 1))
    check_own_rates(own, rates * own)


def test_a_run_that_ignored_multipliers_is_not_resumed():
    paramwise = dict(custom_keys={"backbone": dict(lr_mult=0.1)})
    old = MMEngineOneCycleLR(
        wrapper_of(Detector(), paramwise), eta_max=RATE, total_steps=STEPS, by_epoch=False
    )
    new = one_cycle(wrapper_of(Detector(), paramwise))
    with pytest.raises(InputError, match=r"a version that ignored lr_mult.*load_from=CHECKPOINT"):
        new.load_state_dict(old.state_dict())
    new.load_state_dict(one_cycle(wrapper_of(Detector(), paramwise)).state_dict())
    one_cycle(wrapper_of(Detector())).load_state_dict(
        MMEngineOneCycleLR(
            wrapper_of(Detector()), eta_max=RATE, total_steps=STEPS, by_epoch=False
        ).state_dict()
    )


def test_the_summary_tells_groups_that_differ():
    model = Detector()
    paramwise = dict(
        custom_keys={"backbone": dict(lr_mult=0), "neck": dict(lr_mult=0.1)}, bias_decay_mult=0
    )
    freeze(dict(paramwise_cfg=paramwise), model)
    wrapper = wrapper_of(model, paramwise)
    rates = learning_rates(wrapper.optimizer, [one_cycle(wrapper)], STEPS)
    assert told_groups(wrapper.optimizer, rates) == [
        "highest learning rate 0.1 for 0.00 million parameters, 0.01 for 0.00 million parameters",
        "weight decay 0.05 for 0.00 million parameters, 0 for 0.00 million parameters",
    ]
    plain = wrapper_of(Detector())
    assert (
        told_groups(plain.optimizer, learning_rates(plain.optimizer, [one_cycle(plain)], STEPS))
        == []
    )


@pytest.mark.parametrize("wrapped", [False, True])
def test_names_that_match_no_parameter_are_refused(wrapped):
    model = Detector()
    if wrapped:
        model, inner = nn.Module(), model
        model.module = inner
    for key in ("backbone", "neck.weight", "scale", ".scale", "bbox_head.bias"):
        check_names(dict(paramwise_cfg=dict(custom_keys={key: dict(lr_mult=0)})), model)
    with pytest.raises(
        InputError,
        match=r"custom_keys: backbon_, head.weights is part .* has backbone, neck, bbox_head",
    ):
        keys = {
            "backbon_": dict(lr_mult=0),
            "neck": dict(lr_mult=0),
            "head.weights": dict(lr_mult=0),
        }
        check_names(dict(paramwise_cfg=dict(custom_keys=keys)), model)


def test_misspelt_multipliers_are_refused():
    with pytest.raises(
        InputError, match=r"did you mean optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult"
    ):
        check_options(
            load_config(CONFIG), {"optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mul": 0}
        )
    check_options(
        load_config(CONFIG), {"optim_wrapper.paramwise_cfg.custom_keys.backbone.betas": (0.5, 0.9)}
    )


def dry_run(sample, *options, ok=True):
    return run(
        "tools/train.py",
        CONFIG,
        "--dry-run",
        "--cfg-options",
        f"data_root={sample}/",
        *SMALL,
        *options,
        ok=ok,
    )


def test_what_is_frozen_stands_in_the_summary_of_a_training(sample):
    """The schedule gives every group the rate of another one."""
    options = [
        "optim_wrapper.paramwise_cfg.custom_keys.neck.lr_mult=0",
        "model.backbone.frozen_stages=2",
    ]
    schedule = (
        "param_scheduler=[dict(type='CosineAnnealingLR', T_max=4, eta_min=1e-4, by_epoch=False)]"
    )
    output = dry_run(sample, *options, schedule)
    line = (
        "frozen      backbone.stages.0, backbone.stages.1, neck: 0.10 of 0.36 million parameters; "
        "27 BatchNorm layers"
    )
    assert f"{line} in evaluation mode" in output and "highest learning rate" not in output
    assert "learning rate: first 0.00566, second 0.00484, highest (step 1) 0.00566" in output
    assert (
        "MiB: 4 for weights, gradients and AdamW" in output
    )  # 16 bytes for what is trained, 4 for the rest
    options = [
        f"optim_wrapper.paramwise_cfg.custom_keys.{name}.lr_mult=0"
        for name in ("backbone", "neck", "bbox_head")
    ]
    assert "every parameter is frozen, so there is nothing to train" in dry_run(
        sample, *options, ok=False
    )


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (
            "optim_wrapper.paramwise_cfg.custom_keys.backbne.lr_mult=0",
            "backbne is part of no parameter's name",
        ),
        (
            "optim_wrapper.constructor=LearningRateDecayOptimizerConstructor "
            "optim_wrapper.paramwise_cfg.num_layers=6 "
            "optim_wrapper.paramwise_cfg.decay_rate=0.5",
            "does not know the layers of this backbone",
        ),
    ],
)
def test_what_names_nothing_ends_a_run_before_it_begins(sample, option, says):
    assert says in dry_run(sample, *option.split(), ok=False)
