"""Losses for the class slot of a YOLOX head, which trains class scores on positive priors only."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmdet.models.losses import EQLV2Loss, SeesawLoss
from mmdet.registry import MODELS
from torch import Tensor, nn

from etram_mmdet.utils.errors import InputError

OFF = -50.0  # logit of a class that is never predicted


@MODELS.register_module()
class SmoothedClassLoss(nn.Module):
    """Sum of binary cross entropy against softened targets (label smoothing).

    A target t becomes t (1 - ``smoothing``) + ``smoothing`` / K. Szegedy et al., CVPR 2016.

    Args:
        smoothing: 0 (YOLOX's own class loss) to below 1. Default: 0.1.
        loss_weight: factor on the sum. Default: 1.0.
    """

    def __init__(self, smoothing: float = 0.1, loss_weight: float = 1.0) -> None:
        super().__init__()
        if not 0 <= smoothing < 1:
            raise InputError(f"SmoothedClassLoss: smoothing={smoothing}, expected 0 to below 1")
        self.smoothing = smoothing
        self.loss_weight = loss_weight

    def forward(self, scores: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Loss of logits ``scores`` (M, K) against ``target`` (M, K), with ``weight`` (M, 1)."""
        soft = target * (1 - self.smoothing) + self.smoothing / target.shape[1]
        return self.loss_weight * F.binary_cross_entropy_with_logits(
            scores, soft, weight, reduction="sum"
        )


@MODELS.register_module()
class EQLV2ClassLoss(EQLV2Loss):
    """mmdet's :class:`EQLV2Loss` (Tan et al., CVPR 2021) for K class scores.

    mmdet's loss has one more column, for the background, which YOLOX keeps in its objectness. That
    column is filled with "never predicted" and so costs nothing. The target is 1 at the class of
    the box, not its IoU. Each process gathers its own gradient statistics; a checkpoint holds those
    of the first one.
    """

    takes_labels = True

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Loss of logits ``scores`` (M, K) against ``labels`` (M,): a sum; mmdet's is a mean."""
        loss = len(labels) * super().forward(F.pad(scores, (0, 1), value=OFF), labels)
        # mmdet keeps them, and with them the graph of this step
        del self.pred_class_logits, self.gt_classes
        return loss


@MODELS.register_module()
class SeesawClassLoss(SeesawLoss):
    """mmdet's :class:`SeesawLoss` (Wang et al., CVPR 2021) for K class scores, read as a softmax.

    Its own objectness part is left out: YOLOX has one. The target is the class of the box, not its
    IoU.

    Args:
        num_classes: K; the head fills it in.
        p: exponent of the mitigation factor, which lowers the penalty of rare classes by frequent
            ones. Default: 0.8.
        q: exponent of the compensation factor, which raises the penalty of wrongly predicted
            classes. Default: 2.0.
        loss_weight: factor on the sum. Default: 1.0.
    """

    takes_labels = True

    def __init__(
        self, num_classes: int, p: float = 0.8, q: float = 2.0, loss_weight: float = 1.0
    ) -> None:
        super().__init__(
            num_classes=num_classes, p=p, q=q, loss_weight=loss_weight, reduction="sum"
        )

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Sum of losses of logits ``scores`` (M, K) against ``labels`` (M,).

        mmdet's ``forward`` reads the labels of each class, and a GPU is waited for each time.
        """
        samples = self.cum_samples[: self.num_classes]
        samples.index_add_(0, labels, torch.ones_like(labels, dtype=samples.dtype))
        settings = self.num_classes, self.p, self.q, self.eps, self.reduction
        return self.loss_weight * self.cls_criterion(scores, labels, None, samples, *settings)

    @staticmethod
    def probabilities(logits: Tensor) -> Tensor:
        """Probabilities of the classes: a softmax over the last axis."""
        return logits.softmax(-1)
