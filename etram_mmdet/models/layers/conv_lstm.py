"""Convolutional LSTM whose gates mix channels only.

Optionally a depthwise convolution of the hidden state comes before the gates.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from etram_mmdet.models.layers.exporting import is_exporting
from etram_mmdet.utils.errors import InputError

State = tuple[Tensor, Tensor]  # hidden and cell, each (B, C, H, W)


class ConvLSTM(nn.Module):
    """LSTM over time at every pixel of maps (T, B, C, H, W).

    It takes maps and a state, and returns the hidden states (T, B, C, H, W) and the last state.
    Gates come in the order forget, input, output, cell input and are a 1x1 convolution of (input,
    hidden), as in RVT. The input's half of the gates does not depend on time and is computed for
    all steps at once. A 1x1 convolution of channels-last maps is a matrix product of their pixels,
    which spares the convolution's layout changes. In half precision the cell stays in float32,
    where small changes still add up over a long stream.

    Args:
        channels: C.
        dws_conv: whether the hidden state first passes a 3x3 depthwise convolution, so that memory
            can move in space. Default: no.

    Raises:
        InputError: a state does not fit the maps, such as that of a run with other frames.
    """

    def __init__(self, channels: int, dws_conv: bool = False) -> None:
        super().__init__()
        self.channels = channels
        self.hidden_conv = (
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels) if dws_conv else None
        )
        self.gates = nn.Conv2d(2 * channels, 4 * channels, 1)

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        map_shape = x[0].movedim(-3, -1).shape  # (B, H, W, C)
        weight_x, weight_h = self.gates.weight.flatten(1).split(self.channels, dim=1)
        gates_x = F.linear(_pixels(x), weight_x, self.gates.bias)  # (T, B * H * W, 4 C)
        hidden, cell = (_pixels(rows) for rows in _fitting(state, x[0]) or _zero_state(x[0]))
        hiddens = []
        # `out` is not cast
        is_cast = torch.is_autocast_enabled(x.device.type)
        spares_a_copy = not (torch.is_grad_enabled() or is_cast or is_exporting())
        for gates in gates_x:
            context = hidden
            if self.hidden_conv is not None:
                context = _pixels(self.hidden_conv(_maps(hidden.view(map_shape))))
            gates = torch.addmm(gates, context, weight_h.t(), out=gates if spares_a_copy else None)
            hidden, cell = self._update(gates, cell)
            hidden = hidden.to(x.dtype)
            hiddens.append(hidden)
        states = _maps(hidden.view(map_shape)), _maps(cell.view(map_shape))
        return _maps(torch.stack(hiddens).view(-1, *map_shape)), states

    def _update(self, gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        forget, update, output, new = gates.chunk(4, dim=-1)
        cell = torch.addcmul(forget.sigmoid() * cell, update.sigmoid(), new.tanh())
        return output.sigmoid() * cell.tanh(), cell


def _fitting(state: State | None, x: Tensor) -> State | None:
    """The state, checked, with its hidden half in the precision of the maps."""
    if state is None:
        return None
    if any(rows.shape != x.shape for rows in state):
        raise InputError(
            f"ConvLSTM: the state has shape {tuple(state[0].shape)}, expected {tuple(x.shape)} as "
            "the maps; the frames changed size, so start the stream again with states=None"
        )
    hidden, cell = state
    return hidden.to(x.dtype), cell


def _zero_state(x: Tensor) -> State:
    return torch.zeros_like(x), torch.zeros_like(
        x, dtype=torch.promote_types(x.dtype, torch.float32)
    )


def _pixels(maps: Tensor) -> Tensor:
    """(..., B, C, H, W) -> (..., B * H * W, C)"""
    return maps.movedim(-3, -1).flatten(-4, -2)


def _maps(pixels: Tensor) -> Tensor:
    """(..., H, W, C) -> (..., C, H, W), channels last in memory."""
    return pixels.movedim(-1, -3)
