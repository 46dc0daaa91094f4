"""AEDAT 4 recordings of iniVation's cameras, read with the optional ``aedat`` package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np

from etram_mmdet.events.indexed_recording import IndexedRecording
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import because, has_cause

_EVENTS_PER_BLOCK = 1 << 20
_LINE_BYTES = 64
_COPY_AGAIN = "the file is damaged or still being written; copy or download it again"


class Aedat4Recording(IndexedRecording):
    """Recording in an AEDAT 4 file; if it holds several streams of events, the first is read.

    A file states neither the number of its events nor where the events of a time are stored.
    Opening it therefore reads all of them.

    Args:
        path: the file.

    Raises:
        InputError: when the file is damaged, holds no events, or ``aedat`` is not installed.
    """

    suffixes = (".aedat4",)
    signature = b"#!AER-DAT4"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows = lru_cache(maxsize=2)(self._read_rows)
        try:
            packets = self._file
            self.notes = packets.notes
            length = 0
            while (events := packets.next()) is not None:
                length += len(events)
            self.close()  # to begin again
            super().__init__(path, *packets.size_px, length, _EVENTS_PER_BLOCK)
        except BaseException:
            self.close()
            raise

    def release(self) -> None:
        super().release()
        self._rows.cache_clear()

    def _open_file(self) -> _Packets:
        return _Packets(self.path)

    def _read_rows(self, start: int, stop: int) -> np.ndarray:
        if start < self._file.position:
            self.close()
        rows = self._file.read(start, stop)
        if len(rows) < stop - start:
            raise InputError(
                f"{self.path}: became shorter while it was read; wait until it is complete"
            )
        return rows

    def _stamps_between(self, start: int, stop: int) -> np.ndarray:
        return self._rows(start, stop)["t"].astype(np.int64)

    def _pixels_between(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows = self._rows(start, stop)
        return rows["x"], rows["y"], rows["on"]


class _Packets:
    """Events of a file, read in order.

    ``position`` is the number of the first event that ``read`` can still give.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        aedat = _import_aedat(path)
        _check_lengths(path)
        with _damaged(path):
            self._decoder = aedat.Decoder(str(path))
            streams = self._decoder.id_to_stream()
        ids = sorted(number for number, stream in streams.items() if stream["type"] == "events")
        if not ids:
            kinds = ", ".join(sorted(stream["type"] for stream in streams.values())) or "nothing"
            raise InputError(
                f"{path}: holds no stream of events (found: {kinds}); record the events as well"
            )
        self._stream = ids[0]
        self.size_px = streams[ids[0]]["width"], streams[ids[0]]["height"]
        others = ", ".join(map(str, ids[1:]))
        self.notes = (
            (f"events of stream {ids[0]} are read, those of {others} are not",) if others else ()
        )
        self.position = 0
        self._waiting: list[np.ndarray] = []  # events that begin at `position`

    def next(self) -> np.ndarray | None:
        """Events of the next packet that is not empty; ``None`` at the end."""
        with _damaged(self._path):
            for packet in self._decoder:
                if packet["stream_id"] == self._stream and len(packet["events"]):
                    return packet["events"]
        return None

    def read(self, start: int, stop: int) -> np.ndarray:
        """Events ``start`` to ``stop`` (exclusive); fewer at the end of the file."""
        number = self.position + sum(map(len, self._waiting))
        while number < stop and (events := self.next()) is not None:
            number += len(events)
            self._waiting.append(events)
            while self._waiting and self.position + len(self._waiting[0]) <= start:
                self.position += len(self._waiting.pop(0))
        if not self._waiting:
            return np.empty(0)
        rows = np.concatenate(self._waiting)
        found, rest = (
            rows[start - self.position : stop - self.position],
            rows[stop - self.position :],
        )
        self.position += len(rows) - len(rest)
        self._waiting = [rest]
        return found

    def close(self) -> None:
        self._decoder = None
        self._waiting = []


def _import_aedat(path: Path):
    try:
        import aedat
    except ImportError as error:
        raise InputError(
            f"{path}: AEDAT 4 files need the aedat package, which is not installed; run "
            "pip install aedat"
        ) from error
    return aedat


def _check_lengths(path: Path) -> None:
    """Raise ``InputError`` if a length leads beyond the file; the decoder would allocate it.

    A file is a line, a description of the streams with its length before it, and packets of stream,
    length and content. An index of the packets may follow; the description states its start.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        file.readline(_LINE_BYTES)
        start = file.tell() + 4 + int.from_bytes(file.read(4), "little")
        description = file.read(start - file.tell()) if start <= size else b""
        while start <= size and start.to_bytes(8, "little") not in description:
            file.seek(start)
            head = file.read(8)
            if not head:
                return
            start += 8 + int.from_bytes(head[4:], "little")
    if start > size:
        raise InputError(f"{path}: {size:,} bytes long, expected {start:,} or more; {_COPY_AGAIN}")


@contextmanager
def _damaged(path: Path) -> Iterator[None]:
    """Turn every error of the decoder into an ``InputError`` about ``path``.

    The decoder's panics are no ``Exception``, so ``BaseException`` is caught.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        if has_cause(error):
            raise InputError(f"{path}: cannot be read: {because(error, path)}") from error
        raise InputError(
            f"{path}: not readable as AEDAT 4 ({str(error) or type(error).__name__:.200}); "
            f"{_COPY_AGAIN}"
        ) from error
