"""Load weights into a model if all of them fit."""

from __future__ import annotations

from collections.abc import Iterator

from mmengine.model import is_model_wrapper
from torch import Tensor, nn

from etram_mmdet.engine.runner.divergence import check_finite
from etram_mmdet.utils.errors import InputError


def load_strictly(model: nn.Module, weights: dict, source: str) -> None:
    """Load weights into a model only if everything fits; an error is one sentence.

    Args:
        model: a detector, with or without the wrapper of several processes.
        weights: a ``state_dict``.
        source: the file of the weights, for the message.

    Raises:
        InputError: see :func:`check_weights`.
    """
    check_weights(model, weights, source)
    (model.module if is_model_wrapper(model) else model).load_state_dict(weights)


def check_weights(model: nn.Module, weights: dict, source: str, advice: str | None = None) -> None:
    """Refuse weights that do not fit a model, or are not finite.

    Args:
        model: a detector, with or without the wrapper of several processes.
        weights: a ``state_dict``.
        source: the file of the weights, for the message.
        advice: last sentence of the message. Default: how to test the checkpoint.

    Raises:
        InputError: weights are missing, unknown, or differ in shape or kind of number; the message
            names the first.
    """
    own = (model.module if is_model_wrapper(model) else model).state_dict()
    wrong = list(_misfits(own, weights))
    if wrong:
        raise InputError(
            f"{source}: does not fit the model, {len(wrong)} of {len(own)} tensors differ: "
            f"{'; '.join(wrong[:3])}{'; ...' if len(wrong) > 3 else ''}. "
            + (advice or f"Test it with the config that it carries: tools/test.py {source}")
        )
    check_finite(weights, source)


def check_all_weights(
    model: nn.Module, content: dict, source: str, advice: str | None = None
) -> None:
    """Refuse a checkpoint whose weights, or averaged weights, do not fit a model.

    Args:
        model: as for :func:`check_weights`.
        content: of the checkpoint.
        source: as for :func:`check_weights`.
        advice: as for :func:`check_weights`.

    Raises:
        InputError: see :func:`check_weights`.
    """
    check_weights(model, content["state_dict"], source, advice)
    averaged = content.get("ema_state_dict", {})  # also holds the step count `steps`
    if averaged:
        averaged = {
            name.removeprefix("module."): tensor
            for name, tensor in averaged.items()
            if name != "steps"
        }
        check_weights(model, averaged, f"{source} (its averaged weights)", advice)


def _misfits(own: dict[str, Tensor], weights: dict[str, Tensor]) -> Iterator[str]:
    shared = [key for key in own if key in weights]
    yield from (f"missing {key}" for key in own if key not in weights)
    yield from (f"unexpected {key}" for key in weights if key not in own)
    for key in shared:
        if weights[key].shape != own[key].shape:
            yield f"{key} is {tuple(weights[key].shape)}, expected {tuple(own[key].shape)}"
    for key in shared:
        if weights[key].is_floating_point() != own[key].is_floating_point():
            yield f"{key} is {weights[key].dtype}, expected {own[key].dtype}"
