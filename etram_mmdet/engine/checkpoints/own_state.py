"""State that each process of a training has for itself, saved for a resumed run.

Weights, optimizer and schedules are the same in all processes, and the first one saves them. Every
process has its own

- recurrent state of the lanes, which it continues from batch to batch,
- buffers of the model, such as BatchNorm's statistics without SyncBN,
- gradients that wait for the end of an update (``optim_wrapper.accumulative_counts``).

Random numbers need not be saved: those of a clip and of a step follow from the seed
(``StreamTrainLoop``).
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from mmengine.dist import gather_object, get_rank, get_world_size
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from etram_mmdet.engine.runner.signals import cpu_group
from etram_mmdet.utils.errors import InputError


def gather_own_states(runner: Runner) -> list[dict] | None:
    """Collect the own state of every process in the first one.

    Every process has to call it.

    Args:
        runner: of the training.

    Returns:
        In the first process a list with a dict for each process: ``lanes``, the recurrent state of
        its streams, and ``buffers`` and ``gradients`` of its model. ``None`` in the others.
    """
    model = _bare(runner.model)
    states = gather_object(
        dict(
            lanes=model.stream_states["loss"].rows() if hasattr(model, "stream_states") else {},
            buffers={name: buffer.cpu() for name, buffer in _buffers(model).items()},
            gradients=_waiting_gradients(runner),
        ),
        group=cpu_group(),  # the states of all processes at once might not fit the first one's GPU
    )
    for state in (states or [])[::-1]:  # the first one last, since the others are compared with it
        state["buffers"] = _different(state["buffers"], states[0]["buffers"])
    return states


def restore_own_state(runner: Runner, states: list[dict] | None, path: str | Path) -> None:
    """Give this process its part of the states that :func:`gather_own_states` returned.

    Args:
        runner: of the training.
        states: one dict for each process. None: the checkpoint has none, which is logged.
        path: the checkpoint's file, for messages.
    """
    model = _bare(runner.model)
    if states is None:
        _log_what_is_missing(model, path)
        return
    own = states[get_rank()]
    device = next(model.parameters()).device
    if hasattr(model, "stream_states"):
        model.stream_states["loss"].restore(own["lanes"], device)
    buffers = _buffers(model)
    for name, buffer in own["buffers"].items():
        buffers[name].copy_(buffer)
    parameters = dict(model.named_parameters())
    for name, gradient in own["gradients"].items():
        parameters[name].grad = gradient.to(device)
    if own["gradients"]:
        print_log(
            f"{path}: restored the gradients of the steps since the last update; ignore mmengine's "
            "next message about them",
            "current",
        )


def check_own_states(states: list[dict] | None, model: nn.Module, path: str | Path) -> None:
    """Refuse states of another model, or of another number of processes than there are now.

    Args:
        states: one dict for each process, or None, which passes.
        model: the model to be trained.
        path: the checkpoint's file, for messages.

    Raises:
        InputError: the states do not fit, or hold NaN or infinity.
    """
    if states is None:
        return
    processes = get_world_size()
    if len(states) != processes:
        raise InputError(
            f"{path}: holds the state of {len(states)} processes, expected {processes}; copy the "
            "file again"
        )
    model = _bare(model)
    known = dict(buffers=_buffers(model), gradients=dict(model.named_parameters()))
    for state in states:
        for kind, ours in known.items():
            for name, tensor in state[kind].items():
                if (
                    name not in ours
                    or tensor.shape != ours[name].shape
                    or tensor.dtype != ours[name].dtype
                ):
                    raise InputError(
                        f"{path}: its {kind} hold {name:.80}, which the config's model lacks or "
                        "has in another shape; resume with the config that it was trained with"
                    )
    lanes = [
        row
        for state in states
        for stages in state["lanes"].values()
        for stage in stages
        for row in stage
    ]
    # gradients may be infinite, in half precision
    if not all(bool(row.isfinite().all()) for row in lanes):
        raise InputError(
            f"{path}: its recurrent state holds NaN or infinity: the training had diverged; resume "
            "from an earlier checkpoint"
        )


def _bare(model: nn.Module) -> nn.Module:
    return model.module if is_model_wrapper(model) else model


def _buffers(model: nn.Module) -> dict[str, Tensor]:
    """Buffers of a model that belong to its ``state_dict``."""
    saved = model.state_dict(keep_vars=True)
    return {name: buffer for name, buffer in model.named_buffers() if name in saved}


def _waiting_gradients(runner: Runner) -> dict[str, Tensor]:
    if runner.optim_wrapper.should_update():  # and has done so
        return {}
    named = _bare(runner.model).named_parameters()
    return {
        name: parameter.grad.cpu().clone()
        for name, parameter in named
        if parameter.grad is not None
    }


def _different(buffers: dict[str, Tensor], from_those: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: each for name, each in buffers.items() if not torch.equal(each, from_those[name])}


def _log_what_is_missing(model: nn.Module, path: str | Path) -> None:
    if hasattr(model, "stream_states"):
        print_log(
            f"{path}: holds no recurrent state (older versions and mmengine's own Runner keep "
            "none), so every lane starts from zero and the run will differ a little from one that "
            "was never stopped",
            "current",
            logging.WARNING,
        )
