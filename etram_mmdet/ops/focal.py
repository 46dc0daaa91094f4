"""Sigmoid focal loss (Lin et al., ICCV 2017) with the arguments of mmcv's compiled operators.

mmdet's ``FocalLoss`` calls them for tensors on a GPU. For tensors on a CPU it computes in PyTorch
itself.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Fill ``output`` with the focal loss of each score.

    Args:
        input: (N, K) logits.
        target: (N,) int64 classes; K, or any number outside 0 to K - 1, is background.
        weight: (K,) or (K + 1,) factor of each class of ``target``, or empty for none.
        output: (N, K) tensor that is written to.
        gamma: exponent; a larger one lowers the weight of scores that are already right.
        alpha: weight of the positives; 1 - alpha is that of the negatives.
    """
    output.copy_(_focal_losses(input, target, weight, gamma, alpha))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Fill ``grad_input`` with the derivative of each loss by its logit.

    Args:
        input: (N, K) logits.
        target: (N,) int64 classes; K, or any number outside 0 to K - 1, is background.
        weight: (K,) or (K + 1,) factor of each class of ``target``, or empty for none.
        grad_input: (N, K) tensor that is written to.
        gamma: exponent; a larger one lowers the weight of scores that are already right.
        alpha: weight of the positives; 1 - alpha is that of the negatives.
    """
    logits = input.detach().requires_grad_()
    with torch.enable_grad():
        total = _focal_losses(logits, target, weight, gamma, alpha).sum()
    grad_input.copy_(torch.autograd.grad(total, logits)[0])


def _focal_losses(
    logits: Tensor, target: Tensor, weight: Tensor, gamma: float, alpha: float
) -> Tensor:
    is_class = target[:, None] == torch.arange(logits.shape[1], device=logits.device)
    # The sigmoid of this is the probability of being right.
    signed = torch.where(is_class, logits, -logits)
    share = torch.where(is_class, alpha, 1 - alpha)
    losses = -share * (-signed).sigmoid() ** gamma * F.logsigmoid(signed)
    return losses * weight[target][:, None] if weight.numel() else losses
