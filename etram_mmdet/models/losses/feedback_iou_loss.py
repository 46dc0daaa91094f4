"""IoU loss that counts those box sizes more that have a high loss so far."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from etram_mmdet.models.losses.squared_iou_loss import squared_iou_losses
from etram_mmdet.utils.errors import InputError


@MODELS.register_module()
class FeedbackIoULoss(nn.Module):
    """Sum of ``loss_weight`` * w(size bin) * (1 - IoU^2): sizes that lag behind count more.

    The first experiment sketched a size-aware loss "with feedback" and never defined it. Here boxes
    fall into bins by the square root of their area. The weight w of a bin is its running mean loss
    over that of all boxes, limited to [1, ``max_weight``], and 1 until the bin has been seen.
    Running means are buffers, so that a resumed training goes on with them. Each process keeps its
    own, from the boxes that it sees; a checkpoint holds those of the first one.

    Args:
        loss_weight: factor on the sum. Default: 5.0.
        edges_px: edges between the bins, as the square root of a box's area in network pixels.
            Default: (8, 16, 32, 64, 128).
        max_weight: the largest weight of a bin, at least 1. Default: 2.0.
        momentum: share of a running mean that is kept at each step with boxes of its bin, 0 to
            below 1. Default: 0.99.
        eps: smallest IoU that counts as more than zero. Default: 1e-16.
    """

    # in parts, each part would change the running means that weigh the next part
    needs_whole_batch = True

    def __init__(
        self,
        loss_weight: float = 5.0,
        edges_px: Sequence[float] = (8, 16, 32, 64, 128),
        max_weight: float = 2.0,
        momentum: float = 0.99,
        eps: float = 1e-16,
    ) -> None:
        super().__init__()
        if max_weight < 1 or not 0 <= momentum < 1:
            raise InputError(
                f"FeedbackIoULoss: max_weight={max_weight}, momentum={momentum}; expected "
                "max_weight of at least 1, and momentum from 0 to below 1"
            )
        self.loss_weight = loss_weight
        self.max_weight = max_weight
        self.momentum = momentum
        self.eps = eps
        self.register_buffer("edges_px", torch.tensor(edges_px, dtype=torch.float))
        self.register_buffer("bin_loss", torch.full((len(edges_px) + 1,), torch.nan))
        self.register_buffer("mean_loss", torch.tensor(torch.nan))

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Loss of ``pred`` against ``target``: (N, 4) boxes xyxy in network pixels."""
        per_box = squared_iou_losses(pred, target, self.eps)
        bins = torch.bucketize((target[:, 2:] - target[:, :2]).prod(1).sqrt(), self.edges_px)
        loss = self.loss_weight * (self.weights()[bins] * per_box).sum()
        if self.training and len(target):
            self._remember(per_box.detach(), bins)
        return loss

    def weights(self) -> Tensor:
        """Weight of each bin, from the losses of the steps before this one."""
        return (self.bin_loss / self.mean_loss).nan_to_num(1.0).clamp(1.0, self.max_weight)

    def _remember(self, per_box: Tensor, bins: Tensor) -> None:
        zeros = torch.zeros_like(self.bin_loss)
        total = zeros.index_add(0, bins, per_box)
        number = zeros.index_add(0, bins, torch.ones_like(per_box))  # `bincount` waits for a GPU
        now = total / number  # NaN where there is no box
        self.bin_loss.copy_(self._running(self.bin_loss, now))
        self.mean_loss.copy_(self._running(self.mean_loss, per_box.mean()))

    def _running(self, past: Tensor, now: Tensor) -> Tensor:
        mixed = self.momentum * past + (1 - self.momentum) * now
        return torch.where(past.isnan(), now, torch.where(now.isnan(), past, mixed))
