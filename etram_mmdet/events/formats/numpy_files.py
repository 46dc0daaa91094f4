"""Events in NumPy's files: ``.npy`` with one structured array, ``.npz`` with such an array or with four columns."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from etram_mmdet.events.formats.npy import open_archive, read_header
from etram_mmdet.events.formats.prophesee_header import smallest_sensor
from etram_mmdet.events.recording import IndexedRecording
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import because, has_cause
from etram_mmdet.utils.open_files import OPEN_FILES

_EVENTS_PER_BLOCK = 1 << 20
COLUMN_NAMES = {
    "t": ("t", "ts", "time", "timestamp", "timestamps", "t_us"),
    "x": ("x", "xs"),
    "y": ("y", "ys"),
    "p": ("p", "ps", "pol", "polarity", "on"),
}
_READ_BYTES = 1 << 20


class _NpyStream:
    """Rows of a one-dimensional .npy array read in sequence; going back starts again from the front.

    A compressed archive allows nothing else, and recordings are read forwards.
    """

    def __init__(self, path: Path, name: str, num_bytes: int, open_stream: Callable[[], BinaryIO]) -> None:
        self.path = path
        self.name = name
        self._num_bytes = num_bytes
        self._open = open_stream
        # The columns of a structured array come from the same rows, one after the other.
        self.read = lru_cache(maxsize=2)(self._read)
        OPEN_FILES.of(self, self._begin)

    def _begin(self) -> BinaryIO:
        """The file, open, where its rows begin."""
        file = self._open()
        self.shape, _, self.dtype = read_header(file, self._num_bytes)
        if len(self.shape) != 1:
            raise ValueError(f"an array of shape {self.shape} instead of one dimension")
        self._position = 0
        return file

    def __len__(self) -> int:
        return self.shape[0]

    def _read(self, start: int, stop: int) -> np.ndarray:
        if start < self._position:
            self.close()
        file = OPEN_FILES.of(self, self._begin)  # at the first row where it was closed
        self._skip(file, (start - self._position) * self.dtype.itemsize)
        data = file.read((stop - start) * self.dtype.itemsize)
        if len(data) < (stop - start) * self.dtype.itemsize:
            raise ValueError(f"ends before its {len(self)} rows")
        self._position = stop
        return np.frombuffer(data, self.dtype)

    @staticmethod
    def _skip(file: BinaryIO, num_bytes: int) -> None:
        if file.seekable() and not isinstance(file, zipfile.ZipExtFile):
            file.seek(num_bytes, 1)
            return
        while num_bytes > 0 and (data := file.read(min(num_bytes, _READ_BYTES))):
            num_bytes -= len(data)

    def close(self) -> None:
        OPEN_FILES.close(self)


class NumpyRecording(IndexedRecording):
    """Fields or columns t, x, y, p (also ts, timestamp, pol, polarity, ...); stamps are integer microseconds.

    A file does not say how large the sensor is; it gets the smallest known one that the first million events fit into.
    """

    suffixes = (".npy", ".npz")
    signature = (b"\x93NUMPY", b"PK")
    size_is_assumed = True

    def __init__(self, path: Path) -> None:
        self._streams: list[_NpyStream] = []
        try:
            self._columns, length = self._find_columns(path)
            self.path = path
            head = slice(0, min(length, _EVENTS_PER_BLOCK))
            width, height = smallest_sensor(*(self._column(name, head.start, head.stop) for name in "xy"))
            super().__init__(path, width, height, length, _EVENTS_PER_BLOCK)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for stream in self._streams:
            stream.close()

    def release(self) -> None:
        super().release()
        for stream in self._streams:
            stream.read.cache_clear()

    def _find_columns(self, path: Path) -> tuple[dict[str, tuple[_NpyStream, str | None]], int]:
        """For each of t, x, y, p the stream and the field in it (none: the stream is the column)."""
        members = self._members(path)
        available: dict[str, tuple[_NpyStream, str | None]] = {}
        for name, stream in members.items():
            available |= {field: (stream, field) for field in stream.dtype.names or ()} or {name: (stream, None)}
        columns = {
            column: next((available[name] for name in names if name in available), None)
            for column, names in COLUMN_NAMES.items()
        }
        missing = [name for name, column in columns.items() if column is None]
        if missing:
            raise InputError(
                f"{path}: no {', '.join(missing)} (found: {', '.join(available)}); expected the fields t, x, y, p"
            )
        self._streams = list({id(stream): stream for stream, _ in columns.values()}.values())
        for name, (stream, field) in columns.items():
            dtype = stream.dtype[field] if field else stream.dtype
            if dtype.kind not in ("iu" if name == "t" else "iub"):
                wanted = "integer microseconds" if name == "t" else "integers"
                raise InputError(f"{path}: {name} is {dtype}, expected {wanted}; convert the recording")
        lengths = {name: len(stream) for name, (stream, _) in columns.items()}
        if len(set(lengths.values())) > 1:
            raise InputError(f"{path}: t, x, y, p differ in length ({lengths}); the recording was cut, save it again")
        return columns, lengths["t"]

    def _members(self, path: Path) -> dict[str, _NpyStream]:
        try:
            if not zipfile.is_zipfile(path):
                return {"events": _NpyStream(path, "events", path.stat().st_size, lambda: path.open("rb"))}
            with open_archive(path) as archive:
                sizes = {member.filename: member.file_size for member in archive.infolist()}
            return {
                name.removesuffix(".npy"): _NpyStream(path, name, size, partial(_open_member, path, name))
                for name, size in sizes.items()
                if name.endswith(".npy")
            }
        except Exception as error:  # NumPy evaluates the header, which may fail in any way
            if has_cause(error):
                raise InputError(f"{path}: cannot be read: {because(error, path)}") from error
            raise InputError(f"{path}: not a readable NumPy file ({error}); copy or save it again") from error

    def _stamps_between(self, start: int, stop: int) -> np.ndarray:
        return self._column("t", start, stop).astype(np.int64)

    def _pixels_between(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return tuple(self._column(name, start, stop) for name in "xyp")

    def _column(self, name: str, start: int, stop: int) -> np.ndarray:
        stream, field = self._columns[name]
        try:
            rows = stream.read(start, stop)
        except _DAMAGE as error:
            if has_cause(error):
                raise InputError(f"{self.path}: cannot be read: {because(error, self.path)}") from error
            raise InputError(
                f"{self.path}: {stream.name} {error}; the file is damaged, copy or save it again"
            ) from error
        return rows if field is None else rows[field]


def _open_member(path: Path, name: str) -> BinaryIO:
    """A member of an archive, with which the archive closes."""
    with zipfile.ZipFile(path) as archive:
        return archive.open(name)


_DAMAGE = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError)
