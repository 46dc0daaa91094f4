"""Find the channels and strides of a detector's maps by a trial on small frames of zeros."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.random import fork_rng

from etram_mmdet.models.backbones.base import RecurrentBackbone
from etram_mmdet.utils.errors import InputError

# Side of the frame that a backbone without state is tried on, in pixels. It is the largest stride
# that is recognised.
TRIAL_PX = 128
# Pixels of the coarsest map that a neck is tried on: necks that add levels halve it up to three
# times.
COARSEST_PX = 8


class FeatureMaps(NamedTuple):
    """Channels and strides (in pixels of the frame) of the maps of each level, finest first."""

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    def zeros(self, like: nn.Module) -> tuple[Tensor, ...]:
        """Maps of zeros for one square frame, with the device and number format of ``like``."""
        side = COARSEST_PX * max(self.strides)
        weight = next(like.parameters(), torch.empty(0))
        return tuple(
            weight.new_zeros(1, c, side // s, side // s) for c, s in zip(*self, strict=True)
        )


def backbone_maps(backbone: nn.Module, in_channels: int) -> FeatureMaps:
    """Channels and strides of a backbone's maps.

    A :class:`RecurrentBackbone` has them as attributes; other backbones are run on a frame of
    zeros.

    Args:
        backbone: a built backbone.
        in_channels: channels of a frame.

    Raises:
        InputError: the backbone does not take such a frame.
    """
    if isinstance(backbone, RecurrentBackbone):
        return FeatureMaps(tuple(backbone.out_channels), tuple(backbone.out_strides))
    weight = next(backbone.parameters())
    maps = trial("backbone", backbone, weight.new_zeros(1, in_channels, TRIAL_PX, TRIAL_PX))
    return _measured_maps(maps, TRIAL_PX)


def neck_maps(neck: nn.Module, maps: FeatureMaps) -> FeatureMaps:
    """Channels and strides of the maps that a neck makes of a backbone's maps.

    Args:
        neck: a built neck.
        maps: channels and strides of the backbone's maps.

    Raises:
        InputError: the neck does not take such maps.
    """
    return _measured_maps(trial("neck", neck, maps.zeros(neck)), COARSEST_PX * max(maps.strides))


def trial(name: str, module: nn.Module, inputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Run a forward pass that changes no BatchNorm statistics, random numbers or gradients.

    Args:
        name: the part of the detector, such as ``neck``, for the message.
        module: that part.
        inputs: a frame (1, C, H, W), or the maps of each level.

    Raises:
        InputError: the module raised an error, of which the message holds the first line.
    """
    try:
        with _without_traces(module):
            return module(inputs)
    except Exception as error:
        shapes = [tuple(x.shape) for x in ([inputs] if isinstance(inputs, Tensor) else inputs)]
        first = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"RecurrentDetector: {name} {type(module).__name__} does not take tensors of shape "
            f"{', '.join(map(str, shapes))} ({type(error).__name__}: {first})"
        ) from error


@contextmanager
def _without_traces(module: nn.Module) -> Iterator[None]:
    was_training = {part: part.training for part in module.modules()}
    try:
        module.eval()
        with torch.no_grad(), fork_rng(devices=[]):
            yield
    finally:
        for part, flag in was_training.items():
            part.training = flag


def _measured_maps(maps: tuple[Tensor, ...], side_px: int) -> FeatureMaps:
    return FeatureMaps(tuple(m.shape[1] for m in maps), tuple(side_px // m.shape[-1] for m in maps))
