"""Turn loaded clips into the tensors that a recurrent detector takes."""

from __future__ import annotations

import math

import torch
from mmdet.registry import MODELS
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from etram_mmdet.models.data_preprocessors.moved_samples import moved
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.transfer import all_to_device


@MODELS.register_module()
class EventDataPreprocessor(BaseDataPreprocessor):
    """Stacks clips in time-first order, pads them and marks first and labelled frames.

    It takes ``inputs``, one (T, C, H, W) of bytes per lane, and ``data_samples``, one
    ``TrackDataSample`` per lane. It returns ``inputs`` as floats (T, B, C, H', W') with zeros right
    and below, ``is_first`` (B,) and ``is_labelled`` (T, B), both bool. These two stay in host
    memory, since they decide what is computed.

    All clips go to a GPU by one copy from pinned memory, and all boxes by another.

    Counts stay raw, as in RVT: there is nothing to normalise. Under autocast ``inputs`` have its
    precision, which holds counts of bytes exactly and to which the first convolution would convert
    them.

    Args:
        size_divisor: H' and W' are multiples of these, in pixels (height, width). Default: the
            detector fills it in from its backbone.
        non_blocking: whether the processor goes on while inputs are copied to a GPU. Default: yes.

    Raises:
        InputError: clips of one batch differ in shape.
    """

    def __init__(
        self, size_divisor: tuple[int, int] | None = None, non_blocking: bool = True
    ) -> None:
        super().__init__(non_blocking)
        self.size_divisor = size_divisor
        self.non_blocking = non_blocking

    def forward(self, data: dict, training: bool = False) -> dict:
        clips = data["inputs"]
        samples = data["data_samples"]
        if len({clip.shape for clip in clips}) > 1:
            shapes = sorted({tuple(clip.shape) for clip in clips})
            raise InputError(
                f"EventDataPreprocessor: clips of one batch have shapes (T, C, H, W) {shapes}; "
                "recordings of one data set must share sensor size and representation"
            )
        inputs = torch.stack(all_to_device(clips, self.device, self.non_blocking), dim=1)
        inputs = self.pad(inputs, _autocast_dtype(inputs.device.type))  # (T, B, C, H', W')
        padded_hw = tuple(inputs.shape[-2:])
        for frame in (f for sample in samples for f in sample):
            frame.set_metainfo(dict(batch_input_shape=padded_hw, pad_shape=padded_hw))
        return dict(
            inputs=inputs,
            data_samples=moved(samples, self.device, self.non_blocking),
            is_first=torch.tensor([sample[0].is_first for sample in samples], dtype=torch.bool),
            is_labelled=torch.tensor(
                [[f.is_labelled for f in sample] for sample in samples], dtype=torch.bool
            ).t(),
        )

    def pad(self, x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Padded frames of ``dtype``, channels last in memory, as the backbone wants them."""
        *outer, channels, h, w = x.shape
        dh, dw = self.size_divisor or (1, 1)
        padded = x.new_empty(
            *outer, math.ceil(h / dh) * dh, math.ceil(w / dw) * dw, channels, dtype=dtype
        )
        padded = padded.movedim(-1, -3)
        padded[..., :h, :w].copy_(x)
        padded[..., h:, :].zero_()
        padded[..., :h, w:].zero_()
        return padded


def _autocast_dtype(device: str) -> torch.dtype:
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32
