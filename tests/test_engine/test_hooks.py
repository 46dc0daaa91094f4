"""Hooks on their own; tests of the tools see them in a run."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from mmdet.registry import HOOKS
from mmengine.logging import MessageHub

from etram_mmdet.engine.hooks.data_wait import DataWaitHook


def run_steps(hook: DataWaitHook, times: list[tuple[float, float]]) -> tuple[list[str], list[float]]:
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
    assert len(warnings) == 1 and "50% of the time" in warnings[0] and "num_workers (now 3)" in warnings[0]


def test_fast_data_need_no_advice():
    warnings, shares = run_steps(DataWaitHook(interval=2), [(0.1, 1.0), (0.2, 1.0)] * 2)
    assert not warnings and shares == pytest.approx([0.15] * 3)
    assert run_steps(DataWaitHook(interval=5), [(1.0, 1.0)] * 4) == ([], [])


@pytest.mark.parametrize(("resumed_at", "stops_at"), [(0, 5), (2, 5), (4, 5), (5, 5)])
def test_patience_goes_on_in_a_resumed_run(monkeypatch, resumed_at, stops_at):
    """Two validations without a better one end it, whenever it was stopped; rows after the checkpoint do not count."""
    scores = [0.1, 0.3, 0.2, 0.4, 0.3, 0.2]  # at the steps 0 to 5
    rows = [{"step": str(step), "coco/AP": str(score)} for step, score in enumerate(scores)]
    monkeypatch.setattr("etram_mmdet.engine.hooks.early_stopping.validations", lambda runner: rows)
    hook = HOOKS.build(dict(type="EarlyStoppingHook", monitor="coco/AP", rule="greater", patience=2, min_delta=0.0))
    loop = SimpleNamespace(stop_training=False)
    runner = SimpleNamespace(iter=resumed_at, train_loop=loop, logger=SimpleNamespace(info=lambda text: None))
    hook.before_train(runner)
    first = resumed_at + 1 if resumed_at else 0  # the validation at the checkpoint's step has its row
    for runner.iter in range(first, len(scores)):
        assert not loop.stop_training
        hook.after_val_epoch(runner, {"coco/AP": scores[runner.iter]})
    assert loop.stop_training and runner.iter == stops_at
