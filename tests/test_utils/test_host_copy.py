"""The values of a buffer are read again when the buffer has changed, in copies of a model too."""

from __future__ import annotations

import copy

import torch
from torch import nn

from etram_mmdet.utils.host_copy import HostCopy


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(1))
        self.known = HostCopy()


def test_a_copied_model_reads_its_own_buffer():
    model = Counting()
    for _ in range(2):
        model.count.add_(1)
    assert model.known.of(model.count).tolist() == [2]
    other = copy.deepcopy(model)
    for _ in range(2):  # as many changes as the buffer of the first model has seen
        other.count.add_(5)
        assert other.known.of(other.count).tolist() == other.count.tolist()
    assert model.known.of(model.count).tolist() == [2]
