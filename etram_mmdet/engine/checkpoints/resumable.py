"""Check that a checkpoint fits the optimizer and schedules of the training that resumes from it.

PyTorch and mmengine do not check a checkpoint: a schedule sets attributes from it, and a fused
optimizer reads and writes the memory of its moments without checking their shape. So both are
compared with new ones first.
"""

from __future__ import annotations

import inspect
import logging
import math
from pathlib import Path

import torch
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.optim import Optimizer

from etram_mmdet.engine.checkpoints.folder import checkpoints_in
from etram_mmdet.engine.checkpoints.opening import load_checkpoint_file
from etram_mmdet.engine.runner.divergence import check_finite
from etram_mmdet.utils.errors import InputError

_NEEDED_KEYS = ("meta", "message_hub", "optimizer", "param_schedulers")
_COUNTERS = ("last_step", "_global_step")  # of a schedule
MAX_SETTING = 1e6  # of an optimizer: rates, decays, momenta


def check_complete(checkpoint: dict, path: str | Path) -> None:
    """Refuse a checkpoint that lacks a part that a resumed training needs.

    Args:
        checkpoint: from :func:`load_checkpoint_file`.
        path: its file, for messages.

    Raises:
        InputError: it holds weights only, or lacks a key.
    """
    if not set(_NEEDED_KEYS) <= set(checkpoint):
        raise InputError(
            f"{path}: holds weights only (a best or converted checkpoint), so there is nothing to "
            f"resume; start a new run from it with --cfg-options load_from={path}"
        )
    missing = [key for key in ("epoch", "iter") if key not in checkpoint["meta"]]
    hub = checkpoint["message_hub"]
    missing += [key for key in ("log_scalars", "runtime_info", "resumed_keys") if key not in hub]
    missing += [key for key in ("state", "param_groups") if key not in checkpoint["optimizer"]]
    if missing:
        raise InputError(
            f"{path}: lacks {', '.join(missing)}, which resuming a training needs; copy the file "
            "again"
        )


def latest_checkpoint(work_dir: str | Path) -> str:
    """The newest intact checkpoint of a work folder; damaged ones are logged.

    Args:
        work_dir: the work folder of a training.

    Raises:
        InputError: there is no intact checkpoint.
    """
    damaged = []
    for path in checkpoints_in(work_dir):
        try:
            check_complete(load_checkpoint_file(path), path)
        except InputError as error:
            damaged.append(str(error))
            continue
        for each in damaged:
            print_log(f"skipped a damaged checkpoint: {each}", "current", logging.WARNING)
        if damaged:
            print_log(
                f"resuming from {path}, the newest intact checkpoint",
                "current",
                logging.WARNING,
            )
        return str(path)
    if damaged:
        listed = "\n  ".join(damaged)
        raise InputError(
            f"{work_dir}: holds no intact checkpoint to resume from; to start a new training, "
            f"remove these:\n  {listed}"
        )
    raise InputError(
        f"{work_dir}: holds no checkpoint to resume from; leave --resume out to start a new "
        "training, or write --resume auto, which starts one if there is no checkpoint"
    )


def check_resumable(checkpoint: dict, runner: Runner, path: str | Path) -> None:
    """Refuse a checkpoint that does not fit the optimizer and schedules of a run.

    Args:
        checkpoint: from :func:`load_checkpoint_file`.
        runner: of the run, its optimizer and schedules built.
        path: the checkpoint's file, for messages.

    Raises:
        InputError: the checkpoint does not fit; the message names the first difference.
    """
    check_finite(checkpoint["state_dict"], path)
    step = checkpoint["meta"]["iter"]
    differences = _step_differences(step, runner.train_loop.max_iters)
    differences += _optimizer_differences(checkpoint["optimizer"], runner.optim_wrapper)
    differences += _schedule_differences(
        checkpoint["param_schedulers"], runner.param_schedulers or [], step
    )
    if differences:
        raise InputError(
            f"{path}: its {differences[0]}. Resume with the config that it was trained with, or "
            f"start a new run from its weights with --cfg-options load_from={path}"
        )


def _step_differences(step: int, planned: int) -> list[str]:
    return [f"step is {step}, but the config trains {planned} steps"] if step > planned else []


def _optimizer_differences(saved: dict, wrapper: object) -> list[str]:
    optimizer = wrapper.optimizer
    fresh = optimizer.state_dict()["param_groups"]
    groups = saved["param_groups"]
    if len(groups) != len(fresh):
        return [f"optimizer has {len(groups)} groups of parameters, the config's has {len(fresh)}"]
    found = []
    for number, (theirs, ours) in enumerate(zip(groups, fresh, strict=True)):
        if theirs["params"] != ours["params"]:
            found.append(
                f"optimizer has other parameters in group {number} ({len(theirs['params'])})"
            )
        found += [f"optimizer's {what}" for what in _differing(theirs, ours, "params")]
        found += [
            f"optimizer's {key} is {theirs[key]!r:.40}, which is out of range"
            for key in theirs
            if not _is_sane(theirs[key], key)
        ]
    base = getattr(wrapper, "base_param_settings", None) or {}
    if set(saved.get("base_param_settings") or {}) != set(base):
        found.append(
            f"optimizer has base_param_settings, the config's has {_sorted_names(base) or 'none'}"
        )
    return found or _moment_differences(saved["state"], optimizer)


