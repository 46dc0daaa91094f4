"""Safe reading of headers and arrays in NumPy's files.

A header may claim no more than the file holds. ``np.load`` allocates whatever a header claims and
evaluates its text, and an archive may unpack to any size.
"""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np

from etram_mmdet.events.limits import MAX_ROW_BYTES, MAX_ROWS, expands_too_much

_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
# NumPy writes no others; other kinds unpack without a limit.
_PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def read_header(file: BinaryIO, num_bytes: int) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read the header of an array: its shape, whether it is in Fortran order, and its type.

    Args:
        file: open file, at the start of an array.
        num_bytes: largest number of bytes that ``file`` can hold.

    Raises:
        ValueError: when the header is damaged, claims more than ``num_bytes``, or names Python
            objects.
    """
    version = np.lib.format.read_magic(file)
    if version not in _READERS:
        raise ValueError(f"version {version} of the .npy format")
    try:
        shape, is_fortran, dtype = _READERS[version](file)
    except (MemoryError, RecursionError):  # Python's parser raises either for deep nesting
        raise ValueError("its header is nested too deeply") from None
    if dtype.hasobject:
        raise ValueError("Python objects instead of numbers")
    if not 0 < dtype.itemsize <= MAX_ROW_BYTES:
        raise ValueError(f"rows of {dtype.itemsize} bytes, expected 1 to {MAX_ROW_BYTES}")
    if any(type(side) is not int or side < 0 for side in shape):
        raise ValueError(f"a shape of {shape!r:.80}")
    if math.prod(shape) * dtype.itemsize > num_bytes:
        raise ValueError(
            f"states {math.prod(shape):,} rows of {dtype.itemsize} bytes, but holds fewer"
        )
    return shape, is_fortran, dtype


def read_array(file: BinaryIO, num_bytes: int) -> np.ndarray:
    """Read the array at the start of a file.

    Args:
        file: open file, at the start of an array.
        num_bytes: largest number of bytes that ``file`` can hold.

    Raises:
        ValueError: when the header is damaged or claims too much.
    """
    shape, is_fortran, dtype = read_header(file, num_bytes)
    if math.prod(shape) > MAX_ROWS:
        raise ValueError(f"{math.prod(shape):,} rows, expected at most {MAX_ROWS:,}")
    data = bytearray(file.read(math.prod(shape) * dtype.itemsize))
    return np.frombuffer(data, dtype).reshape(shape, order="F" if is_fortran else "C")


def open_archive(path: Path, file: BinaryIO | None = None) -> zipfile.ZipFile:
    """Open a ``.npz`` file whose members claim possible sizes.

    Args:
        path: the file.
        file: the same file, open. Default: it is opened.

    Raises:
        ValueError: when the claimed sizes are impossible, or a member is compressed in another way
            than NumPy does. ``zipfile`` raises errors of its own for a damaged archive.
    """
    archive = zipfile.ZipFile(file or path)
    problem = _problem_of(archive.infolist(), path.stat().st_size)
    if problem:
        archive.close()
        raise ValueError(problem)
    return archive


def _problem_of(members: list[zipfile.ZipInfo], num_bytes: int) -> str:
    """Why the members of an archive are refused; empty if they are sound.

    Sizes count over all members together: a column with the same value in every row compresses to a
    thousandth.
    """
    for member in members:
        if member.compress_type not in _PLAIN:
            return f"{member.filename:.60} is compressed in a way that NumPy does not use"
    claimed = sum(member.file_size for member in members)
    return (
        f"states {claimed:,} bytes of content in {num_bytes:,}"
        if expands_too_much(claimed, num_bytes)
        else ""
    )
