"""The state that each process of a training has for itself is saved in checkpoints and restored."""

from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.runner import LogProcessor
from torch import nn

from etram_mmdet.engine.checkpoints import own_state
from etram_mmdet.engine.checkpoints.contents import OWN_STATES_KEY, known_contents
from etram_mmdet.engine.checkpoints.opening import load_checkpoint_file
from etram_mmdet.engine.checkpoints.own_state import (
    check_own_states,
    gather_own_states,
    restore_own_state,
)
from etram_mmdet.engine.runner.loops import StreamTrainLoop
from etram_mmdet.models.detectors.stream_state import StreamState
from etram_mmdet.utils.errors import InputError

GOES_ON = torch.tensor([False, False])


class Detector(nn.Module):
    """A weight, BatchNorm's buffers, one that is no part of the weights, and lanes."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.register_buffer("cache", torch.zeros(2), persistent=False)
        self.stream_states = {mode: StreamState() for mode in ("loss", "predict")}


def trainer(accumulative_counts=1):
    model = Detector()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return SimpleNamespace(
        model=model,
        optim_wrapper=OptimWrapper(optimizer, accumulative_counts=accumulative_counts),
        seed=3,
    )


def with_lanes(runner):
    runner.model.stream_states["loss"].put(
        (0, 1), ((torch.arange(24.0).view(2, 3, 2, 2), torch.ones(2, 3, 2, 2)),)
    )
    return runner


def through_a_file(states, folder):
    torch.save({"state_dict": {}, OWN_STATES_KEY: states}, folder / "x.pth")
    return load_checkpoint_file(folder / "x.pth")[OWN_STATES_KEY]


def test_lanes_come_back_as_they_were(tmp_path):
    runner, resumed = with_lanes(trainer()), trainer()
    states = through_a_file(gather_own_states(runner), tmp_path)
    check_own_states(states, resumed.model, "x")
    restore_own_state(resumed, states, "x")
    expected, found = (
        r.model.stream_states["loss"].get((0, 1), GOES_ON) for r in (runner, resumed)
    )
    assert all(torch.equal(a, b) for a, b in zip(expected[0], found[0], strict=True))
    assert resumed.model.stream_states["predict"].rows() == {}
    assert not any("stream" in name for name in resumed.model.state_dict())


def test_gradients_that_wait_for_an_update_come_back(tmp_path):
    """Two steps make an update; the checkpoint comes after the first of them."""
    runner, resumed = trainer(accumulative_counts=2), trainer(accumulative_counts=2)
    for number, expects in enumerate((True, False)):
        runner.optim_wrapper.update_params(runner.model.norm.weight.sum() * (number + 1))
        (state,) = gather_own_states(runner)
        assert (list(state["gradients"]) == ["norm.weight"]) == expects
        if expects:
            restore_own_state(resumed, through_a_file([state], tmp_path), "x")
            resumed.optim_wrapper._inner_count = 1
        else:
            resumed.optim_wrapper.update_params(resumed.model.norm.weight.sum() * 2)
    assert torch.equal(runner.model.norm.weight, resumed.model.norm.weight)
    assert not torch.equal(runner.model.norm.weight, trainer().model.norm.weight)


def test_buffers_that_differ_between_processes_come_back(monkeypatch, tmp_path):
    """BatchNorm's buffers differ without SyncBN; the weights hold those of the first process."""
    first, second, resumed = trainer(), trainer(), trainer()
    second.model.norm.running_mean.fill_(7)
    (of_second,) = _unreduced(second, monkeypatch)
    monkeypatch.setattr(own_state, "gather_object", lambda own, group: [own, of_second])
    states = through_a_file(gather_own_states(first), tmp_path)
    assert [list(state["buffers"]) for state in states] == [[], ["norm.running_mean"]]
    monkeypatch.setattr(own_state, "get_world_size", lambda: 2)
    monkeypatch.setattr(own_state, "get_rank", lambda: 1)
    check_own_states(states, resumed.model, "x")
    restore_own_state(resumed, states, "x")
    assert resumed.model.norm.running_mean.tolist() == [7, 7, 7]


