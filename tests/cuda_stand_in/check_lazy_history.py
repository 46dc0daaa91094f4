"""Losses that stay on the device until the log needs them give the same histories."""

from __future__ import annotations

import copy
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.hooks import RuntimeInfoHook
from mmengine.logging import HistoryBuffer, MessageHub

from etram_mmdet.engine.hooks.finite_loss import FiniteLossHook
from etram_mmdet.engine.hooks.lazy_runtime_info import LazyRuntimeInfoHook
from etram_mmdet.engine.runner import histories
from tests.cuda_stand_in import device  # noqa: F401
from tests.cuda_stand_in.memory import DEVICE
from tests.cuda_stand_in.waits import recorded


def runner_of(hook: RuntimeInfoHook, start: int = 0, stop: int = 0) -> SimpleNamespace:
    """A runner after some steps, whose losses are 1/3 and 2/3 of their numbers."""
    runner = SimpleNamespace(message_hub=MessageHub(str(id(hook))), hook=hook)
    run(runner, start, stop)
    return runner


def run(runner: SimpleNamespace, start: int, stop: int) -> None:
    for step in range(start, stop):
        shared = torch.full((2,), step / 3, device=DEVICE)
        shared[1] *= 2
        outputs = dict(loss=shared[0], loss_cls=shared[1], seconds=0.5)
        runner.hook.after_train_iter(runner, step, outputs=outputs)
        shared.zero_()  # as the next replay of a CUDA graph would
        histories.thin(runner.message_hub.log_scalars)


def values(runner: SimpleNamespace) -> dict[str, tuple[list, list]]:
    found = runner.message_hub.log_scalars.items()
    return {name: tuple(map(np.ndarray.tolist, history.data)) for name, history in found}


@pytest.fixture(autouse=True)
def short_histories(monkeypatch):
    for name, number in dict(RECENT=3, _EARLIER=4, MOST=14).items():
        monkeypatch.setattr(histories, name, number)
    monkeypatch.setattr(histories.thin, "__defaults__", (3,))


def test_nothing_is_read_until_somebody_asks():
    with recorded() as seen:
        runner = runner_of(LazyRuntimeInfoHook(), 0, 12)
        assert not seen
        _, loss, loss_cls = runner.message_hub.log_scalars.values()
        assert loss.mean(3) == pytest.approx(10 / 3)
        assert loss_cls.current() == pytest.approx(22 / 3) and loss.max() == pytest.approx(11 / 3)
        assert len(seen) == 1


def test_histories_are_mmengines():
    """They are thinned at the same steps, too."""
    lazy, plain = (runner_of(hook(), 0, 40) for hook in (LazyRuntimeInfoHook, RuntimeInfoHook))
    assert values(lazy) == values(plain)
    assert list(values(lazy)) == ["train/seconds", "train/loss", "train/loss_cls"]
    assert len(values(lazy)["train/loss"][0]) < 40
    assert lazy.message_hub.state_dict()["resumed_keys"] == dict.fromkeys(values(lazy), True)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
def test_a_copy_is_mmengines_with_all_values(copied):
    history = runner_of(LazyRuntimeInfoHook(), 0, 5).message_hub.get_scalar("train/loss")
    found = copied(history)
    assert type(found) is HistoryBuffer
    assert found.data[0] == pytest.approx(np.arange(5) / 3)
    assert found.data[1].tolist() == [1] * 5


def test_a_resumed_history_goes_on():
    whole = runner_of(LazyRuntimeInfoHook(), 0, 30)
    stopped = runner_of(LazyRuntimeInfoHook(), 0, 17)
    resumed = runner_of(LazyRuntimeInfoHook())
    resumed.message_hub.load_state_dict(copy.deepcopy(stopped.message_hub.state_dict()))
    run(resumed, 17, 30)
    assert values(resumed) == values(whole)


def test_a_second_training_goes_on_with_the_histories_of_the_first():
    first = runner_of(LazyRuntimeInfoHook(), 0, 5)
    second = SimpleNamespace(message_hub=first.message_hub, hook=LazyRuntimeInfoHook())
    run(second, 5, 9)
    assert second.message_hub.get_scalar("train/loss").data[0] == pytest.approx(np.arange(9) / 3)


def test_losses_are_checked_by_one_read():
    hook = FiniteLossHook(interval=1)
    runner = SimpleNamespace(iter=6)
    losses = torch.tensor([1.0, 2.0, torch.inf], device=DEVICE).unbind()
    outputs = dict(zip(("loss", "loss_cls", "loss_obj"), losses, strict=True), number=3.0)
    with recorded() as seen, pytest.raises(FloatingPointError, match=r"^loss_obj is not finite"):
        hook.after_train_iter(runner, 0, {}, outputs)
    assert [wait.what for wait in seen if wait.what == "copy to the host"] == ["copy to the host"]
    hook.after_train_iter(runner, 0, {}, dict(loss=losses[0]))
