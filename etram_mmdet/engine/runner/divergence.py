"""End a training that diverged with one sentence, wherever its numbers are noticed first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from mmengine.dist import is_distributed
from mmengine.runner import Runner
from torch import Tensor, nn

from etram_mmdet.models.detectors.micro_batches import split_lanes
from etram_mmdet.utils.errors import InputError

LOWER_THE_RATE = (
    "Lower the learning rate (--cfg-options base_lr=...) or train without mixed precision "
    "(--cfg-options optim_wrapper.type=OptimWrapper)"
)


def first_not_finite(tensors: Mapping[str, object]) -> str | None:
    """Name of the first tensor that holds infinity or NaN; None if there is none.

    Args:
        tensors: tensors by name; other values are ignored.
    """
    held = ((name, tensor) for name, tensor in tensors.items() if isinstance(tensor, Tensor))
    return next((name for name, tensor in held if not bool(tensor.isfinite().all())), None)


def check_finite(weights: Mapping[str, object], source: str | Path) -> None:
    """Refuse weights that hold infinity or NaN.

    Args:
        weights: tensors by name.
        source: their file, for the message.

    Raises:
        InputError: a tensor is not finite; the message names the first.
    """
    name = first_not_finite(weights)
    if name is not None:
        raise InputError(
            f"{source}: {name} holds NaN or infinity: the training had diverged; use an earlier "
            "checkpoint, or train again with a lower learning rate (--cfg-options base_lr=...)"
        )


def check_finite_weights(model: nn.Module, when: str) -> None:
    """Stop if the weights of a model are not finite.

    Args:
        model: a detector, with or without the wrapper of several processes.
        when: first words of the message.

    Raises:
        FloatingPointError: a weight is not finite.
    """
    name = first_not_finite(getattr(model, "module", model).state_dict())
    if name is not None:
        raise FloatingPointError(
            f"{when}: {name} holds NaN or infinity: the training has diverged. {LOWER_THE_RATE}"
        )


def check_diverged(error: Exception, runner: Runner, batch: dict) -> None:
    """Find out whether an error in a training step was caused by NaN or infinity.

    Assigners and losses fail at such numbers with errors of their own, before any hook sees a loss.
    Steps without an error are not checked.

    Args:
        error: the error that the step raised.
        runner: the runner of the training; it cannot be used afterwards.
        batch: the batch of the step, as the loader gave it.

    Raises:
        FloatingPointError: the numbers are not finite.
    """
    step = f"step {runner.iter + 1}"
    if "device-side assert" in str(error):  # after it nothing on the GPU can be read
        raise FloatingPointError(
            f"{step}: a check on the GPU failed, which happens when a training has diverged. "
            f"{LOWER_THE_RATE}. If that does not help, CUDA_LAUNCH_BLOCKING=1 in front of the "
            "command shows the place"
        ) from error
    model = getattr(runner.model, "module", runner.model)
    check_finite_weights(model, step)
    if not _has_finite_outputs(model, runner, batch):
        raise FloatingPointError(
            f"{step}: the network's outputs hold NaN or infinity: the training has diverged. "
            f"{LOWER_THE_RATE}"
        ) from error


@torch.no_grad()
def _has_finite_outputs(model: nn.Module, runner: Runner, batch: dict) -> bool:
    """Whether the head's raw outputs for the batch, computed once more, are finite."""
    if is_distributed():
        model.eval()  # in training SyncBN would wait for the other processes, which are elsewhere
    for part in split_lanes(batch, getattr(model, "micro_batch", None)):
        with runner.optim_wrapper.optim_context(model):
            outputs = model(**model.data_preprocessor(part, True), mode="tensor")
        if not all(bool(tensor.isfinite().all()) for tensor in _output_tensors(outputs)):
            return False
    return True


def _output_tensors(outputs: object) -> list[Tensor]:
    if isinstance(outputs, Tensor):
        return [outputs]
    parts = outputs if isinstance(outputs, list | tuple) else ()
    return [tensor for part in parts for tensor in _output_tensors(part)]