def _unreduced(runner, monkeypatch):
    """The state that a process sends to the first one."""
    sent = []
    monkeypatch.setattr(own_state, "gather_object", lambda own, group: sent.append(own))
    assert gather_own_states(runner) is None
    return sent


def test_without_any_state_a_line_says_so(monkeypatch):
    said = []
    monkeypatch.setattr(own_state, "print_log", lambda text, *_: said.append(text))
    restore_own_state(trainer(), None, "old.pth")
    assert (
        "old.pth: holds no recurrent state" in said[0] and "every lane starts from zero" in said[0]
    )
    restore_own_state(SimpleNamespace(model=nn.Linear(1, 1)), None, "old.pth")  # it has no lanes
    assert len(said) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda states: states.append(states[0]), "holds the state of 2 processes, expected 1"),
        (
            lambda states: states[0]["lanes"][1][0][0].fill_(torch.nan),
            "its recurrent state holds NaN or infinity",
        ),
        (
            lambda states: states[0]["gradients"].update({"norm.weight": torch.ones(9)}),
            "gradients hold norm.weight, which",
        ),
        (
            lambda states: states[0]["buffers"].update(cache=torch.ones(2)),
            "buffers hold cache, which",
        ),
        (
            lambda states: states[0]["buffers"].update({"norm.running_var": torch.ones(3).long()}),
            "norm.running_var",
        ),
    ],
)
def test_what_does_not_fit_is_named(change, says):
    runner = with_lanes(trainer())
    states = gather_own_states(runner)
    change(states)
    with pytest.raises(InputError, match=says):
        check_own_states(states, runner.model, "x")


@pytest.mark.parametrize(
    "odd",
    [
        [{}],
        [dict(lanes={}, buffers={}, gradients={}, more={})],
        [dict(lanes={-1: []}, buffers={}, gradients={})],
        [dict(lanes={0: [[torch.ones(2, 3, 4, 5)]]}, buffers={}, gradients={})],
        [dict(lanes={0: [[torch.ones(1, 3, 4, 5).int()]]}, buffers={}, gradients={})],
        [dict(lanes={0: [torch.ones(1, 3, 4, 5)]}, buffers={}, gradients={})],
        [dict(lanes={0: [[torch.ones(1, 1, 1, 1).expand(1, 9, 9, 9)]]}, buffers={}, gradients={})],
        [dict(lanes={}, buffers=[], gradients={})],
    ],
)
def test_other_types_are_refused(odd):
    with pytest.raises(InputError, match="own_states is not valid"):
        known_contents({"state_dict": {}, OWN_STATES_KEY: odd}, "x")


class Drawing(nn.Module):
    def train_step(self, data, optim_wrapper):
        return [random.random(), np.random.rand(), torch.rand(()).item()]


def drawn(steps, disturb):
    """What a model draws in these steps."""
    found = []
    loop = StreamTrainLoop.__new__(StreamTrainLoop)
    loop._max_iters, loop._max_epochs, loop._epoch = 3, 1, 0
    loop._runner = SimpleNamespace(
        model=Drawing(),
        optim_wrapper=None,
        seed=3,
        message_hub=SimpleNamespace(log_scalars={}),
        log_processor=LogProcessor(by_epoch=False),
        call_hook=lambda name, outputs=None, **_: (
            found.append(outputs) if name == "after_train_iter" else None
        ),
    )
    for loop._iter in steps:
        if disturb:
            torch.rand(5), np.random.rand(5), random.random()
        loop.run_iter({})
    return found


def test_a_step_draws_the_same_whatever_came_before():
    """A resumed run draws in step 2 the numbers that the other run drew.

    Before, a validation or a start in between changed that.
    """
    undisturbed = drawn([0, 1, 2], disturb=False)
    assert drawn([2], disturb=True) == undisturbed[2:]
    assert len({number for step in undisturbed for number in step}) == 9
