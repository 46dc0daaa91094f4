"""Tensors of the stand-in device, which lie in the memory of CPU tensors.

The storage of such a tensor says that it is on the device, and keeps the CPU storage whose memory
it shows as an attribute ``host``. Strides, views, autograd and optimizers are PyTorch's own.
"""

from __future__ import annotations

import torch
from torch import Tensor, UntypedStorage

NAME = "standin"
DEVICE = f"{NAME}:0"


def keys(name: str) -> torch._C.DispatchKeySet:
    """The set that holds one dispatch key.

    Args:
        name: of the key, such as ``CPU``.
    """
    return torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, name))


def is_on_device(value: object) -> bool:
    """Whether a value is a tensor on the stand-in device.

    Args:
        value: anything.
    """
    return isinstance(value, Tensor) and value.device.type == NAME


def host_view(tensor: Tensor) -> Tensor:
    """The same memory as a CPU tensor.

    Args:
        tensor: on the device.
    """
    memory = tensor.untyped_storage().host
    empty = torch.empty(0, dtype=tensor.dtype)
    return empty.set_(memory, tensor.storage_offset(), tensor.shape, tensor.stride())


def device_storage(memory: UntypedStorage) -> UntypedStorage:
    """A storage of the device that shows the memory of a CPU storage.

    Args:
        memory: the CPU storage, which lives as long as the result.
    """
    storage = torch._C._construct_storage_from_data_pointer(
        memory.data_ptr(), torch.device(DEVICE), len(memory)
    )
    storage.host = memory
    return storage


def set_storage(tensor: Tensor, *where) -> Tensor:
    """``Tensor.set_`` for tensors of the device, by the CPU's kernel, which computes nothing.

    Args:
        tensor: is changed in place.
        where: storage, offset, shape and strides.
    """
    operator = torch.ops.aten.set_.source_Storage_storage_offset
    return operator.redispatch(keys("CPU"), tensor, *where)


def lay_over(tensor: Tensor, like: Tensor, storage: UntypedStorage | None = None) -> Tensor:
    """Give a tensor of the device the shape, the strides and the memory of a CPU tensor, in place.

    Args:
        tensor: on the device.
        like: the CPU tensor.
        storage: a storage of the device that shows the memory of ``like``. Default: a new one.
    """
    storage = device_storage(like.untyped_storage()) if storage is None else storage
    return set_storage(tensor, storage, like.storage_offset(), like.shape, like.stride())


def on_device(like: Tensor, storage: UntypedStorage | None = None) -> Tensor:
    """A new tensor of the device in the memory of a CPU tensor.

    Args:
        like: the CPU tensor.
        storage: as in :func:`lay_over`.
    """
    return lay_over(torch._C._acc.create_empty_tensor((0,), like.dtype), like, storage)
