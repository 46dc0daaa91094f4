"""Arrays that a process shares with the processes that it starts, instead of copying them.

Loading processes get the data set that they load from. A forked process sees the memory of its
parent. To a spawned one everything is sent, arrays byte by byte. Arrays that :func:`share` moved
are not: only the number of a file is sent, and both processes map that file. It has no name and
lies in memory only. So ``/dev/shm`` does not limit its size, and a killed process leaves nothing
behind.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from multiprocessing.context import get_spawning_popen
from multiprocessing.reduction import DupFd

import numpy as np

_ALIGNED = 64  # bytes: every array begins at a multiple, as NumPy's own do
# From this size on arrays get memory of their own, which goes back to the system when they are
# moved. That of small arrays would stay with the process.
_LARGE_BYTES = 1 << 16
_ANONYMOUS = -1
_Place = tuple[int, tuple[int, ...], str]  # first byte, shape and type of an array


class SharedArrays(Mapping[str, np.ndarray]):
    """Arrays by name, which can only be read. After :func:`share` they lie in shared memory.

    Sent to a process that is being started they are then not copied; anywhere else they are.

    Args:
        arrays: the arrays by name; they are copied if they are large.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._arrays = {name: _read_only(array) for name, array in arrays.items()}
        self._memory: _Memory | None = None
        self._places: dict[str, _Place] = {}
        if self.num_bytes >= _LARGE_BYTES:
            with suppress(OSError):  # a process may have only so many memories: 65,530 on Linux
                self._move(_Memory(self.num_bytes), 0)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    @property
    def num_bytes(self) -> int:
        """Bytes that the arrays need in shared memory."""
        return sum(map(_padded_bytes, self._arrays.values()))

    @property
    def is_shared(self) -> bool:
        """Whether :func:`share` moved the arrays."""
        return self._memory is not None and self._memory.number != _ANONYMOUS

    def __reduce__(self) -> tuple:
        if self.is_shared and is_sent_to_new_process():
            return _attached, (self._memory, self._places)
        return SharedArrays, (self._arrays,)

    def _move(self, memory: _Memory, first: int) -> int:
        """Copy the arrays into a memory from byte ``first`` on; returns the byte behind them."""
        for name, array in self._arrays.items():
            self._places[name] = first, array.shape, array.dtype.str
            memory.view(self._places[name], writable=True)[...] = array
            self._arrays[name] = memory.view(self._places[name])
            first += _padded_bytes(array)
        self._memory = memory
        return first


def is_sent_to_new_process() -> bool:
    """Whether the object that is being pickled goes to a process that is being started."""
    return get_spawning_popen() is not None


def share(owners: Iterable[SharedArrays]) -> None:
    """Move the arrays of all owners into one shared memory.

    Args:
        owners: arrays to move; those that were moved before stay where they are.
    """
    moving = [owner for owner in owners if not owner.is_shared]
    num_bytes = sum(owner.num_bytes for owner in moving)
    memory = _Memory(num_bytes, _nameless_file(num_bytes))
    first = 0
    for owner in moving:
        first = owner._move(memory, first)


class _Memory:
    """Memory that forked processes share, and others if it is the content of a file.

    Args:
        num_bytes: its size.
        number: descriptor of an open file of this size, which is closed with the memory. Default:
            no file.
    """

    def __init__(self, num_bytes: int, number: int = _ANONYMOUS) -> None:
        self.num_bytes = num_bytes
        self.number = number
        self._map = mmap.mmap(number, max(num_bytes, 1))

    def view(self, place: _Place, writable: bool = False) -> np.ndarray:
        first, shape, dtype = place
        array = np.ndarray(shape, dtype, self._map, first)
        return array if writable else _read_only(array)

    def __reduce__(self) -> tuple:
        return _mapped, (self.num_bytes, DupFd(self.number))

    def __del__(self) -> None:
        if self.number != _ANONYMOUS:
            os.close(self.number)


def _read_only(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view


def _padded_bytes(array: np.ndarray) -> int:
    return -(-array.nbytes // _ALIGNED) * _ALIGNED


def _attached(memory: _Memory, places: dict[str, _Place]) -> SharedArrays:
    arrays = SharedArrays({})
    arrays._memory = memory
    arrays._places = places
    arrays._arrays = {name: memory.view(place) for name, place in places.items()}
    return arrays


def _mapped(num_bytes: int, number: object) -> _Memory:
    return _Memory(num_bytes, number.detach())


def _nameless_file(num_bytes: int) -> int:
    """Descriptor of a new file without a name: in memory, or on disk where systems lack those."""
    if hasattr(os, "memfd_create"):
        number = os.memfd_create("arrays")
    else:
        with tempfile.TemporaryFile() as file:
            number = os.dup(file.fileno())
    os.ftruncate(number, max(num_bytes, 1))
    return number
