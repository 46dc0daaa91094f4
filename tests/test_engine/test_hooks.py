"""Hooks on their own; tests of the tools see them in a run."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
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
