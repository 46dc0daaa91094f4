"""Convolutional LSTM whose gates mix channels only, optionally after a depthwise convolution of the hidden state."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

State = tuple[Tensor, Tensor]  # hidden and cell, each (B, C, H, W)


class ConvLSTM(nn.Module):
    """LSTM over time at every pixel: (T, B, C, H, W) and a state -> the hidden states (T, B, C, H, W) and a state.

    Gates come in the order forget, input, output, cell input and are a 1x1 convolution of (input, hidden), as in RVT.
    With ``dws_conv`` the hidden state first passes a 3x3 depthwise convolution, so that memory can move in space.
    The input's half of the gates does not depend on time and is computed for all steps at once.
    """

    def __init__(self, channels: int, dws_conv: bool = False) -> None:
        super().__init__()
        self.channels = channels
        self.hidden_conv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels) if dws_conv else nn.Identity()
        self.gates = nn.Conv2d(2 * channels, 4 * channels, 1)

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        weight_x, weight_h = self.gates.weight.split(self.channels, dim=1)
        gates_x = F.conv2d(x.flatten(0, 1), weight_x, self.gates.bias).unflatten(0, x.shape[:2])
        hidden, cell = (torch.zeros_like(x[0]), torch.zeros_like(x[0])) if state is None else state
        hiddens = []
        for step in gates_x:
            gates = step + F.conv2d(self.hidden_conv(hidden), weight_h)
            forget, update, output, candidate = gates.chunk(4, dim=1)
            cell = forget.sigmoid() * cell + update.sigmoid() * candidate.tanh()
            hidden = output.sigmoid() * cell.tanh()
            hiddens.append(hidden)
        return torch.stack(hiddens), (hidden, cell)
