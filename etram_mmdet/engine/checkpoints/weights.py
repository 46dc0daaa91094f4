"""Weights of a file and the model that they are for."""

from __future__ import annotations

from mmengine.model import is_model_wrapper
from torch import nn

from etram_mmdet.utils.errors import InputError


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
