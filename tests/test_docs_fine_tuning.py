"""Every config of docs/fine_tuning.md loads, and says what the page says of it."""

from __future__ import annotations

import re

import numpy as np
import pytest
from mmdet.registry import HOOKS
from mmengine.hooks import EMAHook
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, DefaultScope
from torch import nn

from etram_mmdet.engine.config.epochs import count_in_steps, counts_epochs
from etram_mmdet.engine.config.load import load_config
from etram_mmdet.engine.hooks.early_stopping import EarlyStoppingHook
from etram_mmdet.engine.runner.learning_rates import learning_rates
from tests.helpers.paths import ROOT

BLOCKS = re.findall(
    r"^## (.+?)$|```python\n(.*?)```", (ROOT / "docs" / "fine_tuning.md").read_text(), re.S | re.M
)
EPOCH = 50  # steps


def configs() -> dict[str, list[str]]:
    """Blocks of the page by their heading."""
    found: dict[str, list[str]] = {}
    for heading, block in BLOCKS:
        if heading:
            found[heading] = blocks = []
        else:
            blocks.append(block)
    return found


CONFIGS = configs()


@pytest.fixture
def loaded(tmp_path):
    def load(heading: str, number: int = 0):
        path = tmp_path / "child.py"
        path.write_text(
            CONFIGS[heading][number].replace("./baseline.py", str(ROOT / "configs" / "baseline.py"))
        )
        return load_config(path)

    return load


def rates(cfg) -> np.ndarray:
    """Learning rate of every step, relative to the optimizer's."""
    if counts_epochs(cfg.train_cfg):
        count_in_steps(cfg, EPOCH)
    wrapper = build_optim_wrapper(nn.Linear(1, 1), dict(optimizer=dict(type="SGD", lr=1.0)))
    built = []
    with DefaultScope.overwrite_default_scope("mmdet"):
        for scheduler in cfg.param_scheduler:
            given = {"end": cfg.train_cfg.max_iters, **scheduler}
            built.append(
                PARAM_SCHEDULERS.build(
                    given, default_args=dict(optimizer=wrapper, epoch_length=EPOCH)
                )
            )
    return learning_rates(wrapper.optimizer, built, cfg.train_cfg.max_iters)[:, 0]


def test_every_block_is_loaded_by_a_test():
    assert {heading: len(blocks) for heading, blocks in CONFIGS.items() if blocks} == {
        "Starting from weights": 2,
        "Freezing": 1,
        "Epochs": 1,
        "Schedules in steps": 2,
        "Early stopping": 1,
        "A part of the data": 1,
        "Large batches in small memory, averaged weights": 1,
        "TensorBoard and Weights & Biases": 1,
        "Suppression across classes": 1,
    }


def test_weights_to_start_from(loaded):
    cfg = loaded("Starting from weights")
    assert cfg.allow_other_classes and cfg.load_from and cfg.model.bbox_head.num_classes == 3
    assert loaded("Starting from weights", 1).model.backbone.init_cfg.prefix == "backbone."


def test_freezing(loaded):
    cfg = loaded("Freezing")
    assert cfg.model.backbone.frozen_stages == 2
    assert cfg.optim_wrapper.paramwise_cfg.custom_keys.neck.lr_mult == 0


def test_epochs_are_those_of_the_config_that_is_shipped(loaded):
    cfg, shipped = loaded("Epochs"), load_config(ROOT / "configs" / "epochs.py")
    for key in ("train_cfg", "param_scheduler", "default_hooks"):
        assert cfg[key] == shipped[key]
    course = rates(cfg)
    assert len(course) == 12 * EPOCH
    assert course[0] == pytest.approx(0.05) and course[EPOCH] == pytest.approx(1) == course.max()
    assert course[EPOCH + 11 * EPOCH // 2] == pytest.approx((1 + 0.01) / 2)  # half of the cosine
    assert course[-1] == pytest.approx(0.01, abs=1e-3) and (np.diff(course[EPOCH:]) <= 0).all()


def test_steps_after_a_warm_up(loaded):
    course = rates(loaded("Schedules in steps"))
    found = [course[step] for step in (0, 499, 500, 11_999, 12_000, 17_999, 18_000)]
    assert found == pytest.approx([0.05, 1, 1, 1, 0.1, 0.1, 0.01], rel=3e-3)


def test_a_cosine_over_the_training(loaded):
    course = rates(loaded("Schedules in steps", 1))
    angle = np.pi * np.arange(20_000) / 20_000
    np.testing.assert_allclose(course, 0.01 + 0.99 * (1 + np.cos(angle)) / 2, rtol=1e-6)


def test_early_stopping(loaded):
    hooks = [h for h in loaded("Early stopping").custom_hooks if h.type == "EarlyStoppingHook"]
    (hook,) = map(HOOKS.build, hooks)
    assert isinstance(hook, EarlyStoppingHook) and (hook.patience, hook.min_delta) == (5, 0.001)


def test_a_part_of_the_data(loaded):
    cfg = loaded("A part of the data")
    assert cfg.train_dataloader.dataset.indices == 10 and cfg.val_dataloader.dataset.indices == [
        0,
        3,
    ]
    assert "indices" not in cfg.test_dataloader.dataset


def test_larger_batches_and_averages(loaded):
    """The rate is that of a batch four times as large."""
    cfg = loaded("Large batches in small memory, averaged weights")
    plain = load_config(ROOT / "configs" / "baseline.py")
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(2 * plain.optim_wrapper.optimizer.lr)
    (hook,) = (HOOKS.build(hook) for hook in cfg.custom_hooks if hook.type == "EMAHook")
    assert isinstance(hook, EMAHook)


def test_back_ends(loaded):
    backends = loaded("TensorBoard and Weights & Biases").visualizer.vis_backends
    assert [each.type for each in backends] == [
        "LocalVisBackend",
        "TensorboardVisBackend",
        "WandbVisBackend",
    ]
    assert backends[2].init_kwargs.mode == "offline"


def test_suppression_across_classes(loaded):
    nms = loaded("Suppression across classes").model.test_cfg.nms
    assert nms.class_agnostic and nms.iou_threshold == 0.45