def _is_sane(value: object, key: str) -> bool:
    if key == "params":
        return True
    if isinstance(value, list | tuple):
        return all(_is_sane(each, key) for each in value)
    most = 1 if key == "betas" else MAX_SETTING
    return _kind(value) != "number" or 0 <= value <= most  # NaN is not


def _moment_differences(kept: dict, optimizer: Optimizer) -> list[str]:
    """Differences between saved moments and those that this kind of optimizer keeps.

    Each moment must have the shape of its parameter.
    """
    wanted = _moments_of(optimizer)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, moments in kept.items():
        if number >= len(parameters):
            return [f"optimizer knows parameter {number}, but the model has {len(parameters)}"]
        if set(moments) != wanted:
            return [
                f"optimizer keeps {_sorted_names(moments)} for each parameter, the config's keeps "
                f"{_sorted_names(wanted)}"
            ]
        for name, moment in moments.items():
            if not _is_valid_moment(name, moment, parameters[number]):
                expected = (
                    "a count"
                    if name == "step"
                    else f"finite numbers of shape {tuple(parameters[number].shape)}"
                )
                return [
                    f"optimizer's {name} of parameter {number} is {_described_moment(moment)}, "
                    f"expected {expected}"
                ]
    return []


def _is_valid_moment(name: str, moment: object, parameter: nn.Parameter) -> bool:
    if not isinstance(moment, Tensor):
        return moment is None and name == "momentum_buffer"
    if not moment.is_floating_point() or not bool(moment.isfinite().all()):
        return False
    if name == "step":
        return moment.dim() == 0 and float(moment) >= 0
    is_square = name.endswith(("_sq", "square_avg"))
    return _memory_layout(moment) == _memory_layout(parameter) and not (
        is_square and bool((moment < 0).any())
    )


def _memory_layout(tensor: Tensor) -> tuple:
    """Shape and order of dimensions; tensors that were read are dense."""
    return tensor.shape, [s for s, n in zip(tensor.stride(), tensor.shape, strict=True) if n != 1]


def _described_moment(moment: object) -> str:
    if not isinstance(moment, Tensor):
        return f"a {type(moment).__name__}"
    return (
        f"{tuple(moment.shape)} of {moment.dtype}"
        if moment.dim()
        else f"a single number of {moment.dtype}"
    )


def _moments_of(optimizer: Optimizer) -> set[str]:
    """Names of the numbers that the optimizer keeps for a parameter, seen after a trial step."""
    number = torch.zeros(1, requires_grad=True)
    number.grad = torch.zeros(1)
    # defaults hold more than the constructor takes
    taken = inspect.signature(type(optimizer)).parameters
    probe = type(optimizer)(
        [number], **{key: value for key, value in optimizer.defaults.items() if key in taken}
    )
    probe.step()
    return set(probe.state[number])


def _schedule_differences(saved: list[dict], schedules: list, step: int) -> list[str]:
    if len(saved) != len(schedules):
        return [
            f"learning rate follows {len(saved)} schedules, the config's follows {len(schedules)}"
        ]
    found = []
    for theirs, schedule in zip(saved, schedules, strict=True):
        ours = {key: value for key, value in schedule.state_dict().items() if not callable(value)}
        kind = type(schedule).__name__
        found += [f"{kind}'s {what}" for what in _differing(theirs, ours, *_COUNTERS)]
        found += [
            f"{kind}'s {key} is {theirs[key]!r:.40}, expected 0 to {step}"
            for key in _COUNTERS
            if key in theirs and not (type(theirs[key]) is int and 0 <= theirs[key] <= step)
        ]
    return found


def _differing(theirs: dict, ours: dict, *free: str) -> list[str]:
    """Settings that only one side has, or that differ.

    Decimal numbers may differ, since a learning rate may have been changed.
    """
    if set(theirs) != set(ours):
        return [f"settings are {_sorted_names(theirs)}, the config's are {_sorted_names(ours)}"]
    return [
        f"{key} is {theirs[key]!r:.40}, the config's is {ours[key]!r:.40}"
        for key in ours
        if key not in free and not _is_like(theirs[key], ours[key])
    ]


def _is_like(one: object, other: object) -> bool:
    """Whether two values are equal, or both are finite numbers and at least one is a float."""
    if isinstance(one, dict) and isinstance(other, dict):
        return set(one) == set(other) and all(_is_like(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_is_like, one, other))
    if _kind(one) == _kind(other) == "number" and (type(one) is float or type(other) is float):
        return math.isfinite(one)
    return type(one) is type(other) and one == other


def _kind(value: object) -> str:
    if value is None or isinstance(value, bool):
        return "flag"
    return "number" if isinstance(value, int | float) else type(value).__name__


def _sorted_names(names: object) -> str:
    return ", ".join(sorted(map(str, names)))
