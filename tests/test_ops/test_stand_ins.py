"""Replacements of mmcv's soft NMS, deformable convolution and focal loss match definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmcv.ops import deform_conv2d, modulated_deform_conv2d, sigmoid_focal_loss, soft_nms
from mmdet.models.losses import FocalLoss
from torch.autograd import gradcheck

from etram_mmdet.ops.deformable import deform_conv
from tests.test_ops.test_suppression import iou, random_boxes


def soft_nms_by_hand(boxes, scores, threshold, sigma, min_score, method, offset):
    """Box by box, as the paper's figure 2 has it."""
    left = list(range(len(scores)))
    scores = [float(score) for score in scores]
    kept = []
    while left:
        best = max(left, key=lambda i: scores[i])  # max() takes the first of equals
        kept.append((best, scores[best]))
        left.remove(best)
        for i in list(left):
            overlap = np.nan_to_num(iou(boxes[best], boxes[i], offset))
            if method == "gaussian":
                scores[i] *= math.exp(-(overlap**2) / sigma)
            elif overlap >= threshold:
                scores[i] *= 1 - overlap if method == "linear" else 0
            if scores[i] < min_score:
                left.remove(i)
    return kept


@pytest.mark.parametrize("method", ["naive", "linear", "gaussian"])
@pytest.mark.parametrize("offset", [0, 1])
def test_soft_nms_lowers_scores(method, offset):
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        boxes, _ = random_boxes(30, seed)
        scores = (
            torch.randperm(30, generator=generator) / 30 + 0.01
        )  # no ties, which rounding would decide
        dets, kept = soft_nms(boxes, scores, 0.3, 0.5, 0.05, method, offset)
        expected = soft_nms_by_hand(boxes.numpy(), scores, 0.3, 0.5, 0.05, method, offset)
        assert kept.tolist() == [i for i, _ in expected]
        assert torch.equal(dets[:, :4], boxes[kept])
        assert dets[:, 4].tolist() == pytest.approx([score for _, score in expected], rel=1e-5)
        assert 1 < len(kept) < 30


def test_soft_nms_of_nothing():
    dets, kept = soft_nms(torch.zeros(0, 4), torch.zeros(0))
    assert dets.shape == (0, 5) and kept.dtype == torch.int64 and kept.shape == (0,)


def conv_by_hand(x, offset, weight, mask, stride, padding, dilation, groups, deform_groups):
    """Place by place, as mmcv's kernel reads: bilinear, zeros outside the map."""

    def read(channel, y, x_):
        total = 0.0
        for row in (math.floor(y), math.floor(y) + 1):
            for column in (math.floor(x_), math.floor(x_) + 1):
                if 0 <= row < channel.shape[0] and 0 <= column < channel.shape[1]:
                    total += (
                        (1 - abs(y - row)) * (1 - abs(x_ - column)) * float(channel[row, column])
                    )
        return total

    batch, channels = x.shape[:2]
    outs, per_group, *kernel = weight.shape
    output = torch.zeros(batch, outs, *offset.shape[2:])
    for b, o, r, c in np.ndindex(*output.shape):
        group = o // (outs // groups)
        for k, i, j in np.ndindex(per_group, *kernel):
            channel = group * per_group + k
            shift = (
                channel // (channels // deform_groups) * kernel[0] * kernel[1] + i * kernel[1] + j
            )
            y = r * stride[0] - padding[0] + i * dilation[0] + float(offset[b, 2 * shift, r, c])
            x_ = (
                c * stride[1] - padding[1] + j * dilation[1] + float(offset[b, 2 * shift + 1, r, c])
            )
            factor = 1.0 if mask is None else float(mask[b, shift, r, c])
            output[b, o, r, c] += float(weight[o, k, i, j]) * factor * read(x[b, channel], y, x_)
    return output


GEOMETRY = dict(stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2, deform_groups=2)


