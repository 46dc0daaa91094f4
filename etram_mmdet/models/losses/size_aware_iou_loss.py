"""IoU loss whose weight grows for small boxes."""

from __future__ import annotations

from mmdet.models.losses import iou_loss
from mmdet.registry import MODELS
from torch import Tensor, nn

from etram_mmdet.models.losses.size_weight import SizeWeight


@MODELS.register_module()
class SizeAwareIoULoss(nn.Module):
    """Sum over boxes of ``loss_weight`` * w(target area) * (1 - IoU^2), for the ``loss_bbox`` slot of a YOLOX head.

    Only the box term is weighted (``SizeAwareYOLOXHead`` weighs the others). The remaining keys are those of
    :class:`SizeWeight`.
    """

    def __init__(self, loss_weight: float = 5.0, eps: float = 1e-16, **size_weight) -> None:
        super().__init__()
        self.loss_weight, self.eps, self.weights = loss_weight, eps, SizeWeight(**size_weight)

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """``pred`` and ``target``: (N, 4) boxes xyxy in network pixels."""
        per_box = iou_loss(pred, target, mode="square", eps=self.eps, reduction="none")
        return self.loss_weight * (self.weights((target[:, 2:] - target[:, :2]).prod(1)) * per_box).sum()
