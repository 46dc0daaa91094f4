"""IoU loss whose weight grows for small boxes."""

from __future__ import annotations

import torch
from mmdet.models.losses import iou_loss
from mmdet.registry import MODELS
from torch import Tensor, nn

from etram_mmdet.events.errors import InputError


def size_weight(
    area_px2: Tensor,
    weight: float = 2.0,
    small_area: float = 32**2,
    medium_area: float = 96**2,
    mode: str = "exponential",
) -> Tensor:
    """Weight in [1, ``weight``] of boxes of the given areas (network pixels squared).

    ``exponential``: clamp(W exp(-a / small), 1, W), which is 1 from a = small ln W on. ``step``: W up to
    ``small_area``, halfway to 1 up to ``medium_area``. ``linear``: clamp(W (1 - clamp(a / medium, 0, 1)) + 1, 1, W).
    """
    if mode == "exponential":
        w = weight * torch.exp(-area_px2 / small_area)
    elif mode == "step":
        middle = torch.where(area_px2 <= medium_area, (weight + 1) / 2, 1.0)
        w = torch.where(area_px2 <= small_area, weight, middle)
    elif mode == "linear":
        w = weight * (1 - (area_px2 / medium_area).clamp(0, 1)) + 1
    else:
        raise InputError(f"size_weight: mode={mode!r}, expected 'exponential', 'step' or 'linear'")
    return w.clamp(1.0, weight)


@MODELS.register_module()
class SizeAwareIoULoss(nn.Module):
    """Sum over boxes of ``loss_weight`` * w(target area) * (1 - IoU^2), for the ``loss_bbox`` slot of a YOLOX head.

    Only the box term is weighted. ``normalize`` divides the weights by their mean over the batch, so that the total
    keeps its scale and the other loss terms their share. See :func:`size_weight` for the remaining keys.
    """

    def __init__(
        self,
        loss_weight: float = 5.0,
        size_weight: float = 2.0,
        small_area: float = 32**2,
        medium_area: float = 96**2,
        mode: str = "exponential",
        normalize: bool = False,
        eps: float = 1e-16,
    ) -> None:
        super().__init__()
        if size_weight < 1:
            raise InputError(f"SizeAwareIoULoss: size_weight={size_weight}, expected at least 1")
        self.loss_weight = loss_weight
        self.weight_args = dict(weight=size_weight, small_area=small_area, medium_area=medium_area, mode=mode)
        self.normalize = normalize
        self.eps = eps

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """``pred`` and ``target``: (N, 4) boxes xyxy in network pixels."""
        width, height = (target[:, 2:] - target[:, :2]).unbind(1)
        w = size_weight(width * height, **self.weight_args)
        if self.normalize:
            w = w / w.mean().clamp(min=self.eps)
        per_box = iou_loss(pred, target, mode="square", eps=self.eps, reduction="none")
        return self.loss_weight * (w * per_box).sum()