def conv_inputs(dtype=torch.float32):
    """A map of 5 x 6, a kernel of 3 x 2, shifts of pixels that also leave the map."""
    generator = torch.Generator().manual_seed(0)
    shapes = dict(
        x=(2, 4, 5, 6),
        offset=(2, 2 * 2 * 6, 3, 8),
        weight=(6, 2, 3, 2),
        mask=(2, 2 * 6, 3, 8),
        bias=(6,),
    )
    made = {
        name: torch.randn(shape, generator=generator, dtype=dtype) for name, shape in shapes.items()
    }
    return made | dict(offset=made["offset"] * 2)


def test_deformable_convolution_reads_shifted_places():
    made = conv_inputs()
    x, offset, weight, mask, bias = made.values()
    geometry = tuple(GEOMETRY.values())
    torch.testing.assert_close(
        deform_conv2d(x, offset, weight, *geometry),
        conv_by_hand(x, offset, weight, None, *geometry),
    )
    torch.testing.assert_close(
        modulated_deform_conv2d(x, offset, mask, weight, bias, *geometry),
        conv_by_hand(x, offset, weight, mask, *geometry) + bias[:, None, None],
    )


def test_deformable_convolution_without_shift_is_a_convolution():
    x, offset, weight, mask, bias = conv_inputs().values()
    plain = F.conv2d(x, weight, bias, (2, 1), (1, 2), (1, 2), 2)
    shifted = modulated_deform_conv2d(
        x, offset * 0, torch.ones_like(mask), weight, bias, *GEOMETRY.values()
    )
    torch.testing.assert_close(shifted, plain)


@pytest.mark.parametrize("name", ["x", "offset", "weight", "mask", "bias"])
def test_gradients_of_deformable_convolution(name):
    """Against PyTorch's own of the same sum written with other operators."""
    made = {key: value.requires_grad_() for key, value in conv_inputs().items()}
    x, offset, weight, mask, bias = made.values()
    geometry = tuple(GEOMETRY.values())
    seen = torch.linspace(-1, 1, 2 * 6 * 3 * 8).view(2, 6, 3, 8)
    wanted = deform_conv(x, offset, weight, mask, *geometry) + bias[:, None, None]
    (expected,) = torch.autograd.grad((wanted * seen).sum(), made[name])
    found = modulated_deform_conv2d(x, offset, mask, weight, bias, *geometry)
    torch.testing.assert_close(torch.autograd.grad((found * seen).sum(), made[name])[0], expected)
    if name in ("x", "offset", "weight"):
        (expected,) = torch.autograd.grad(
            (deform_conv(x, offset, weight, None, *geometry) * seen).sum(), made[name]
        )
        found = deform_conv2d(x, offset, weight, *geometry)
        torch.testing.assert_close(
            torch.autograd.grad((found * seen).sum(), made[name])[0], expected
        )


def test_deformable_convolution_in_half_precision():
    """With tensors of autocast the map is converted to half precision, the type of the shifts."""
    x, offset, weight, *_ = conv_inputs().values()
    whole = deform_conv2d(x, offset, weight, *GEOMETRY.values())
    half = deform_conv2d(x, offset.bfloat16(), weight, *GEOMETRY.values())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), whole, rtol=0.1, atol=0.2)


def test_focal_loss_is_mmdets_own():
    """mmdet calls the operator on a GPU only, with background as class K."""
    generator = torch.Generator().manual_seed(0)
    logits = (torch.randn(20, 3, generator=generator) * 8).requires_grad_()
    labels = torch.randint(0, 4, (20,), generator=generator)
    ours = sigmoid_focal_loss(logits, labels, 2.0, 0.25, None, "none")
    theirs = FocalLoss()(logits, labels, reduction_override="none")
    torch.testing.assert_close(ours, theirs)
    factor = torch.rand(20, 3, generator=generator)
    gradients = [torch.autograd.grad((loss * factor).sum(), logits)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients)
    assert gradients[0].abs().sum() > 0.1


def test_gradient_of_focal_loss_is_that_of_its_value():
    logits = torch.linspace(-3, 3, 6, dtype=torch.float64).view(2, 3).requires_grad_()
    labels = torch.tensor([1, 3])
    assert gradcheck(
        lambda scores: sigmoid_focal_loss(scores, labels, 2.0, 0.25, None, "sum"), logits
    )
