"""Deformable convolution in plain PyTorch, for an mmcv without compiled operators.

Sources: Dai et al., ICCV 2017; Zhu et al., CVPR 2019. The functions without underscore other than
`deform_conv` have the names and arguments of mmcv's compiled operators, which write their results
into tensors that they are given. Gradients are those of `deform_conv`, computed again from its
inputs. G is the number of deformable groups, K = rows * columns the number of places of the kernel.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

Pair = tuple[int, int]  # number of rows and of columns


def deform_conv(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    mask: Tensor | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    deform_groups: int,
) -> Tensor:
    """Convolution whose kernel reads the map at shifted places, bilinearly; outside are zeros.

    Args:
        x: (B, C, H, W) map.
        offset: (B, 2 G K, H', W') shifts in pixels for G = ``deform_groups`` and K places of
            the kernel, each y then x.
        weight: (O, C / ``groups``, rows, columns) kernel of K = rows * columns places.
        mask: (B, G K, H', W') factor of each value that is read, or None.
        stride: step of the kernel in rows and columns, in pixels.
        padding: zeros around the map, in pixels.
        dilation: distance of the kernel's places, in pixels.
        groups: number of groups of channels that are convolved apart.
        deform_groups: number of groups of channels that are shifted apart.

    Returns:
        (B, O, H', W').
    """
    batch, channels, *_ = x.shape
    *_, rows, columns = offset.shape
    places = weight.shape[2] * weight.shape[3]
    # (B * G, K * H', W', 2)
    grid = _grid(x, offset, weight, stride, padding, dilation, deform_groups)
    maps = x.reshape(batch * deform_groups, channels // deform_groups, *x.shape[2:])
    read = F.grid_sample(maps.to(grid.dtype), grid, padding_mode="zeros", align_corners=False)
    read = read.view(batch, deform_groups, -1, places, rows, columns)
    if mask is not None:
        read = read * mask.view(batch, deform_groups, 1, places, rows, columns)
    read = read.reshape(batch, groups, -1, rows * columns)
    kernel = weight.reshape(groups, weight.shape[0] // groups, -1).to(read.dtype)
    return (kernel @ read).view(batch, -1, rows, columns).to(x.dtype)


def _grid(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    deform_groups: int,
) -> Tensor:
    """Places to read in the units of ``grid_sample``: -1 and 1 are the map's outer edges.

    They are computed in float32.
    """
    batch, _, *out_hw = offset.shape
    shift = offset.float().view(batch, deform_groups, -1, 2, *out_hw)
    kernel_hw = weight.shape[2:]
    tap = torch.stack(
        torch.meshgrid(*(torch.arange(n, device=x.device) for n in kernel_hw), indexing="ij"), -1
    ).view(-1, 2)
    start = torch.stack(
        torch.meshgrid(*(torch.arange(n, device=x.device) for n in out_hw), indexing="ij")
    )  # (2, H', W')
    stride, padding, dilation = (start.new_tensor(pair) for pair in (stride, padding, dilation))
    origin = start * stride.view(2, 1, 1) - padding.view(2, 1, 1)
    # (B, G, K, 2, H', W'), y then x, pixel centres
    place = origin + (tap * dilation)[..., None, None] + shift
    size = shift.new_tensor(x.shape[2:]).view(2, 1, 1)
    scaled = (2 * place + 1) / size - 1
    return scaled.flip(3).movedim(3, -1).reshape(batch * deform_groups, -1, out_hw[1], 2)


def _geometry(keys: dict) -> dict:
    return dict(
        stride=(keys["dH"], keys["dW"]),
        padding=(keys["padH"], keys["padW"]),
        dilation=(keys["dilationH"], keys["dilationW"]),
        groups=keys["group"],
        deform_groups=keys["deformable_group"],
    )


def deform_conv_forward(input, weight, offset, output, columns, ones, **keys) -> None:
    """Fill ``output`` with the deformable convolution of a map.

    Args:
        input: (B, C, H, W) map.
        weight: (O, C / groups, rows, columns) kernel.
        offset: (B, 2 G K, H', W') shifts in pixels, each y then x.
        output: (B, O, H', W') tensor that is written to.
        columns: buffer of the compiled operator; not used.
        ones: buffer of the compiled operator; not used.
        **keys: stride, padding, dilation and groups under mmcv's names (``dH``, ``padH``, ...).
    """
    output.copy_(deform_conv(input, offset, weight, None, **_geometry(keys)))


def deform_conv_backward_input(
    input, offset, grad_output, grad_input, grad_offset, weight, columns, **keys
) -> None:
    """Add the gradients by map and shifts to ``grad_input`` and ``grad_offset``.

    Args:
        input: (B, C, H, W) map.
        offset: (B, 2 G K, H', W') shifts in pixels.
        grad_output: (B, O, H', W') gradient by the output.
        grad_input: tensor like ``input`` that is added to.
        grad_offset: tensor like ``offset`` that is added to.
        weight: (O, C / groups, rows, columns) kernel.
        columns: buffer of the compiled operator; not used.
        **keys: as for :func:`deform_conv_forward`.
    """
    found = _gradients([input, offset, weight], grad_output, _geometry(keys))
    grad_input.add_(found[0])
    grad_offset.add_(found[1])


def deform_conv_backward_parameters(
    input, offset, grad_output, grad_weight, columns, ones, scale=1, **keys
) -> None:
    """Add ``scale`` times the gradient by the kernel to ``grad_weight``.

    Args:
        input: (B, C, H, W) map.
        offset: (B, 2 G K, H', W') shifts in pixels.
        grad_output: (B, O, H', W') gradient by the output.
        grad_weight: (O, C / groups, rows, columns) tensor that is added to.
        columns: buffer of the compiled operator; not used.
        ones: buffer of the compiled operator; not used.
        scale: factor of the gradient. Default: 1.
        **keys: as for :func:`deform_conv_forward`.
    """
    # The output is linear in the weight, so the value of the weight does not matter.
    weight = torch.zeros_like(grad_weight)
    grad_weight.add_(
        _gradients([input, offset, weight], grad_output, _geometry(keys))[2], alpha=scale
    )


def _modulated_geometry(keys: dict) -> dict:
    return dict(
        stride=(keys["stride_h"], keys["stride_w"]),
        padding=(keys["pad_h"], keys["pad_w"]),
        dilation=(keys["dilation_h"], keys["dilation_w"]),
        groups=keys["group"],
        deform_groups=keys["deformable_group"],
    )


def modulated_deform_conv_forward(
    input, weight, bias, ones, offset, mask, output, columns, **keys
) -> None:
    """Fill ``output`` with the modulated deformable convolution of a map.

    Args:
        input: (B, C, H, W) map.
        weight: (O, C / groups, rows, columns) kernel.
        bias: (O,) that is added if ``with_bias``.
        ones: buffer of the compiled operator; not used.
        offset: (B, 2 G K, H', W') shifts in pixels, each y then x.
        mask: (B, G K, H', W') factor of each value that is read.
        output: (B, O, H', W') tensor that is written to.
        columns: buffer of the compiled operator; not used.
        **keys: ``with_bias``, and stride, padding, dilation and groups under mmcv's names
            (``stride_h``, ``pad_h``, ...).
    """
    output.copy_(deform_conv(input, offset, weight, mask, **_modulated_geometry(keys)))
    if keys["with_bias"]:
        output.add_(bias.view(-1, 1, 1))


def modulated_deform_conv_backward(
    input,
    weight,
    bias,
    ones,
    offset,
    mask,
    columns,
    grad_input,
    grad_weight,
    grad_bias,
    grad_offset,
    grad_mask,
    grad_output,
    **keys,
) -> None:
    """Add the gradients to ``grad_input``, ``_weight``, ``_bias``, ``_offset`` and ``_mask``.

    Args:
        input: (B, C, H, W) map.
        weight: (O, C / groups, rows, columns) kernel.
        bias: (O,); not used, since the gradient does not depend on it.
        ones: buffer of the compiled operator; not used.
        offset: (B, 2 G K, H', W') shifts in pixels.
        mask: (B, G K, H', W') factors.
        columns: buffer of the compiled operator; not used.
        grad_input: tensor like ``input`` that is added to.
        grad_weight: tensor like ``weight`` that is added to.
        grad_bias: tensor like ``bias`` that is added to if ``with_bias``.
        grad_offset: tensor like ``offset`` that is added to.
        grad_mask: tensor like ``mask`` that is added to.
        grad_output: (B, O, H', W') gradient by the output.
        **keys: as for :func:`modulated_deform_conv_forward`.
    """
    found = _gradients([input, offset, weight, mask], grad_output, _modulated_geometry(keys))
    for gradient, more in zip(
        (grad_input, grad_offset, grad_weight, grad_mask), found, strict=True
    ):
        gradient.add_(more)
    if keys["with_bias"]:
        grad_bias.add_(grad_output.sum((0, 2, 3)))


def _gradients(inputs: list[Tensor], grad_output: Tensor, geometry: dict) -> tuple[Tensor, ...]:
    """Gradients by map, offset, weight and, when ``inputs`` has four tensors, mask."""
    inputs = [tensor.detach().requires_grad_() for tensor in inputs]
    x, offset, weight, *mask = inputs
    with torch.enable_grad():
        output = deform_conv(x, offset, weight, mask[0] if mask else None, **geometry)
    return torch.autograd.grad(output, inputs, grad_output)
