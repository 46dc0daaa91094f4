"""Does the state of a training in a checkpoint fit the optimizer and schedulers that go on with it?

PyTorch and mmengine take whatever a checkpoint says: a scheduler makes attributes of it, an optimizer meets a missing
moment in the middle of a step. So both are compared with fresh ones first.
"""

from __future__ import annotations

import inspect
from pathlib import Path

import torch
from mmengine.runner import Runner
from torch import Tensor
from torch.optim import Optimizer

from etram_mmdet.events.errors import InputError

_NEEDED = ("meta", "message_hub", "optimizer", "param_schedulers")


def check_resumable(checkpoint: dict, runner: Runner, path: str | Path) -> None:
    """Raise ``InputError`` where ``runner``, its optimizer and schedulers built, cannot go on from ``checkpoint``."""
    if not set(_NEEDED) <= set(checkpoint):
        raise InputError(
            f"{path}: holds weights only (a best or converted checkpoint), so there is nothing to resume; "
            f"start a new run from it with --cfg-options load_from={path}"
        )
    missing = [key for key in ("epoch", "iter") if key not in checkpoint["meta"]]
    hub = checkpoint["message_hub"]
    missing += [key for key in ("log_scalars", "runtime_info", "resumed_keys") if key not in hub]
    missing += [key for key in ("state", "param_groups") if key not in checkpoint["optimizer"]]
    if missing:
        raise InputError(f"{path}: lacks {', '.join(missing)}, without which no training goes on; copy it again")
    differences = _optimizer_differences(checkpoint["optimizer"], runner.optim_wrapper.optimizer)
    differences += _scheduler_differences(checkpoint["param_schedulers"], runner.param_schedulers or [])
    if differences:
        raise InputError(
            f"{path}: its {differences[0]}. Resume with the config that it was trained with, or start a new run from "
            f"its weights with --cfg-options load_from={path}"
        )


def _optimizer_differences(saved: dict, optimizer: Optimizer) -> list[str]:
    fresh = optimizer.state_dict()["param_groups"]
    groups = saved.get("param_groups", [])
    if len(groups) != len(fresh):
        return [f"optimizer has {len(groups)} groups of parameters, the config's has {len(fresh)}"]
    found = []
    for number, (theirs, ours) in enumerate(zip(groups, fresh, strict=True)):
        if theirs["params"] != ours["params"]:
            found.append(f"optimizer has other parameters in group {number}, {len(theirs['params'])} of them")
        found += [f"optimizer's {what}" for what in _differing_settings(theirs, ours)]
    return found or _moment_differences(saved.get("state", {}), optimizer)


def _moment_differences(state: dict, optimizer: Optimizer) -> list[str]:
    """Every parameter needs the moments that this kind of optimizer keeps, in its own shape."""
    wanted = _moments_of(optimizer)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, moments in state.items():
        if number >= len(parameters):
            return [f"optimizer knows a parameter {number}, the model has {len(parameters)}"]
        if set(moments) != wanted:
            return [f"optimizer keeps {_listed(moments)} for each parameter, the config's keeps {_listed(wanted)}"]
        shape = parameters[number].shape
        wrong = [k for k, v in moments.items() if isinstance(v, Tensor) and v.dim() and v.shape != shape]
        if wrong:
            theirs = tuple(moments[wrong[0]].shape)
            return [f"optimizer's {wrong[0]} of parameter {number} is {theirs}, expected {tuple(shape)}"]
    return []


def _moments_of(optimizer: Optimizer) -> set[str]:
    """What the optimizer keeps for a parameter, seen after a step on a single number."""
    number = torch.zeros(1, requires_grad=True)
    number.grad = torch.zeros(1)
    taken = inspect.signature(type(optimizer)).parameters  # defaults hold more than the constructor takes
    probe = type(optimizer)([number], **{key: value for key, value in optimizer.defaults.items() if key in taken})
    probe.step()
    return set(probe.state[number])


def _scheduler_differences(saved: list[dict], schedulers: list) -> list[str]:
    if len(saved) != len(schedulers):
        return [f"learning rate follows {len(saved)} schedules, the config's follows {len(schedulers)}"]
    found = []
    for theirs, scheduler in zip(saved, schedulers, strict=True):
        ours = {key: value for key, value in scheduler.state_dict().items() if not callable(value)}
        found += [f"{type(scheduler).__name__}'s {what}" for what in _differing_settings(theirs, ours)]
    return found


def _differing_settings(theirs: dict, ours: dict) -> list[str]:
    """Settings that only one side has, or that are of another kind; their values may differ."""
    if set(theirs) != set(ours):
        return [f"settings are {_listed(theirs)}, the config's are {_listed(ours)}"]
    return [
        f"{key} is {theirs[key]!r:.40}, the config's is {ours[key]!r:.40}"
        for key in ours
        if not _is_like(theirs[key], ours[key])
    ]


def _is_like(one: object, other: object) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return set(one) == set(other) and all(_is_like(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_is_like, one, other))
    return _kind(one) == _kind(other)


def _kind(value: object) -> str:
    if value is None or isinstance(value, bool):
        return "flag"
    return "number" if isinstance(value, int | float) else type(value).__name__


def _listed(names: object) -> str:
    return ", ".join(sorted(map(str, names)))
