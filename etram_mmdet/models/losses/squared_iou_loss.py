"""YOLOX's box loss, 1 - IoU^2, without a wait for the GPU."""

from __future__ import annotations

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

_LEAST_UNION_PX2 = 1e-6


def squared_iou_losses(pred: Tensor, target: Tensor, eps: float = 1e-16) -> Tensor:
    """1 - IoU^2 of each pair of boxes, equal to mmdet's ``iou_loss`` to the last bit.

    mmdet's function copies a constant to the device, and so the host waits for a GPU.

    Args:
        pred: (N, 4) predicted boxes xyxy, in pixels.
        target: (N, 4) boxes xyxy, in pixels.
        eps: smallest IoU that counts as more than zero. Default: 1e-16.

    Returns:
        (N,) losses, 0 to 1.
    """
    top_left = torch.max(pred[:, :2], target[:, :2])
    bottom_right = torch.min(pred[:, 2:], target[:, 2:])
    sides = (bottom_right - top_left).clamp(min=0)
    overlap = sides[:, 0] * sides[:, 1]
    union = _areas(pred) + _areas(target) - overlap
    ious = overlap / union.clamp(min=_LEAST_UNION_PX2)
    return 1 - ious.clamp(min=eps) ** 2


def _areas(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


@MODELS.register_module()
class SquaredIoULoss(nn.Module):
    """Sum over boxes of ``loss_weight`` * (1 - IoU^2), the box loss of YOLOX and RVT.

    The values are those of mmdet's ``IoULoss(mode="square", reduction="sum")``.

    Args:
        loss_weight: factor on the sum. Default: 5.0.
        eps: smallest IoU that counts as more than zero. Default: 1e-16.
    """

    def __init__(self, loss_weight: float = 5.0, eps: float = 1e-16) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.eps = eps

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Loss of ``pred`` against ``target``: (N, 4) boxes xyxy in network pixels."""
        return self.loss_weight * squared_iou_losses(pred, target, self.eps).sum()
