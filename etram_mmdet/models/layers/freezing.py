"""Find parts of a model that are not trained, and keep the statistics of their BatchNorm layers."""

from __future__ import annotations

from torch import nn

from etram_mmdet.models.layers.checkpointing import NORMS


def is_frozen(module: nn.Module) -> bool:
    """Whether a module has parameters, and none of them is trained (``requires_grad``).

    Args:
        module: any module.
    """
    parameters = list(module.parameters())
    return bool(parameters) and not any(p.requires_grad for p in parameters)


def frozen_parts(model: nn.Module, name: str = "") -> dict[str, int]:
    """The largest frozen modules and single parameters of a model, and their numbers of parameters.

    Args:
        model: the model, or a part of it.
        name: dotted name of that part, put before the names of its parts. Default: the whole model.

    Returns:
        Number of parameters by dotted name.
    """
    if is_frozen(model):
        return {name or "the whole model": sum(p.numel() for p in model.parameters())}
    prefix = f"{name}." if name else ""
    own = model.named_parameters(recurse=False)
    found = {prefix + key: p.numel() for key, p in own if not p.requires_grad}
    for key, child in model.named_children():
        found |= frozen_parts(child, prefix + key)
    return found


def frozen_norms(model: nn.Module) -> list[nn.Module]:
    """Frozen BatchNorm layers of a model, and frozen layers of similar kinds.

    A norm without parameters is frozen if its parent module is.

    Args:
        model: a detector.
    """
    return [
        norm
        for parent in model.modules()
        for norm in parent.children()
        if isinstance(norm, NORMS) and is_frozen(norm if norm.affine else parent)
    ]


def rest_frozen_norms(model: nn.Module) -> None:
    """Put the :func:`frozen_norms` of a model into evaluation mode.

    There they use their running statistics and do not change them.

    Args:
        model: a detector, which is changed in place.
    """
    for norm in frozen_norms(model):
        norm.eval()
