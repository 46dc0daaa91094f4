"""Read the rows of a ``.npy`` array one after the other."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np

from etram_mmdet.events.formats.npy import read_header
from etram_mmdet.utils.open_files import OPEN_FILES

_READ_BYTES = 1 << 16


class NpyStream:
    """Rows of a ``.npy`` array (N,) or (N, C), read in sequence; going back starts from the front.

    A compressed archive allows no other access, and recordings are read forwards. If an array (N,
    C) is stored column by column, a stream reads one column only.

    Args:
        path: the ``.npy`` file or ``.npz`` archive.
        name: name of the array, for messages.
        num_bytes: largest number of bytes that the array can have, with its header.
        open_stream: function that opens the array's bytes from their start.
        column: number of the column to read from an array that is stored column by column. Default:
            the first.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        num_bytes: int,
        open_stream: Callable[[], BinaryIO],
        column: int | None = None,
    ) -> None:
        self.path = path
        self.name = name
        self._num_bytes = num_bytes
        self._open = open_stream
        self._column = column
        # The columns of a structured array come from the same rows, one after the other.
        self.read = lru_cache(maxsize=2)(self._read)
        OPEN_FILES.of(self, self._begin)

    def _begin(self) -> BinaryIO:
        """Open the file and go to its first row."""
        file = self._open()
        try:
            self._go_to_first_row(file)
        except BaseException:
            file.close()
            raise
        return file

    def _go_to_first_row(self, file: BinaryIO) -> None:
        self.shape, is_fortran, self.dtype = read_header(file, self._num_bytes)
        self.is_by_column = is_fortran and len(self.shape) == 2
        self._row = self.dtype
        if self.is_by_column:
            self._skip(file, (self._column or 0) * len(self) * self.dtype.itemsize)
        elif len(self.shape) == 2 and self.shape[1]:
            self._row = np.dtype((self.dtype, (self.shape[1],)))
        self._position = 0

    def of_column(self, column: int) -> NpyStream:
        """A stream of one column of this array.

        It is this stream itself if the array is stored row by row.
        """
        if not self.is_by_column:
            return self
        return NpyStream(self.path, self.name, self._num_bytes, self._open, column)

    def __len__(self) -> int:
        return self.shape[0] if self.shape else 0

    def _read(self, start: int, stop: int) -> np.ndarray:
        if start < self._position:
            self.close()
        file = OPEN_FILES.of(self, self._begin)  # at the first row if it had been closed
        self._skip(file, (start - self._position) * self._row.itemsize)
        data = file.read((stop - start) * self._row.itemsize)
        if len(data) < (stop - start) * self._row.itemsize:
            raise ValueError(f"ends before its {len(self)} rows")
        self._position = stop
        return np.frombuffer(data, self.dtype).reshape(stop - start, *self._row.shape)

    @staticmethod
    def _skip(file: BinaryIO, num_bytes: int) -> None:
        if file.seekable() and not isinstance(file, zipfile.ZipExtFile):
            file.seek(num_bytes, 1)
            return
        while num_bytes > 0 and (data := file.read(min(num_bytes, _READ_BYTES))):
            num_bytes -= len(data)

    def close(self) -> None:
        OPEN_FILES.close(self)
