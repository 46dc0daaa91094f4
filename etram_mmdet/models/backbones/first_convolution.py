"""Adapt mmdet's backbones for colour images to frames of events."""

from __future__ import annotations

from torch import nn

from etram_mmdet.utils.errors import InputError

IMAGE_CHANNELS = 3


def take_channels(backbone: nn.Module, in_channels: int) -> None:
    """Replace the first convolution of a backbone for images by one that reads ``in_channels``.

    This is for backbones without a key ``in_channels``, such as CSPNeXt. CSPDarknet's first
    convolution reads four pixels of each channel at once; the new one does, too. The new
    convolution has new random weights; pretrained weights of the rest may be loaded.

    Args:
        backbone: a backbone, which is changed in place. If ``in_channels`` is 3, as for images, it
            is not changed.
        in_channels: channels of a frame.

    Raises:
        InputError: the first convolution does not read three channels.
    """
    name, conv = next(
        ((n, m) for n, m in backbone.named_modules() if isinstance(m, nn.Conv2d)), ("", None)
    )
    if conv is None or conv.in_channels % IMAGE_CHANNELS or conv.groups != 1:
        raise InputError(
            f"RecurrentDetector: in_channels={in_channels}, but {type(backbone).__name__} has no "
            "key in_channels, and its first convolution is not one that reads the three channels "
            "of an image; use another backbone"
        )
    if in_channels == IMAGE_CHANNELS:
        return
    wider = nn.Conv2d(
        conv.in_channels // IMAGE_CHANNELS * in_channels,
        conv.out_channels,
        conv.kernel_size,
        conv.stride,
        conv.padding,
        conv.dilation,
        bias=conv.bias is not None,
        padding_mode=conv.padding_mode,
    )
    parent, _, attribute = name.rpartition(".")
    setattr(backbone.get_submodule(parent), attribute, wider)
