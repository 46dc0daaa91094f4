"""Arrays that a process shares with the processes that it starts, instead of copying them.

Loading processes get the data set that they load from. A forked process sees the memory of its
parent in any case. To a spawned one everything is sent, arrays byte by byte. Arrays that lie in one
:class:`_SharedMemory` are not: only the number of its file is sent, and both processes map that
file. It has no name and lies in memory only, so neither the size of ``/dev/shm`` limits it nor does
a killed process leave it behind.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from multiprocessing.context import get_spawning_popen
from multiprocessing.reduction import DupFd

import numpy as np

_ALIGNED = 64  # bytes: every array begins at a multiple, as NumPy's own do
_Place = tuple[int, tuple[int, ...], str]  # first byte, shape and type of an array


class SharedArrays(Mapping[str, np.ndarray]):
    """Arrays by name. After :func:`share` they lie in shared memory and can only be read.

    Sent to a process that is being started they are not copied, anywhere else they are.

    Args:
        arrays: the arrays by name.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._arrays = dict(arrays)
        self._memory: _SharedMemory | None = None
        self._places: dict[str, _Place] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    @property
    def num_bytes(self) -> int:
        """Bytes that the arrays need in shared memory."""
        return sum(-(-array.nbytes // _ALIGNED) * _ALIGNED for array in self._arrays.values())

    def __reduce__(self) -> tuple:
        if self._memory is None or get_spawning_popen() is None:
            return SharedArrays, (self._arrays,)
        return _attached, (self._memory, self._places)

    def _move(self, memory: _SharedMemory, first: int) -> None:
        """Copy the arrays into a memory, one after the other, and forget the old ones."""
        for name, array in self._arrays.items():
            self._places[name] = (first, array.shape, array.dtype.str)
            memory.view(self._places[name], writable=True)[...] = array
            self._arrays[name] = memory.view(self._places[name])
            first += -(-array.nbytes // _ALIGNED) * _ALIGNED
        self._memory = memory


def share(owners: Iterable[SharedArrays]) -> None:
    """Move the arrays of all owners into one shared memory.

    Args:
        owners: arrays to move; those that were moved before stay where they are.
    """
    moving = [owner for owner in owners if owner._memory is None]
    memory = _SharedMemory(sum(owner.num_bytes for owner in moving))
    first = 0
    for owner in moving:
        num_bytes = owner.num_bytes
        owner._move(memory, first)
        first += num_bytes


class _SharedMemory:
    """Memory that two processes map, ``num_bytes`` long.

    Args:
        num_bytes: its size.
        number: file descriptor of a memory of this size. Default: a new one.
    """

    def __init__(self, num_bytes: int, number: int | None = None) -> None:
        self._num_bytes = num_bytes
        self._number = _nameless_file(num_bytes) if number is None else number
        self._map = mmap.mmap(self._number, max(num_bytes, 1))

    def view(self, place: _Place, writable: bool = False) -> np.ndarray:
        first, shape, dtype = place
        array = np.ndarray(shape, dtype, self._map, first)
        array.flags.writeable = writable
        return array

    def __reduce__(self) -> tuple:
        return _mapped, (self._num_bytes, DupFd(self._number))

    def __del__(self) -> None:
        if hasattr(self, "_number"):
            os.close(self._number)


def _attached(memory: _SharedMemory, places: dict[str, _Place]) -> SharedArrays:
    arrays = SharedArrays({name: memory.view(place) for name, place in places.items()})
    arrays._memory = memory
    arrays._places = places
    return arrays


def _mapped(num_bytes: int, number: object) -> _SharedMemory:
    return _SharedMemory(num_bytes, number.detach())


def _nameless_file(num_bytes: int) -> int:
    """File descriptor of a new file without a name: in memory, or where that is unknown on disk."""
    if hasattr(os, "memfd_create"):
        number = os.memfd_create("arrays")
    else:
        with tempfile.TemporaryFile() as file:
            number = os.dup(file.fileno())
    os.ftruncate(number, max(num_bytes, 1))
    return number
