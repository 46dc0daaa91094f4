"""Normalised Gaussian Wasserstein distance (Wang, Xu, Yang, Yu, arXiv 2110.13389) as box loss."""

from __future__ import annotations

import math

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from etram_mmdet.datasets.statistics import BoxStatistics
from etram_mmdet.models.losses.squared_iou_loss import squared_iou_losses
from etram_mmdet.utils.errors import InputError


def nwd(a: Tensor, b: Tensor, constant_px: Tensor | float) -> Tensor:
    """Similarity of boxes in (0, 1] by Gaussian Wasserstein distance: exp(-W / ``constant_px``).

    W is the 2-Wasserstein distance of the Gaussians with the boxes' centres as means and half their
    sides as deviations: W^2 = |c_a - c_b|^2 + |s_a - s_b|^2 / 4 for centres c and sizes s. Unlike
    IoU it tells apart boxes that do not overlap, and a shift by a pixel costs small boxes no more
    than large ones.

    Args:
        a: (..., 4) boxes xyxy, in pixels.
        b: (..., 4) boxes xyxy, in pixels; shapes are broadcast.
        constant_px: C of the paper, in pixels.
    """
    centres = (a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) / 2
    half_sizes = (a[..., 2:] - a[..., :2] - b[..., 2:] + b[..., :2]) / 2
    squared = centres.square().sum(-1) + half_sizes.square().sum(-1)
    return torch.exp(-(squared + 1e-7).sqrt() / constant_px)  # the root has no gradient at 0


class NWDConstant:
    """Mixin of losses and assigners that need the constant C of the paper, in pixels.

    C is given, or else the mean box size (root of the area) of the training data.
    """

    def _init_constant(self, constant_px: float | None) -> None:
        self.given_px = constant_px
        self.constant_px = math.nan if constant_px is None else constant_px

    def fit_to_data(self, boxes: BoxStatistics) -> str:
        if self.given_px is None:
            self.constant_px = boxes.mean_size_px
        return (
            f"{type(self).__name__}: constant {self.constant_px:.1f} px (mean box size "
            f"{boxes.mean_size_px:.1f} px)"
        )

    def known_constant_px(self) -> float:
        """The constant, in pixels; raises ``InputError`` if neither given nor taken from data."""
        if math.isnan(self.constant_px):
            raise InputError(
                f"{type(self).__name__}: no constant_px; train with tools/train.py, which computes "
                "it from the training boxes, call "
                "etram_mmdet.models.building.fit_to_data(model, dataset), or set it"
            )
        return self.constant_px


@MODELS.register_module()
class NWDLoss(NWDConstant, nn.Module):
    """Sum of IoU and NWD losses over boxes, for the ``loss_bbox`` slot of a YOLOX head.

    A box costs ``loss_weight`` * (``iou_share`` (1 - IoU^2) + (1 - ``iou_share``) (1 - NWD)), see
    :func:`nwd`.

    Args:
        loss_weight: factor on the sum. Default: 5.0.
        iou_share: share of the IoU loss, 0 to 1. Default: 0.5.
        constant_px: C of the paper, in network pixels; the paper's 12.8 is that of AI-TOD. Default:
            the mean box size of the training data.
        eps: smallest IoU that counts as more than zero. Default: 1e-16.
    """

    def __init__(
        self,
        loss_weight: float = 5.0,
        iou_share: float = 0.5,
        constant_px: float | None = None,
        eps: float = 1e-16,
    ) -> None:
        super().__init__()
        if not 0 <= iou_share <= 1:
            raise InputError(f"NWDLoss: iou_share={iou_share}, expected 0 to 1")
        self.loss_weight = loss_weight
        self.iou_share = iou_share
        self.eps = eps
        self._init_constant(constant_px)

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Loss of ``pred`` against ``target``: (N, 4) boxes xyxy in network pixels."""
        overlap = squared_iou_losses(pred, target, self.eps)
        distance = 1 - nwd(pred, target, self.known_constant_px())
        return self.loss_weight * (self.iou_share * overlap + (1 - self.iou_share) * distance).sum()
