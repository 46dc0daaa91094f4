"""Interface between a detector and a backbone that carries state."""

from __future__ import annotations

from abc import abstractmethod

from mmengine.model import BaseModule
from torch import Tensor


class RecurrentBackbone(BaseModule):
    """Backbone over clips of frames that takes its recurrent state as an argument and returns it.

    ``forward(x, states)`` takes frames (T, B, C, H, W) and the states, ``None`` at the start of a
    stream. It returns a tuple of maps (T, B, C_i, H / s_i, W / s_i), one per entry of
    ``out_channels`` and ``out_strides``, and the new states. The states are a tuple with one entry
    per stage. An entry is a tuple of tensors (B, C, H, W), such as (h, c) of an LSTM. A run over
    T = 10 frames equals a run over 4 and then over 6 with the states passed on.
    """

    out_channels: tuple[int, ...]
    out_strides: tuple[int, ...]
    size_divisor: tuple[int, int]  # height and width of a padded frame are multiples of these

    @abstractmethod
    def forward(
        self, x: Tensor, states: tuple | None = None
    ) -> tuple[tuple[Tensor, ...], tuple]: ...
