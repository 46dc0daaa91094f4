"""IoU loss that counts small boxes more."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from etram_mmdet.models.losses.squared_iou_loss import squared_iou_losses
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.sizes import exponential_weight

_MODES = ("exponential", "step", "linear")


def size_weight(
    area_px2: Tensor,
    weight: float = 2.0,
    small_area: float = 32**2,
    medium_area: float = 96**2,
    mode: str = "exponential",
) -> Tensor:
    """Weight of boxes by their area, from 1 for large boxes to ``weight`` for small ones.

    Args:
        area_px2: areas of the boxes, in network pixels squared.
        weight: the largest weight W. Default: 2.0.
        small_area: largest area of a small box, in network pixels squared. Default: 32^2.
        medium_area: largest area of a medium box, in network pixels squared. Default: 96^2.
        mode: ``exponential``: clamp(W exp(-a / small), 1, W), which is 1 for a >= small ln W.
            ``step``: W up to ``small_area``, halfway to 1 up to ``medium_area``. ``linear``:
            clamp(W (1 - clamp(a / medium, 0, 1)) + 1, 1, W). Default: exponential.

    Returns:
        Weights, of the shape of ``area_px2``.

    Raises:
        InputError: ``mode`` is unknown.
    """
    if mode == "exponential":
        w = exponential_weight(area_px2, weight, small_area, torch.exp)
    elif mode == "step":
        middle = torch.where(area_px2 <= medium_area, (weight + 1) / 2, 1.0)
        w = torch.where(area_px2 <= small_area, weight, middle)
    elif mode == "linear":
        w = weight * (1 - (area_px2 / medium_area).clamp(0, 1)) + 1
    else:
        raise InputError(f"size_weight: mode={mode!r}, expected one of {', '.join(_MODES)}")
    return w.clamp(1.0, weight)


@dataclass(frozen=True)
class SizeWeight:
    """Settings of :func:`size_weight`; an instance turns areas of boxes into weights.

    Args:
        size_weight: the largest weight, at least 1. Default: 2.0.
        small_area: largest area of a small box, in network pixels squared. Default: 32^2.
        medium_area: largest area of a medium box, in network pixels squared. Default: 96^2.
        mode: ``exponential``, ``step`` or ``linear``, see :func:`size_weight`. Default:
            exponential.
        normalize: whether weights are divided by their mean over the batch. Otherwise they add to
            the total and so to the effective learning rate of the term. Default: no.
    """

    size_weight: float = 2.0
    small_area: float = 32**2
    medium_area: float = 96**2
    mode: str = "exponential"
    normalize: bool = False

    def __post_init__(self) -> None:
        if self.size_weight < 1:
            raise InputError(f"size_weight={self.size_weight}, expected at least 1")
        if self.mode not in _MODES:
            raise InputError(
                f"size_weight: mode={self.mode!r}, expected one of {', '.join(_MODES)}"
            )

    def __call__(self, areas_px2: Tensor) -> Tensor:
        w = size_weight(areas_px2, self.size_weight, self.small_area, self.medium_area, self.mode)
        return w / w.mean() if self.normalize and len(w) else w


@MODELS.register_module()
class SizeAwareIoULoss(nn.Module):
    """Sum over boxes of ``loss_weight`` * w(target area) * (1 - IoU^2).

    It is for the ``loss_bbox`` slot of a YOLOX head. ``SizeAwareYOLOXHead`` weighs the other
    losses.

    Args:
        loss_weight: factor on the sum. Default: 5.0.
        eps: smallest IoU that counts as more than zero. Default: 1e-16.
        size_weight: the largest weight w, at least 1. Default: 2.0.
        small_area: largest area of a small box, in network pixels squared. Default: 32^2.
        medium_area: largest area of a medium box, in network pixels squared. Default: 96^2.
        mode: ``exponential``, ``step`` or ``linear``, see :func:`size_weight`. Default:
            exponential.
        normalize: whether weights are divided by their mean over the batch. Default: no.
    """

    def __init__(
        self,
        loss_weight: float = 5.0,
        eps: float = 1e-16,
        size_weight: float = SizeWeight.size_weight,
        small_area: float = SizeWeight.small_area,
        medium_area: float = SizeWeight.medium_area,
        mode: str = SizeWeight.mode,
        normalize: bool = SizeWeight.normalize,
    ) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.eps = eps
        self.weights = SizeWeight(size_weight, small_area, medium_area, mode, normalize)
        self.needs_whole_batch = normalize

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Loss of ``pred`` against ``target``: (N, 4) boxes xyxy in network pixels."""
        per_box = squared_iou_losses(pred, target, self.eps)
        return (
            self.loss_weight
            * (self.weights((target[:, 2:] - target[:, :2]).prod(1)) * per_box).sum()
        )
