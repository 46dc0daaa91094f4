"""What ``paramwise_cfg`` says of single parameters, and whether a schedule keeps to it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import nn
from torch.optim import Optimizer

from etram_mmdet.utils.errors import InputError


def check_names(wrapper: dict, model: nn.Module) -> None:
    """Refuse a ``paramwise_cfg`` that names parameters which ``model`` does not have.

    Args:
        wrapper: the config ``optim_wrapper``.
        model: whose parameters it is about.

    Raises:
        InputError: a name in ``custom_keys`` is part of no parameter's name.
    """
    names = [name if "." in name else f".{name}" for name, _ in getattr(model, "module", model).named_parameters()]
    unused = [
        key
        for key in (wrapper.get("paramwise_cfg") or {}).get("custom_keys") or {}
        if not any(key in name for name in names)
    ]
    if unused:
        parts = ", ".join(dict.fromkeys(name.split(".")[0] for name in names if not name.startswith(".")))
        raise InputError(
            f"optim_wrapper.paramwise_cfg.custom_keys: {', '.join(unused)} is part of no parameter's name; the model "
            f"has {parts}, and model.named_parameters() gives all names"
        )


def check_own_rates(own: list[float], rates: np.ndarray) -> None:
    """Refuse a schedule that trains frozen parameters, or ignores that rates differ.

    Args:
        own: learning rate of each group (G,) before any schedule.
        rates: of every step and group (steps, G), as the schedule sets it.

    Raises:
        InputError: for a group of rate 0 that gets another, or groups of different rates that get the same.
    """
    highest = rates.max(0)
    if any(not lr and peak for lr, peak in zip(own, highest, strict=True)):
        raise InputError(
            f"param_scheduler: gives parameters that lr_mult=0 freezes a learning rate of up to "
            f"{max(peak for lr, peak in zip(own, highest, strict=True) if not lr):.3g}; use OneCycleLR without "
            "mmengine's scope, or eta_min_ratio in place of eta_min"
        )
    if len(set(own)) > 1 and (rates == rates[:, :1]).all():
        raise InputError(
            "param_scheduler: gives all parameters the same learning rate, so lr_mult and bias_lr_mult have no effect; "
            "use OneCycleLR without mmengine's scope, or leave optim_wrapper.paramwise_cfg out"
        )


def told_groups(optimizer: Optimizer, rates: np.ndarray) -> list[str]:
    """What the summary says where groups differ: their highest learning rates, their weight decays.

    Args:
        optimizer: its groups of parameters.
        rates: of every step and group (steps, G), as the schedule sets it.
    """
    groups = optimizer.param_groups
    sizes = [sum(p.numel() for p in group["params"]) for group in groups]
    decays = [group.get("weight_decay", 0.0) for group in groups]
    return [
        *_told("highest learning rate", rates.max(0).tolist(), sizes, lambda rate: "" if rate else " (frozen)"),
        *_told("weight decay", decays, sizes, lambda decay: ""),
    ]


def _told(name: str, values: list[float], sizes: list[int], note: Callable[[float], str]) -> list[str]:
    """One line where ``values`` differ: each with the number of parameters that have it."""
    counts: dict[float, int] = {}
    for value, size in zip(values, sizes, strict=True):
        counts[value] = counts.get(value, 0) + size
    listed = [f"{value:.3g}{note(value)} for {size / 1e6:.2f} million parameters" for value, size in counts.items()]
    return [f"{name} {', '.join(listed)}"] if len(counts) > 1 else []
