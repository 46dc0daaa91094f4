"""Recordings in NumPy's files: a structured array, an array of numbers (N, 4), or four columns.

The four columns are possible in a ``.npz`` only.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from etram_mmdet.events.columns import find_column
from etram_mmdet.events.formats.array_files import load_array
from etram_mmdet.events.formats.columns import COLUMNS_ARE_KNOWN, are_seconds, likely_places, whole
from etram_mmdet.events.formats.npy import open_archive
from etram_mmdet.events.formats.npy_stream import NpyStream
from etram_mmdet.events.formats.sensors import smallest_sensor, stated_px
from etram_mmdet.events.indexed_recording import IndexedRecording
from etram_mmdet.events.limits import MAX_ROW_BYTES
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import because, has_cause

_EVENTS_PER_BLOCK = 1 << 20
_HEAD = 1000  # rows from which the columns are guessed
Places = tuple[int, ...] | None


class Column(NamedTuple):
    """One of the columns t, x, y and p in a NumPy file.

    Attributes:
        stream: stream of the array's rows.
        part: field name or column number in a row; ``None`` if the whole row is the value.
    """

    stream: NpyStream
    part: str | int | None

    @property
    def dtype(self) -> np.dtype:
        return self.stream.dtype[self.part] if isinstance(self.part, str) else self.stream.dtype

    def read(self, start: int, stop: int) -> np.ndarray:
        rows = self.stream.read(start, stop)
        if self.part is None:
            return rows
        return rows[self.part] if isinstance(self.part, str) else rows[:, self.part]


class NumpyRecording(IndexedRecording):
    """Recording in a ``.npy`` or ``.npz`` file.

    Events are fields or columns t, x, y, p (also ts, timestamp, pol, polarity, ...), or one array
    of numbers (N, 4). Stamps are integer microseconds; floating-point ones are seconds if they have
    fractions, else microseconds. A ``.npz`` may state the sensor's size (see `stated_px`).
    Otherwise the smallest known sensor that the first million events fit into is assumed.

    Args:
        path: the file.
        places: column numbers of t, x, y and p in an array of numbers (N, C). Default: found by
            their values.

    Raises:
        InputError: when the file is damaged, or holds no events in one of these forms.
    """

    suffixes = (".npy", ".npz")
    signature = (b"\x93NUMPY", b"PK")
    takes_columns = True

    def __init__(self, path: Path, places: Places = None) -> None:
        self._streams: list[NpyStream] = []
        try:
            self.path = path
            members = self._members(path)
            self._columns, length = self._find_columns(path, members, places)
            head = 0, min(length, _EVENTS_PER_BLOCK)
            self._close_others()
            self.stamps_are_seconds = are_seconds(self._column("t", *head))
            size = _stated_px(path, members)
            self.size_is_assumed = size is None
            super().__init__(
                path,
                *(size or smallest_sensor(*self._pixels_between(*head)[:2])),
                length,
                _EVENTS_PER_BLOCK,
            )
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for stream in self._streams:
            stream.close()

    def _kept(self, stream: NpyStream) -> NpyStream:
        """The same stream, which ``close`` closes, also if the file turns out to be unusable."""
        self._streams.append(stream)
        return stream

    def _close_others(self) -> None:
        """Close the streams of which no column is read, such as those of the sensor's size."""
        used = {id(column.stream): column.stream for column in self._columns.values()}
        for stream in self._streams:
            if id(stream) not in used:
                stream.close()
        self._streams = list(used.values())

    def release(self) -> None:
        super().release()
        for stream in self._streams:
            stream.read.cache_clear()

    def _find_columns(
        self, path: Path, members: dict[str, NpyStream], given: Places
    ) -> tuple[dict[str, Column], int]:
        """The columns t, x, y and p, and the number of events."""
        table = next((stream for stream in members.values() if len(stream.shape) == 2), None)
        columns, missing = _named_columns(members)
        if table is not None and (given is not None or missing):
            columns = _table_columns(path, table, given, self._kept)
        elif given is not None:
            raise InputError(f"{path}: {COLUMNS_ARE_KNOWN}")
        elif missing:
            raise InputError(
                f"{path}: no {', '.join(missing)} (found: {', '.join(columns)}); expected the "
                "fields t, x, y, p, or an array (N, 4)"
            )
        for name, column in columns.items():
            if column.dtype.kind not in "iufb" or (name == "t" and column.dtype.kind == "b"):
                raise InputError(
                    f"{path}: {name} is {column.dtype}, expected numbers; convert the recording"
                )
        lengths = {name: len(column.stream) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            raise InputError(
                f"{path}: t, x, y, p differ in length ({lengths}); the file was cut; save it again"
            )
        return columns, lengths["t"]

    def _members(self, path: Path) -> dict[str, NpyStream]:
        try:
            if not zipfile.is_zipfile(path):
                size = path.stat().st_size
                return {
                    "events": self._kept(NpyStream(path, "events", size, lambda: path.open("rb")))
                }
            with open_archive(path) as archive:
                sizes = {member.filename: member.file_size for member in archive.infolist()}
            return {
                name.removesuffix(".npy"): self._kept(
                    NpyStream(path, name, size, partial(_open_member, path, name))
                )
                for name, size in sizes.items()
                if name.endswith(".npy")
            }
        except Exception as error:  # NumPy evaluates the header, which may raise any error
            if has_cause(error):
                raise InputError(f"{path}: cannot be read: {because(error, path)}") from error
            if path.suffix.lower() == ".npz" and not zipfile.is_zipfile(path):
                raise InputError(
                    f"{path}: the end of the file is missing, so it is still being written or was "
                    "cut; wait, or copy or save it again"
                ) from error
            raise InputError(
                f"{path}: not a readable NumPy file ({error}); copy or save it again"
            ) from error

    def _stamps_between(self, start: int, stop: int) -> np.ndarray:
        t = self._column("t", start, stop)
        return t.astype(np.float64 if t.dtype.kind == "f" else np.int64)

    def _pixels_between(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return tuple(whole(self._column(name, start, stop)) for name in "xyp")

    def _column(self, name: str, start: int, stop: int) -> np.ndarray:
        column = self._columns[name]
        with _damaged(self.path, column.stream.name):
            return column.read(start, stop)


def _named_columns(members: dict[str, NpyStream]) -> tuple[dict[str, Column], list[str]]:
    """The columns t, x, y and p by their names, and the names that are missing.

    If some are missing, the first result holds every possible column instead.
    """
    available: dict[str, Column] = {}
    for name, stream in members.items():
        if len(stream.shape) == 1:
            fields = {field: Column(stream, field) for field in stream.dtype.names or ()}
            available |= fields or {name: Column(stream, None)}
    places = {name: find_column(name, list(available)) for name in "txyp"}
    missing = [name for name, place in places.items() if place is None]
    if missing:
        return available, missing
    return {name: list(available.values())[place] for name, place in places.items()}, []


def _table_columns(
    path: Path, table: NpyStream, given: Places, kept: Callable[[NpyStream], NpyStream]
) -> dict[str, Column]:
    num_columns = table.shape[1]
    is_wide = num_columns * table.dtype.itemsize > MAX_ROW_BYTES
    if (
        num_columns < 4
        or is_wide
        or table.dtype.kind not in "iuf"
        or max(given or (0,)) >= num_columns
    ):
        raise InputError(
            f"{path}: an array {table.dtype} {table.shape}, expected numbers (N, 4): t, x, y and p "
            "of every event"
        )
    with _damaged(path, table.name):
        columns = {
            place: Column(kept(table.of_column(place)), None if table.is_by_column else place)
            for place in (range(4) if given is None else given)
        }
        if given is None:
            head = [columns[place].read(0, min(len(table), _HEAD)) for place in range(4)]
    return {
        name: columns[place]
        for name, place in zip("txyp", given or likely_places(path, np.stack(head, 1)), strict=True)
    }


@contextmanager
def _damaged(path: Path, member: str) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        if has_cause(error):
            raise InputError(f"{path}: cannot be read: {because(error, path)}") from error
        raise InputError(
            f"{path}: {member} {error}; the file is damaged; copy or save it again"
        ) from error


def _stated_px(path: Path, members: dict[str, NpyStream]) -> tuple[int, int] | None:
    small = [
        name
        for name, stream in members.items()
        if math.prod(stream.shape) <= 2 and not stream.dtype.names
    ]
    return (
        stated_px({name: load_array(path, name) for name in small})
        if zipfile.is_zipfile(path)
        else None
    )


def _open_member(path: Path, name: str) -> BinaryIO:
    """Open a member of an archive; the archive closes with it."""
    with zipfile.ZipFile(path) as archive:
        return archive.open(name)


_DAMAGE = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
    RuntimeError,
)
