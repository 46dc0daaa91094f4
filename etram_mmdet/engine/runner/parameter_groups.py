"""Check and apply ``paramwise_cfg``, and refuse schedules that ignore it."""

from __future__ import annotations

import numpy as np
from torch import nn
from torch.optim import Optimizer

from etram_mmdet.models.layers.freezing import is_frozen
from etram_mmdet.utils.errors import InputError


def check_names(wrapper: dict, model: nn.Module) -> None:
    """Refuse a ``paramwise_cfg`` that names parameters which ``model`` does not have.

    Args:
        wrapper: the config ``optim_wrapper``.
        model: the model whose parameters it names.

    Raises:
        InputError: a name in ``custom_keys`` is part of no parameter's name.
    """
    names = [
        name if "." in name else f".{name}"
        for name, _ in getattr(model, "module", model).named_parameters()
    ]
    unused = [
        key
        for key in (wrapper.get("paramwise_cfg") or {}).get("custom_keys") or {}
        if not any(key in name for name in names)
    ]
    if unused:
        parts = ", ".join(
            dict.fromkeys(name.split(".")[0] for name in names if not name.startswith("."))
        )
        raise InputError(
            f"optim_wrapper.paramwise_cfg.custom_keys: {', '.join(unused)} is part of no "
            f"parameter's name; the model has {parts}, and model.named_parameters() gives all names"
        )


def freeze(wrapper: dict, model: nn.Module) -> None:
    """Freeze, in place, the parameters that ``lr_mult=0`` of ``paramwise_cfg.custom_keys`` names.

    Then no schedule can train them, they need no gradient, and their BatchNorm layers keep their
    statistics.

    Args:
        wrapper: the config ``optim_wrapper``.
        model: the model to be trained, before it is wrapped for several processes.

    Raises:
        InputError: nothing is left to train.
    """
    keys = (wrapper.get("paramwise_cfg") or {}).get("custom_keys") or {}
    # the longest that fits counts, as in mmengine
    by_length = sorted(sorted(keys), key=len, reverse=True)
    for name, parameter in model.named_parameters():
        full = name if "." in name else f".{name}"
        key = next((key for key in by_length if key in full), None)
        if key is not None and keys[key].get("lr_mult", 1) == 0:
            parameter.requires_grad_(False)
    if is_frozen(model):
        raise InputError(
            "every parameter is frozen, so there is nothing to train; see lr_mult in "
            "optim_wrapper.paramwise_cfg and model.backbone.frozen_stages"
        )


def check_own_rates(own: list[float], rates: np.ndarray) -> None:
    """Refuse a schedule that trains a group of rate 0, or ignores that rates differ.

    Args:
        own: learning rate of each group (G,) before any schedule.
        rates: of every step and group (steps, G), as the schedule sets it.

    Raises:
        InputError: a group of rate 0 gets another rate, or groups of different rates get the same.
    """
    highest = rates.max(0)
    if any(not lr and peak for lr, peak in zip(own, highest, strict=True)):
        raise InputError(
            "param_scheduler: gives parameters whose rate is 0 (bias_lr_mult=0) a learning rate of "
            f"up to {max(peak for lr, peak in zip(own, highest, strict=True) if not lr):.3g}; use "
            "type='OneCycleLR' without the prefix mmengine., or eta_min_ratio in place of eta_min"
        )
    if len(set(own)) > 1 and (rates == rates[:, :1]).all():
        raise InputError(
            "param_scheduler: gives all parameters the same learning rate, so lr_mult and "
            "bias_lr_mult have no effect; use type='OneCycleLR' without the prefix mmengine., or "
            "leave optim_wrapper.paramwise_cfg out"
        )


def told_groups(optimizer: Optimizer, rates: np.ndarray) -> list[str]:
    """Lines of the summary about groups of parameters that differ.

    They show the groups' highest learning rates and their weight decays.

    Args:
        optimizer: its groups of parameters.
        rates: learning rates of every step and group (steps, G), as the schedule sets them.
    """
    groups = optimizer.param_groups
    sizes = [sum(p.numel() for p in group["params"] if p.requires_grad) for group in groups]
    decays = [group.get("weight_decay", 0.0) for group in groups]
    return [
        *_told("highest learning rate", rates.max(0).tolist(), sizes),
        *_told("weight decay", decays, sizes),
    ]


def _told(name: str, values: list[float], sizes: list[int]) -> list[str]:
    """One line where ``values`` differ: each with the number of parameters that have it."""
    counts: dict[float, int] = {}
    for value, size in zip(values, sizes, strict=True):
        if size:  # not frozen
            counts[value] = counts.get(value, 0) + size
    listed = [
        f"{value:.3g} for {size / 1e6:.2f} million parameters" for value, size in counts.items()
    ]
    return [f"{name} {', '.join(listed)}"] if len(counts) > 1 else []
