"""A trained model made faster for inference; the numbers stay the same up to rounding."""

from __future__ import annotations

import copy

import torch
from mmcv.cnn.utils import fuse_conv_bn
from torch import Tensor, nn


def fused(model: nn.Module, dtype: torch.dtype | None = None) -> nn.Module:
    """A copy in evaluation mode with BatchNorm folded into the convolutions before it, as mmdet's ``--fuse-conv-bn``.

    On a CPU with oneDNN, unless autocast to ``dtype`` is wanted, linear layers of the backbone also add their bias, and
    apply the GELU that follows, while the product is still in the cache; PyTorch's own go over the result for either.
    """
    model = fuse_conv_bn(copy.deepcopy(model).eval())
    if dtype is not None:  # else autocast would convert all weights anew for every window
        for layer in (m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)):
            layer.to(dtype)
    is_float32_on_cpu = dtype is None and next(model.parameters()).device.type == "cpu"
    if is_float32_on_cpu and torch.backends.mkldnn.is_available():
        _fuse_linear_layers(model.backbone)
    return model


class OneDNNLinear(nn.Module):
    """Linear layer, with GELU where ``gelu``; inference in float32 only. The operator is torch.compile's own."""

    def __init__(self, linear: nn.Linear, gelu: bool = False) -> None:
        super().__init__()
        self.weight, self.bias, self.gelu = linear.weight, linear.bias, gelu

    def forward(self, x: Tensor) -> Tensor:
        activation, algorithm = ("gelu", "none") if self.gelu else ("none", None)  # "none": exact, not by tanh
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, activation, [], algorithm)


def _fuse_linear_layers(module: nn.Module) -> None:
    children = list(module.named_children())
    for (name, child), (after, follower) in zip(children, [*children[1:], ("", None)], strict=False):
        if isinstance(child, nn.Linear):
            gelu = isinstance(follower, nn.GELU) and isinstance(module, nn.Sequential)
            setattr(module, name, OneDNNLinear(child, gelu))
            if gelu:
                setattr(module, after, nn.Identity())
        else:
            _fuse_linear_layers(child)
