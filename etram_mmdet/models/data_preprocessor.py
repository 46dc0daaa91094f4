"""From loaded clips to the tensors that a recurrent detector takes."""

from __future__ import annotations

import math

import torch
from mmdet.registry import MODELS
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from etram_mmdet.events.errors import InputError


@MODELS.register_module()
class EventDataPreprocessor(BaseDataPreprocessor):
    """Stack clips in time-first order, pad them and say which frames matter.

    Takes ``inputs``: one (T, C, H, W) of bytes per lane, ``data_samples``: one ``TrackDataSample`` per lane. Returns
    ``inputs`` float (T, B, C, H', W') with zeros right and below up to multiples of ``size_divisor`` (height, width),
    ``is_first`` (B,) and ``is_labelled`` (T, B), both bool. Counts stay raw, as in RVT: there is nothing to normalise.

    ``size_divisor`` left ``None`` is filled by the detector from its backbone.

    Raises:
        InputError: when clips of one batch differ in shape.
    """

    def __init__(self, size_divisor: tuple[int, int] | None = None, non_blocking: bool = True) -> None:
        super().__init__(non_blocking)
        self.size_divisor = size_divisor

    def forward(self, data: dict, training: bool = False) -> dict:
        clips, samples = data["inputs"], data["data_samples"]
        if len({clip.shape for clip in clips}) > 1:
            shapes = sorted({tuple(clip.shape) for clip in clips})
            raise InputError(
                f"EventDataPreprocessor: clips of one batch have shapes (T, C, H, W) {shapes}; recordings of one data "
                "set must share sensor size and representation"
            )
        inputs = self.pad(self.cast_data(torch.stack(list(clips), dim=1)))  # (T, B, C, H', W')
        padded_hw = tuple(inputs.shape[-2:])
        for frame in (f for sample in samples for f in sample):
            frame.set_metainfo(dict(batch_input_shape=padded_hw, pad_shape=padded_hw))
        return dict(
            inputs=inputs,
            data_samples=self.cast_data(samples),
            is_first=self._mask([sample[0].is_first for sample in samples]),
            is_labelled=self._mask([[f.is_labelled for f in sample] for sample in samples]).t(),
        )

    def pad(self, x: Tensor) -> Tensor:
        """Bytes to padded floats, in one pass; channels last in memory, as the backbone's convolution wants them."""
        *outer, channels, h, w = x.shape
        dh, dw = self.size_divisor or (1, 1)
        padded = x.new_zeros(*outer, math.ceil(h / dh) * dh, math.ceil(w / dw) * dw, channels, dtype=torch.float)
        padded = padded.movedim(-1, -3)
        padded[..., :h, :w].copy_(x)
        return padded

    def _mask(self, values: list) -> Tensor:
        return torch.tensor(values, dtype=torch.bool, device=self.device)
