"""Counts the memory of all tensors that live at one time."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from etram_mmdet.utils.private_names import private

_DispatchMode = private("torch.utils._python_dispatch.TorchDispatchMode") or object
_FakeTensor = private("torch._subclasses.fake_tensor.FakeTensor") or ()
BLOCK_BYTES = 512  # PyTorch's allocator on a GPU gives whole blocks
_READ_AS = 1  # what a fake number is taken for where the code reads it


def block_bytes(size: int) -> int:
    """Bytes that PyTorch's allocator on a GPU gives for ``size`` bytes.

    Args:
        size: bytes of a tensor.
    """
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES


class LiveBytes(_DispatchMode):
    """Within its block, counts the bytes of tensors that operators made and nobody freed yet.

    Memory that several tensors share counts once. Fake tensors count as if they were real. What
    follows from a fake tensor's numbers has to be assumed: a search finds ``found`` elements, and
    a number that is read is one.

    Args:
        known: tensors that exist already and are not counted.
        found: the most elements that a search in a fake tensor finds.

    Attributes:
        now: bytes that live now.
        peak: the largest ``now`` so far.
    """

    def __init__(self, known: Iterable[Tensor], found: int) -> None:
        super().__init__()
        self.now = 0
        self.peak = 0
        self._found = found
        self._seen = weakref.WeakSet(tensor.untyped_storage() for tensor in known)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        answer = self._assumed(function, args, kwargs)
        if answer is None:
            result = function(*self._with_indices(function, args), **kwargs)
        else:
            result = answer
        for tensor in _tensors_in(result):
            self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self._seen:
            return
        size = block_bytes(storage.nbytes())
        self._seen.add(storage)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._freed, size)

    def _freed(self, size: int) -> None:
        self.now -= size

    def _assumed(self, function, args: tuple, kwargs: dict) -> object | None:
        """Result of an operator that depends on a fake tensor's numbers; else None."""
        aten = torch.ops.aten
        if not (args and isinstance(args[0], _FakeTensor)):
            return None
        values = args[0]
        if function is aten.nonzero.default:
            return self._places(values)
        if function is aten._local_scalar_dense.default:
            return float(_READ_AS) if values.dtype.is_floating_point else _READ_AS
        if function is aten.bincount.default:
            return values.new_empty(max(kwargs.get("minlength", 0), 1))
        if function is aten._unique2.default:  # values, places of all, counts
            some = min(values.numel(), self._found)
            places = torch.empty_like(values, dtype=torch.long)
            return values.new_empty(some), places, values.new_empty(some, dtype=torch.long)
        return None

    def _places(self, mask: Tensor) -> Tensor:
        rows = min(mask.numel(), self._found)
        return mask.new_empty(rows, mask.dim(), dtype=torch.long)

    def _with_indices(self, function, args: tuple) -> tuple:
        """Puts as many indices in the place of a fake mask as a search in it finds."""
        aten = torch.ops.aten
        if function not in (aten.index.Tensor, aten.index_put.default, aten.index_put_.default):
            return args
        indices = []
        for index in args[1]:
            is_mask = isinstance(index, _FakeTensor) and index.dtype in (torch.bool, torch.uint8)
            indices += self._places(index).unbind(1) if is_mask else [index]
        return (args[0], indices, *args[2:])


def _tensors_in(result: object) -> Iterator[Tensor]:
    if isinstance(result, Tensor):
        yield result
    elif isinstance(result, tuple | list):
        for each in result:
            yield from _tensors_in(each)
