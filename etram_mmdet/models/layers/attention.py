"""Multi-axis attention of MaxViT (Tu et al., ECCV 2022) as RVT uses it.

RVT is Gehrig & Scaramuzza, CVPR 2023.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from etram_mmdet.utils.errors import InputError

LAYER_SCALE_INIT = 1e-5
MLP_RATIO = 4


def window_partition(x: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Cut maps into windows of neighbouring pixels: (N, windows, size_h * size_w, C).

    Args:
        x: (N, H, W, C).
        size_hw: rows and columns of a window, divisors of H and W.
    """
    n, h, w, c = x.shape
    ph, pw = size_hw
    x = x.view(n, h // ph, ph, w // pw, pw, c).transpose(2, 3)
    return x.reshape(n, -1, ph * pw, c)


def window_reverse(x: Tensor, size_hw: tuple[int, int], map_hw: tuple[int, int]) -> Tensor:
    """Undo :func:`window_partition`.

    Args:
        x: (N, windows, size_h * size_w, C).
        size_hw: rows and columns of a window.
        map_hw: H and W of the map.

    Returns:
        (N, H, W, C).
    """
    (ph, pw), (h, w) = size_hw, map_hw
    x = x.view(x.shape[0], h // ph, w // pw, ph, pw, x.shape[-1]).transpose(2, 3)
    return x.reshape(x.shape[0], h, w, x.shape[-1])


def grid_partition(x: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Cut maps into strided grids that span the map: (N, H/size_h * W/size_w, size_h * size_w, C).

    Args:
        x: (N, H, W, C).
        size_hw: rows and columns of a grid, divisors of H and W.
    """
    n, h, w, c = x.shape
    gh, gw = size_hw
    x = x.view(n, gh, h // gh, gw, w // gw, c).permute(0, 2, 4, 1, 3, 5)
    return x.reshape(n, -1, gh * gw, c)


def grid_reverse(x: Tensor, size_hw: tuple[int, int], map_hw: tuple[int, int]) -> Tensor:
    """Undo :func:`grid_partition`.

    Args:
        x: (N, grids, size_h * size_w, C).
        size_hw: rows and columns of a grid.
        map_hw: H and W of the map.

    Returns:
        (N, H, W, C).
    """
    (gh, gw), (h, w) = size_hw, map_hw
    x = x.view(x.shape[0], h // gh, w // gw, gh, gw, x.shape[-1]).permute(0, 3, 1, 4, 2, 5)
    return x.reshape(x.shape[0], h, w, x.shape[-1])


PARTITIONS = {"window": (window_partition, window_reverse), "grid": (grid_partition, grid_reverse)}


class SelfAttention(nn.Module):
    """Multi-head self-attention over the second-last axis: (..., tokens, C) -> (..., tokens, C).

    The channels of ``qkv`` hold q, k, v of head 0, then of head 1 and so on, so that RVT's weights
    load unchanged.

    Args:
        channels: C.
        head_dim: channels of one attention head, a divisor of C.

    Raises:
        InputError: ``head_dim`` does not divide ``channels``.
    """

    def __init__(self, channels: int, head_dim: int) -> None:
        super().__init__()
        if channels % head_dim:
            raise InputError(
                f"MaxViTRNN: head_dim={head_dim} does not divide the stage's {channels} channels"
            )
        self.head_dim = head_dim
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        *outer, tokens, channels = x.shape
        qkv = self.qkv(x).view(-1, tokens, channels // self.head_dim, 3 * self.head_dim)
        q, k, v = qkv.transpose(1, 2).chunk(3, dim=-1)  # (groups, heads, tokens, head_dim)
        attend = _attention_of_short_rows if _writes_scores(q) else F.scaled_dot_product_attention
        return self.proj(attend(q, k, v).transpose(1, 2).reshape(*outer, tokens, channels))


def _writes_scores(x: Tensor) -> bool:
    """Whether attention scores are written to memory: for inference on a CPU, with a fast softmax.

    For 60 tokens that is faster. PyTorch's own softmax in half precision takes four times as long
    as in float32; a compiled one does not. Training has no memory for scores.
    """
    is_fast = x.dtype == torch.float32 or torch.compiler.is_compiling()
    return x.device.type == "cpu" and is_fast and not torch.is_grad_enabled()


def _attention_of_short_rows(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention with its scores written to memory: for 60 tokens a third faster on a CPU."""
    shape = q.shape
    q, k, v = (t.flatten(0, 1) for t in (q, k, v))
    scores = torch.baddbmm(
        q.new_empty(1, 1, 1), q, k.transpose(1, 2), beta=0, alpha=shape[-1] ** -0.5
    )
    return torch.bmm(scores.softmax(-1), v).view(shape)


class LayerScale(nn.Module):
    """Sum of a shortcut and a branch with a learnt factor per channel.

    The factor starts near zero, so that an untrained block is almost the identity.

    Args:
        channels: C of the maps (..., C).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((channels,), LAYER_SCALE_INIT))

    def forward(self, shortcut: Tensor, x: Tensor) -> Tensor:
        return torch.addcmul(shortcut, x, self.gamma)


class AttentionBlock(nn.Module):
    """Pre-norm transformer block on maps (N, H, W, C) with attention within windows or grids.

    Args:
        channels: C.
        head_dim: channels of one attention head, a divisor of C.
        partition: ``window`` or ``grid``.
        size_hw: rows and columns of an attention group, divisors of H and W.
        pre_norm: whether the first norm is applied; not for an input that is normalised already.
            Default: yes.
    """

    def __init__(
        self,
        channels: int,
        head_dim: int,
        partition: str,
        size_hw: tuple[int, int],
        pre_norm: bool = True,
    ) -> None:
        super().__init__()
        self.size_hw = size_hw
        self.partition, self.reverse = PARTITIONS[partition]
        self.norm1 = nn.LayerNorm(channels) if pre_norm else nn.Identity()
        self.attn = SelfAttention(channels, head_dim)
        self.ls1 = LayerScale(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, MLP_RATIO * channels),
            nn.GELU(),
            nn.Linear(MLP_RATIO * channels, channels),
        )
        self.ls2 = LayerScale(channels)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.attn(self.partition(self.norm1(x), self.size_hw))
        x = self.ls1(x, self.reverse(tokens, self.size_hw, x.shape[1:3]))
        return self.ls2(x, self.mlp(self.norm2(x)))
