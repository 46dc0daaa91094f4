"""Create HDF5 files so that a full disk ends in an exception, not in repeated tracebacks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import h5py


@contextmanager
def new_hdf5(path: Path) -> Iterator[h5py.File]:
    """Create an empty HDF5 file for writing and close it at the end.

    Args:
        path: the new file.

    Raises:
        OSError, RuntimeError: when the file cannot be written. HDF5 raises either; the system's
            error number is in the text.
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
    """Redirect HDF5's remaining writes to nowhere after an error.

    HDF5 tries again for every object, and prints a traceback each time.
    """
    with suppress(OSError):
        if os.path.samestat(os.fstat(number), path.stat()):
            nowhere = os.memfd_create("nowhere")
            os.dup2(nowhere, number)
            os.close(nowhere)
