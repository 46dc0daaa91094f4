"""The recurrent backbone of RVT: MaxViT blocks and an LSTM in each of four stages.

Gehrig & Scaramuzza, CVPR 2023.
"""

from __future__ import annotations

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from etram_mmdet.models.backbones.base import RecurrentBackbone
from etram_mmdet.models.layers.attention import MLP_RATIO, AttentionBlock
from etram_mmdet.models.layers.checkpointing import recompute
from etram_mmdet.models.layers.conv_lstm import ConvLSTM, State
from etram_mmdet.models.layers.exporting import is_exporting
from etram_mmdet.utils.errors import InputError

# Largest size, in bytes, of the widest map of the frames that go through a stage together: the size
# of a processor's cache (measured, docs/benchmarks.md), or enough to keep a GPU busy while a
# checkpointed stage is computed again (not measured yet).
CPU_MAP_BYTES = 2**25
GPU_RECOMPUTED_MAP_BYTES = 2**28
COMPLETED = "read the config with etram_mmdet.engine.config.load.load_config, which fills it in"


class Downsample(nn.Module):
    """Overlapping strided convolution and LayerNorm.

    (N, C, H, W) becomes (N, H / stride, W / stride, C').

    Args:
        in_channels: C.
        channels: C'.
        stride: in pixels of the input; the kernel is 2 * stride - 1 pixels wide.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        kernel = 2 * stride - 1
        self.conv = nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(
            self.conv(x.contiguous(memory_format=torch.channels_last)).permute(0, 2, 3, 1)
        )


class MaxViTStage(nn.Module):
    """One stage: downsampling, pairs of window and grid attention, and an LSTM.

    Everything before the LSTM works on single frames. So it takes as many of the T * B frames at
    once as suits the device: all on a GPU, where every kernel launch costs time, and as many as fit
    the cache on a CPU.

    Args:
        in_channels: channels of the maps that the stage gets.
        channels: channels of the maps that the stage makes.
        stride: stride of the downsampling, in pixels of the input.
        num_blocks: number of pairs of window and grid attention.
        head_dim: channels of one attention head; a divisor of ``channels``.
        partition_size: (rows, columns) of an attention group, in cells of this stage's map.
        dws_conv: whether the LSTM's gates see their neighbours through a depthwise convolution.
        with_cp: whether each portion of frames is computed again in the backward pass, so that
            memory holds the inner maps of one portion only.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        num_blocks: int,
        head_dim: int,
        partition_size: tuple[int, int],
        dws_conv: bool,
        with_cp: bool,
    ) -> None:
        super().__init__()
        self.with_cp = with_cp
        self.downsample = Downsample(in_channels, channels, stride)
        self.blocks = nn.Sequential(
            *(
                AttentionBlock(channels, head_dim, kind, partition_size, pre_norm=i > 0)
                for i, kind in enumerate(("window", "grid") * num_blocks)
            )
        )
        self.lstm = ConvLSTM(channels, dws_conv)

    def spatial(self, frames: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H / stride, W / stride), channels last in memory."""
        return self.blocks(self.downsample(frames)).permute(0, 3, 1, 2)

    def forward(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        frames = x.flatten(0, 1)  # (T * B, C, H, W)
        portions = [frames] if is_exporting() else frames.split(self._frames_at_once(frames))
        maps = [
            recompute(self, self.spatial, part) if self.with_cp else self.spatial(part)
            for part in portions
        ]
        frames = torch.cat(maps) if len(maps) > 1 else maps[0]
        return self.lstm(frames.unflatten(0, x.shape[:2]), state)

    def _frames_at_once(self, frames: Tensor) -> int:
        # `is_cuda` is true for the tensors of a prediction of memory, whose device is the CPU
        is_on_gpu = frames.is_cuda or frames.device.type != "cpu"
        if is_on_gpu and not self.with_cp:
            return len(frames)
        pixels = frames.shape[-2] * frames.shape[-1] // self.downsample.conv.stride[0] ** 2
        bytes_per_frame = 4 * MLP_RATIO * self.lstm.channels * pixels
        most = GPU_RECOMPUTED_MAP_BYTES if is_on_gpu else CPU_MAP_BYTES
        return max(1, most // bytes_per_frame)


@MODELS.register_module()
class MaxViTRNN(RecurrentBackbone):
    """RVT's backbone; see :class:`RecurrentBackbone` for shapes and state.

    RVT tiny, small and base have ``embed_dims`` 32, 48, 64 with ``head_dim`` 32, 24, 32. Stage k
    (1-based) has stride ``patch_size * 2**(k - 1)``.

    Args:
        in_channels: channels of a frame. Default in a config: the representation decides.
        embed_dims: channels of the first stage. Default: 64.
        dim_mults: channels of each stage, as multiples of ``embed_dims``. Default: (1, 2, 4, 8).
        num_blocks: pairs of window and grid attention in each stage. Default: one in each.
        head_dim: channels of one attention head. Default: 32.
        patch_size: stride of the first stage, in pixels, at least 2. Default: 4.
        partition_size: (rows, columns) of an attention group, in cells of a stage's map; the map's
            sides are multiples of them. Default in a config: the size of the frames decides, see
            ``models/building.py``.
        out_stages: stages whose maps are returned; stages after the last of them are not built.
            Default: (2, 3, 4).
        dws_conv: whether the LSTM's gates see their neighbours through a depthwise convolution.
            Default: no.
        with_cp: whether attention is computed again in the backward pass instead of keeping its
            maps. Default: no.
        frozen_stages: how many of the first stages are not trained; -1 (mmdet's default) and 0 mean
            none. Default: -1.
        init_cfg: mmengine's initialisation. Default: PyTorch's.

    Raises:
        InputError: arguments do not fit each other, or a frame's height or width is no multiple of
            ``size_divisor``.
    """

    def __init__(
        self,
        in_channels: int | None = None,
        embed_dims: int = 64,
        dim_mults: tuple[int, ...] = (1, 2, 4, 8),
        num_blocks: tuple[int, ...] = (1, 1, 1, 1),
        head_dim: int = 32,
        patch_size: int = 4,
        partition_size: tuple[int, int] | None = None,
        out_stages: tuple[int, ...] = (2, 3, 4),
        dws_conv: bool = False,
        with_cp: bool = False,
        frozen_stages: int = -1,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self._check_given(in_channels=in_channels, partition_size=partition_size)
        self._check(len(dim_mults), num_blocks, out_stages, patch_size)
        depth = max(out_stages)
        dims = [in_channels, *(embed_dims * m for m in dim_mults[:depth])]
        strides = [patch_size * 2**k for k in range(depth)]
        self.out_stages = tuple(sorted(out_stages))
        self.out_channels = tuple(dims[k] for k in self.out_stages)
        self.out_strides = tuple(strides[k - 1] for k in self.out_stages)
        self.partition_size = tuple(partition_size)
        self.size_divisor = tuple(p * strides[-1] for p in partition_size)
        self.stages = nn.ModuleList(
            MaxViTStage(
                dims[k],
                dims[k + 1],
                patch_size if k == 0 else 2,
                num_blocks[k],
                head_dim,
                self.partition_size,
                dws_conv,
                with_cp,
            )
            for k in range(depth)
        )
        if not -1 <= frozen_stages <= depth:
            raise InputError(
                f"MaxViTRNN: frozen_stages={frozen_stages}, expected -1 to {depth}, the number of "
                "stages"
            )
        self.stages[: max(frozen_stages, 0)].requires_grad_(False)

    @staticmethod
    def _check_given(**needed) -> None:
        for name, value in needed.items():
            if value is None:
                raise InputError(f"MaxViTRNN: {name} is missing; set it, or {COMPLETED}")

    @staticmethod
    def _check(depth: int, num_blocks: tuple, out_stages: tuple, patch_size: int) -> None:
        if len(num_blocks) != depth:
            raise InputError(
                f"MaxViTRNN: dim_mults has {depth} stages, but num_blocks has {len(num_blocks)}; "
                "give both one number for each stage"
            )
        if (
            not out_stages
            or len(set(out_stages)) != len(out_stages)
            or not set(out_stages) <= set(range(1, depth + 1))
        ):
            raise InputError(
                f"MaxViTRNN: out_stages={tuple(out_stages)}, expected different numbers from 1 to "
                f"{depth}"
            )
        if patch_size < 2:
            raise InputError(f"MaxViTRNN: patch_size={patch_size}, expected at least 2")

    def forward(self, x: Tensor, states: tuple | None = None) -> tuple[tuple[Tensor, ...], tuple]:
        if any(
            size % divisor for size, divisor in zip(x.shape[-2:], self.size_divisor, strict=True)
        ):
            raise InputError(
                f"MaxViTRNN: frames of {tuple(x.shape[-2:])} (height, width) do not divide into "
                f"its partitions: expected multiples of {self.size_divisor}; let the data "
                "preprocessor pad them"
            )
        if states is not None and len(states) != len(self.stages):
            raise InputError(
                f"MaxViTRNN: a state of {len(states)} stages, expected {len(self.stages)}"
            )
        features = []
        new_states = []
        for k, stage in enumerate(self.stages, start=1):
            x, state = stage(x, None if states is None else states[k - 1])
            new_states.append(state)
            if k in self.out_stages:
                features.append(x)
        return tuple(features), tuple(new_states)
