"""A trained model made faster for inference; the numbers stay the same up to rounding."""

from __future__ import annotations

import copy

import torch
from mmcv.cnn.utils import fuse_conv_bn
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase


def fused(model: nn.Module, dtype: torch.dtype = torch.float32, linear: bool = True) -> nn.Module:
    """A copy in evaluation mode with BatchNorm folded into the convolutions before it, as mmdet's ``--fuse-conv-bn``.

    Its weights are of ``dtype``; buffers, which may count classes, keep theirs. On a CPU with oneDNN, where ``linear``,
    the backbone's linear layers also add their bias, and apply the GELU that follows, while the product is still in the
    cache; PyTorch's own go over the result for either.
    """
    model = fuse_conv_bn(copy.deepcopy(model).eval()).requires_grad_(False)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    for norm in (m for m in model.modules() if isinstance(m, _NormBase)):  # one that follows no convolution
        norm.to(dtype)
    if linear and next(model.parameters()).device.type == "cpu" and _onednn_multiplies(dtype):
        _fuse_linear_layers(model.backbone)
    return model


def _onednn_multiplies(dtype: torch.dtype) -> bool:
    """Whether this processor has what oneDNN needs; PyTorch's own layers work everywhere."""
    if not torch.backends.mkldnn.is_available():
        return False
    asked = {torch.bfloat16: "_is_mkldnn_bf16_supported", torch.float16: "_is_mkldnn_fp16_supported"}
    return dtype not in asked or getattr(torch.ops.mkldnn, asked[dtype])()


class OneDNNLinear(nn.Module):
    """Linear layer, with GELU where ``gelu``; inference only. The operator is torch.compile's own."""

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
