"""Weights of a file and the model that they are for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from mmengine.model import is_model_wrapper
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from etram_mmdet.utils.errors import InputError

# A model may make parts that it replaces, and parts without weights. One that makes more than this is another model.
MAX_RATIO_OF_WEIGHTS = 2
MAX_MODULES_PER_TENSOR = 20


def load_strictly(model: nn.Module, weights: dict, source: str) -> None:
    """``load_state_dict`` whose error is one sentence; nothing is loaded unless everything fits."""
    check_weights(model, weights, source)
    (model.module if is_model_wrapper(model) else model).load_state_dict(weights)


def check_weights(model: nn.Module, weights: dict, source: str) -> None:
    """Raise ``InputError`` naming the first of the ``weights`` that the model lacks or has in another shape."""
    own = (model.module if is_model_wrapper(model) else model).state_dict()
    wrong = [f"missing {k}" for k in own if k not in weights] + [f"unexpected {k}" for k in weights if k not in own]
    wrong += [
        f"{k} is {tuple(weights[k].shape)}, expected {tuple(own[k].shape)}"
        for k in own
        if k in weights and weights[k].shape != own[k].shape
    ]
    wrong += [
        f"{k} is {weights[k].dtype}, expected {own[k].dtype}"
        for k in own
        if k in weights and weights[k].is_floating_point() != own[k].is_floating_point()
    ]
    if wrong:
        raise InputError(
            f"{source}: does not fit the model, {len(wrong)} of {len(own)} tensors differ: {'; '.join(wrong[:3])}"
            f"{'; ...' if len(wrong) > 3 else ''}. Test it with the config that it carries: tools/test.py {source}"
        )


@contextmanager
def no_larger_than(weights: Mapping[str, Tensor], source: str) -> Iterator[None]:
    """Stop the building of a model as soon as it needs more than a file holds.

    Memory for a parameter is taken when its numbers are set, which comes after it is registered. So a model that
    asks for a thousand times the weights costs nothing before it is refused.

    Args:
        weights: those that the model is built for.
        source: the file, for the message.

    Raises:
        InputError: the model makes more parameters, numbers or modules than belong to ``weights``.
    """
    most = {
        "weights": MAX_RATIO_OF_WEIGHTS * (sum(tensor.numel() for tensor in weights.values()) + 1),
        "tensors": MAX_RATIO_OF_WEIGHTS * (len(weights) + 1),
        "modules": MAX_MODULES_PER_TENSOR * (len(weights) + 1),
    }
    made = dict.fromkeys(most, 0)

    def count(**more: int) -> None:
        for what, number in more.items():
            made[what] += number
            if made[what] > most[what]:
                raise InputError(f"{source}: its config describes a larger model than its {len(weights)} tensors fill")

    def parameter_hook(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None:
            count(tensors=1, weights=parameter.numel())

    def module_hook(module: nn.Module, name: str, child: nn.Module | None) -> None:
        count(modules=1)

    hooks = [
        register_module_parameter_registration_hook(parameter_hook),
        register_module_module_registration_hook(module_hook),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
