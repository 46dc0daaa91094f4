"""New HDF5 files, also on a disk that is full."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import h5py


@contextmanager
def new_hdf5(path: Path) -> Iterator[h5py.File]:
    """An empty HDF5 file to write to, closed at the end.

    Raises:
        OSError, RuntimeError: what HDF5 makes of a file that cannot be written; the system's number is in the text.
    """
    file = h5py.File(path, "w")
    number = file.id.get_vfd_handle()
    try:
        with file:
            yield file
    except BaseException:
        _let_go(path, number)
        raise


def _let_go(path: Path, number: int) -> None:
    """Lead what HDF5 still wants to write to nowhere: it tries again, and prints a traceback, for every object."""
    with suppress(OSError):
        if os.path.samestat(os.fstat(number), path.stat()):
            nowhere = os.memfd_create("nowhere")
            os.dup2(nowhere, number)
            os.close(nowhere)
