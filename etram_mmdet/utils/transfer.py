"""Copies between host and device that make the host wait as little as possible.

A copy from or to host memory that is not pinned makes the host wait until a GPU has finished all
earlier work. Many small copies cost more than one of the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

import torch
from torch import Tensor

_ALIGNMENT = 16  # bytes, a multiple of the size of every number
_WITHOUT_PINNING = ("cpu", "meta", "mps")


def to_device(tensor: Tensor, device: torch.device | str, non_blocking: bool = True) -> Tensor:
    """Copy one tensor to a device, as :func:`all_to_device` does with several.

    Args:
        tensor: a tensor in host memory.
        device: a GPU or the CPU.
        non_blocking: whether the host goes on during the copy. Default: yes.
    """
    return all_to_device([tensor], device, non_blocking)[0]


def all_to_device(
    tensors: Sequence[Tensor], device: torch.device | str, non_blocking: bool = True
) -> list[Tensor]:
    """Copy tensors to a device together, by one copy from pinned memory.

    The results share one block of memory of the device, which is freed with the last of them.
    Tensors that are on a device already are not packed.

    Args:
        tensors: tensors in host memory, of any shapes and number formats.
        device: a GPU, or the CPU, to which nothing is copied.
        non_blocking: whether the host goes on during the copy. Default: yes.
    """
    is_packed = torch.device(device).type not in _WITHOUT_PINNING and all(
        tensor.device.type == "cpu" for tensor in tensors
    )
    if not is_packed:
        return [tensor.to(device, non_blocking=non_blocking) for tensor in tensors]
    packed = torch.empty(_total_length(tensors), dtype=torch.uint8, pin_memory=True)
    _copy_into(packed, tensors)
    return list(_views(packed.to(device, non_blocking=non_blocking), tensors))


def all_to_host(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copy tensors of one device to host memory together, for which the host waits once.

    Args:
        tensors: tensors of any shapes and number formats.
    """
    if not tensors or tensors[0].device.type == "cpu":
        return list(tensors)
    packed = tensors[0].new_empty(_total_length(tensors), dtype=torch.uint8)
    _copy_into(packed, tensors)
    return list(_views(packed.cpu(), tensors))


def _lengths(tensors: Sequence[Tensor]) -> list[int]:
    """Bytes of each tensor, filled up so that the next one is aligned."""
    return [-(-tensor.nbytes // _ALIGNMENT) * _ALIGNMENT for tensor in tensors]


def _total_length(tensors: Sequence[Tensor]) -> int:
    return sum(_lengths(tensors))


def _views(packed: Tensor, tensors: Sequence[Tensor]) -> Iterator[Tensor]:
    """The part of ``packed`` for each tensor, with its shape and number format."""
    starts = accumulate(_lengths(tensors), initial=0)
    for start, tensor in zip(starts, tensors, strict=False):
        part = packed[start : start + tensor.nbytes]
        yield part.view(tensor.dtype).view(tensor.shape)


def _copy_into(packed: Tensor, tensors: Sequence[Tensor]) -> None:
    for view, tensor in zip(_views(packed, tensors), tensors, strict=True):
        view.copy_(tensor)
