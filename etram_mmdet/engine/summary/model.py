"""Lines of the run summary about the model."""

from __future__ import annotations

import math

from torch import nn

from etram_mmdet.engine.runner.memory import parameters
from etram_mmdet.models.backbones.base import RecurrentBackbone
from etram_mmdet.models.backbones.partition import better_partition, padded_hw
from etram_mmdet.models.layers.freezing import frozen_norms, frozen_parts


def model_lines(model: nn.Module, hw: tuple[int, int]) -> list[str]:
    """Parameters, padding and feature maps of a detector.

    Args:
        model: the detector.
        hw: height and width of a frame, in network pixels.
    """
    parts = {
        name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()
    }
    listed = ", ".join(f"{name} {count / 1e6:.2f}" for name, count in parts.items() if count)
    lines = [f"{sum(parts.values()) / 1e6:.2f} million parameters: {listed}"]
    backbone = model.backbone
    if isinstance(backbone, RecurrentBackbone):
        padded = padded_hw(hw, backbone.size_divisor)
        levels = ", ".join(
            f"stride {stride}: {channels} x {padded[0] // stride} x {padded[1] // stride}"
            for stride, channels in zip(backbone.out_strides, backbone.out_channels, strict=True)
        )
        lines.append(f"padded to {padded[0]} x {padded[1]}; maps for the neck: {levels}")
        lines += _padding_advice(backbone, hw)
    return lines


def frozen_lines(model: nn.Module) -> list[str]:
    """Which parts are not trained; empty where all are.

    Args:
        model: the detector.
    """
    parts = frozen_parts(model)
    if not parts:
        return []
    norms = len(frozen_norms(model))
    evaluating = f"; {norms} BatchNorm layers in evaluation mode" if norms else ""
    return [
        f"{', '.join(parts)}: {sum(parts.values()) / 1e6:.2f} of {parameters(model) / 1e6:.2f} "
        f"million parameters{evaluating}"
    ]


def _padding_advice(backbone: RecurrentBackbone, hw: tuple[int, int]) -> list[str]:
    partition = getattr(backbone, "partition_size", None)
    if partition is None:
        return []
    stride = backbone.size_divisor[0] // partition[0]
    better = better_partition(hw, partition, stride)
    if better is None:
        return []
    extra = math.prod(padded_hw(hw, backbone.size_divisor)) / math.prod(hw) - 1
    less = padded_hw(hw, [stride * cells for cells in better])
    return [
        f"WARNING padding adds {extra:.0%} to every frame; model.backbone.partition_size={better} "
        f"pads to {less[0]} x {less[1]} only"
    ]


def losses_line(model: nn.Module) -> str:
    """Every loss of the built model and its weight.

    Args:
        model: the detector.
    """
    named = [
        (name, part)
        for name, part in model.named_modules()
        if isinstance(getattr(part, "loss_weight", None), float | int)
    ]
    if not getattr(model.bbox_head, "use_l1", True):
        named = [(name, part) for name, part in named if not name.endswith("loss_l1")]
    told = [
        f"{name.removeprefix('bbox_head.')} {part.loss_weight:g} * {type(part).__name__}"
        for name, part in named
    ]
    return ", ".join(told) or "not known"
