"""Which learning rates a training will have."""

from __future__ import annotations

import copy
import math
from numbers import Real
from types import SimpleNamespace

import numpy as np
from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.runner import Runner
from torch.optim import Optimizer

from etram_mmdet.engine.config.complete import rate_by_rule
from etram_mmdet.engine.runner.parameter_groups import told_groups


def rates_of_run(runner: Runner) -> list[str]:
    """First, second, highest and last learning rate of a training, as lines of text.

    The built schedulers give them. Lines about groups of parameters follow if these differ.

    Args:
        runner: the runner of the training, with its optimizer and schedulers built.
    """
    done = runner.iter  # of a resumed training
    steps = max(1, runner.train_loop.max_iters - done)
    rates = learning_rates(runner.optim_wrapper.optimizer, runner.param_schedulers, steps)
    highest = int(rates.max(1).argmax())
    places = {
        "first": 0,
        "second": min(1, steps - 1),
        f"highest (step {done + highest + 1:,})": highest,
        "last": steps - 1,
    }
    told = ", ".join(f"{name} {_rates_text(rates[step])}" for name, step in places.items())
    groups = told_groups(runner.optim_wrapper.optimizer, rates)
    return [f"learning rate: {told}{_stated(runner.cfg)}", *groups]


def _stated(cfg: Config) -> str:
    """The optimizer's rate, and the rule if the rate follows from it."""
    stated = cfg.optim_wrapper.get("optimizer", {}).get("lr")
    if stated is None:
        return ""
    has_rule = cfg.get("base_lr") and (cfg.get("auto_scale_lr") or {}).get("base_batch_size")
    given = (
        [rate_by_rule(cfg, processes) for processes in (1, get_world_size())] if has_rule else []
    )
    follows = any(math.isclose(stated, rate) for rate in given)
    rule = f" (base_lr {cfg.base_lr:g} * sqrt(batch / base batch))" if follows else ""
    return f"; optimizer.lr {stated:.3g}{rule}"


def _rates_text(rates: np.ndarray) -> str:
    """The rates of one step, of all groups of parameters."""
    low, high = rates.min(), rates.max()
    return f"{high:.3g}" if low == high else f"{low:.3g} to {high:.3g}"


def learning_rates(optimizer: Optimizer, schedulers: list, steps: int) -> np.ndarray:
    """Learning rate of every step and group of parameters, (steps, groups).

    The schedulers act on a copy of the groups' settings, so the training itself does not change.
    ``paramwise_cfg`` makes a group for each parameter; groups with the same numbers are computed
    once.

    Args:
        optimizer: its groups of parameters.
        schedulers: built schedulers, or None; those that count epochs are left out.
        steps: number of steps.
    """
    groups = [
        {key: value for key, value in group.items() if key != "params"}
        for group in optimizer.param_groups
    ]
    numbers = [
        repr(sorted(item for item in group.items() if isinstance(item[1], Real)))
        for group in groups
    ]
    _, first, kind = np.unique(numbers, return_index=True, return_inverse=True)
    groups = [groups[i] for i in first]
    stand_in = SimpleNamespace(param_groups=groups, step=optimizer.step, _global_step=1)
    copies = [copy.copy(each) for each in schedulers or [] if not getattr(each, "by_epoch", False)]
    for each in copies:
        each.optimizer = stand_in
        if hasattr(each, "base_values"):
            each.base_values = [each.base_values[i] for i in first]
    rates = np.empty((steps, len(groups)))
    for step in range(steps):
        rates[step] = [group["lr"] for group in groups]
        for each in copies:
            each.step()
    return rates[:, kind]
