"""A buffer is read from the device once, and again after it has changed."""

from __future__ import annotations

import copy

import pytest
import torch

from etram_mmdet.utils.host_copy import HostCopy
from tests.cuda_stand_in import device  # noqa: F401
from tests.cuda_stand_in.memory import DEVICE
from tests.cuda_stand_in.waits import recorded


class Counting(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("number", torch.zeros((), dtype=torch.long))
        self.known = HostCopy()

    def read(self) -> int:
        return int(self.known.of(self.number))


@pytest.fixture
def counting():
    module = Counting().to(DEVICE)
    assert module.read() == 0
    return module


def load(module: Counting) -> None:
    module.load_state_dict({"number": torch.tensor(3)})


@pytest.mark.parametrize(
    "change", [lambda module: module.number.add_(3), load, lambda module: module.number.fill_(3)]
)
def test_a_changed_buffer_is_read_once_more(change, counting):
    with recorded() as seen:
        assert counting.read() == 0
        assert not seen
    change(counting)
    with recorded() as seen:
        assert counting.read() == counting.read() == 3
        assert len(seen) == 1


def test_what_the_caller_knows_is_not_read(counting):
    counting.number += 1
    counting.known.keep(counting.number, torch.tensor(1))
    with recorded() as seen:
        assert counting.read() == 1 and not seen


def test_a_copied_or_moved_module_has_values_of_its_own(counting):
    other = copy.deepcopy(counting)
    other.number += 5
    moved = copy.deepcopy(counting).cpu()
    moved.number += 7
    assert (counting.read(), other.read(), moved.read()) == (0, 5, 7)


def test_another_buffer_in_its_place_is_read(counting):
    counting.number = torch.full((), 9, device=DEVICE)
    assert counting.read() == 9
