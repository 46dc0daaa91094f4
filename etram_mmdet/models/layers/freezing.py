"""Parts of a model that are not trained, and what follows for the statistics of their BatchNorm layers."""

from __future__ import annotations

from torch import nn

from etram_mmdet.models.layers.checkpointing import NORMS


def is_frozen(module: nn.Module) -> bool:
    """Whether a module has parameters, and none of them is trained (``requires_grad``)."""
    parameters = list(module.parameters())
    return bool(parameters) and not any(p.requires_grad for p in parameters)


def frozen_parts(model: nn.Module, name: str = "") -> dict[str, int]:
    """Names of the largest frozen modules and single parameters of ``model``, each with its size."""
    if is_frozen(model):
        return {name or "the whole model": sum(p.numel() for p in model.parameters())}
    prefix = f"{name}." if name else ""
    own = model.named_parameters(recurse=False)
    found = {prefix + key: p.numel() for key, p in own if not p.requires_grad}
    for key, child in model.named_children():
        found |= frozen_parts(child, prefix + key)
    return found


def frozen_norms(model: nn.Module) -> list[nn.Module]:
    """BatchNorm layers and their like that are frozen; one without parameters goes with what it is a part of."""
    return [
        norm
        for parent in model.modules()
        for norm in parent.children()
        if isinstance(norm, NORMS) and is_frozen(norm if norm.affine else parent)
    ]


def rest_frozen_norms(model: nn.Module) -> None:
    """Put :func:`frozen_norms` into evaluation mode, in which they use their statistics and leave them alone."""
    for norm in frozen_norms(model):
        norm.eval()
