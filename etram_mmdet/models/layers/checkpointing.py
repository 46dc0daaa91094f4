"""Activation checkpointing that does not change BatchNorm's statistics.

Chen et al., arXiv 1604.06174.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def recompute(module: nn.Module, function: Callable, *inputs: Tensor | tuple[Tensor, ...]):
    """Call ``function(*inputs)`` so that the backward pass computes its inner maps again.

    Running statistics of BatchNorm move once, in the forward pass, as they would without
    checkpointing.

    Args:
        module: the module that ``function`` uses; its norms are the ones protected.
        function: a computation with ``module``.
        inputs: arguments of ``function``.
    """
    if not torch.is_grad_enabled():
        return function(*inputs)
    contexts = lambda: (nullcontext(), _statistics_kept(module))  # noqa: E731
    return checkpoint(function, *inputs, use_reentrant=False, context_fn=contexts)


# Layers that may keep statistics of what went through them.
NORMS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
)


def recompute_layers(module: nn.Module) -> None:
    """Make every layer of a neck or head :func:`recompute` itself, in place.

    Then only one layer at a time needs memory for its maps.

    Args:
        module: a neck or a head.
    """
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            recompute_layers(child)
        elif any(True for _ in child.parameters()):
            child.forward = partial(recompute, child, child.forward)


@contextmanager
def _statistics_kept(module: nn.Module) -> Iterator[None]:
    """Keep the running statistics of norms unchanged within a block, by momentum 0.

    With ``track_running_stats=False`` instead, BatchNorm would save other tensors.
    """
    norms = [
        m for m in module.modules() if isinstance(m, NORMS) and m.training and m.track_running_stats
    ]
    before = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)
