"""A file of fixed size in which events of a camera wait."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from etram_mmdet.events.recording import Events
from etram_mmdet.utils.files import because, os_errors
from etram_mmdet.utils.notices import say

_TYPES = (np.int64, np.uint16, np.uint16, np.uint8)
EVENT_BYTES = sum(np.dtype(each).itemsize for each in _TYPES)


class Stored(NamedTuple):
    """Where a packet lies in the file: position in bytes and number of events."""

    start: int
    count: int


class BufferFile:
    """Packets in a file, first in, first out. It has no name, so nothing is left of it.

    Args:
        max_bytes: largest size of the file.
        folder: where it is made. Default: the system's folder for temporary files.

    Raises:
        InputError: it cannot be made.
    """

    def __init__(self, max_bytes: int, folder: Path | None = None) -> None:
        self.max_bytes = max_bytes
        self.folder = Path(folder or tempfile.gettempdir())
        with os_errors(self.folder, "written"):
            self._file = tempfile.TemporaryFile(dir=self.folder, buffering=0)
        self._start = 0  # of the oldest packet; counts on beyond the size of the file
        self._stop = 0
        self._was_full = False

    def put(self, events: Events) -> Stored | None:
        """Store a packet; ``None`` if there is no room for it.

        Args:
            events: the packet.
        """
        data = b"".join(
            np.ascontiguousarray(column, kind).tobytes()
            for column, kind in zip(events, _TYPES, strict=True)
        )
        if self._stop - self._start + len(data) > self.max_bytes:
            self._tell(f"the buffer file of {self.max_bytes / 1e6:g} MB is full")
            return None
        try:
            self._write(data)
        except OSError as error:
            self._tell(f"the buffer file in {self.folder} cannot be written: {because(error)}")
            return None
        stored = Stored(self._stop, len(events.t))
        self._stop += len(data)
        return stored

    def get(self, stored: Stored) -> Events:
        """Take the oldest packet out.

        Args:
            stored: what :meth:`put` returned for it.
        """
        data = self._read(stored.start, stored.count * EVENT_BYTES)
        self._start = stored.start + len(data)
        columns = []
        place = 0
        for kind in _TYPES:
            columns.append(np.frombuffer(data, kind, stored.count, place))
            place += columns[-1].nbytes
        return Events(*columns)

    def _write(self, data: bytes) -> None:
        for place, piece in self._pieces(self._stop, memoryview(data)):
            while piece:
                written = os.pwrite(self._file.fileno(), piece, place)
                place += written
                piece = piece[written:]

    def _read(self, start: int, size: int) -> bytes:
        data = bytearray(size)
        for place, piece in self._pieces(start, memoryview(data)):
            piece[:] = os.pread(self._file.fileno(), len(piece), place)
        return bytes(data)

    def _pieces(self, start: int, data: memoryview) -> list[tuple[int, memoryview]]:
        """The parts of ``data`` before and after the end of the file, with their places."""
        place = start % self.max_bytes
        room = self.max_bytes - place
        return [(place, data[:room]), (0, data[room:])]

    def _tell(self, what: str) -> None:
        if not self._was_full:
            say(f"{what}: windows are dropped and counted from now on", logging.WARNING)
        self._was_full = True
