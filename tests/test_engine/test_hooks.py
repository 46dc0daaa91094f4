"""Hooks on their own; tests of the tools see them in a run."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from mmdet.registry import HOOKS
from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.logging import MessageHub
from torch import nn

from etram_mmdet.engine.hooks.checkpoint import CheckpointHook
from etram_mmdet.engine.hooks.data_wait import DataWaitHook
from etram_mmdet.engine.hooks.stop_on_signal import StopOnSignalHook


def run_steps(
    hook: DataWaitHook, times: list[tuple[float, float]]
) -> tuple[list[str], list[float]]:
    """Warnings and logged shares after steps of (data_time, time)."""
    warnings, shares = [], []
    hub = MessageHub("test_data_wait")
    hub.log_scalars.clear()
    runner = SimpleNamespace(
        iter=0,
        message_hub=hub,
        logger=SimpleNamespace(warning=warnings.append),
        train_dataloader=SimpleNamespace(num_workers=3),
    )
    for runner.iter, (data_time, time) in enumerate(times):
        hub.update_scalar("train/data_time", data_time)
        hub.update_scalar("train/time", time)
        hook.after_train_iter(runner, runner.iter, {}, {})
        if "train/data_share" in hub.log_scalars:
            shares.append(float(hub.get_scalar("train/data_share").current()))
    return warnings, shares


def test_waiting_for_data_is_logged_and_advised_on_once():
    slow = [(0.4, 1.0), (0.6, 1.0)]
    warnings, shares = run_steps(DataWaitHook(interval=2), slow * 3)
    assert shares[-1] == pytest.approx(0.5)
    assert (
        len(warnings) == 1
        and "50% of the time" in warnings[0]
        and "num_workers (now 3)" in warnings[0]
    )


def test_fast_data_need_no_advice():
    warnings, shares = run_steps(DataWaitHook(interval=2), [(0.1, 1.0), (0.2, 1.0)] * 2)
    assert not warnings and shares == pytest.approx([0.15] * 3)
    assert run_steps(DataWaitHook(interval=5), [(1.0, 1.0)] * 4) == ([], [])


@pytest.mark.parametrize(("resumed_at", "stops_at"), [(0, 5), (2, 5), (4, 5), (5, 5)])
def test_patience_goes_on_in_a_resumed_run(monkeypatch, resumed_at, stops_at):
    """Two validations without a better one end it, whenever it was stopped.

    Rows after the checkpoint do not count.
    """
    scores = [0.1, 0.3, 0.2, 0.4, 0.3, 0.2]  # at the steps 0 to 5
    rows = [{"step": str(step), "coco/AP": str(score)} for step, score in enumerate(scores)]
    monkeypatch.setattr("etram_mmdet.engine.hooks.early_stopping.validations", lambda runner: rows)
    hook = HOOKS.build(
        dict(type="EarlyStoppingHook", monitor="coco/AP", rule="greater", patience=2, min_delta=0.0)
    )
    loop = SimpleNamespace(stop_training=False)
    logger = SimpleNamespace(info=lambda text: None)
    runner = SimpleNamespace(iter=resumed_at, train_loop=loop, val_loop=object(), logger=logger)
    hook.before_train(runner)
    first = (
        resumed_at + 1 if resumed_at else 0
    )  # the validation at the checkpoint's step has its row
    for runner.iter in range(first, len(scores)):
        assert not loop.stop_training
        hook.after_val_epoch(runner, {"coco/AP": scores[runner.iter]})
    assert loop.stop_training and runner.iter == stops_at


@pytest.mark.parametrize("is_validating", [False, True])
def test_a_stop_saves_the_weights_that_are_trained(is_validating, monkeypatch):
    """During a validation the model holds the averaged weights, which must not be saved."""
    saved = []
    monkeypatch.setattr(
        CheckpointHook, "save", lambda self, runner, step: saved.append(float(runner.model.weight))
    )
    averages = EMAHook()
    runner = SimpleNamespace(
        model=nn.Linear(1, 1),
        iter=4,
        cfg=Config(dict(optim_wrapper={})),
        hooks=[averages, CheckpointHook(by_epoch=False)],
        logger=SimpleNamespace(warning=lambda text: None),
        _train_loop=SimpleNamespace(
            stop_signals=SimpleNamespace(agreed=lambda: 15, wait_for_others=lambda: None)
        ),
    )
    averages.before_run(runner)
    nn.init.constant_(runner.model.weight, 7)
    with pytest.raises(SystemExit), torch.no_grad():
        if is_validating:
            averages.before_val_epoch(runner)
            assert float(runner.model.weight) != 7
            StopOnSignalHook().after_val_iter(runner, 0, {}, [])
        else:
            StopOnSignalHook().after_train_iter(runner, 0, {}, {})
    assert saved == [7]
