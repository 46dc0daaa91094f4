"""Events in text: one line an event, four numbers separated by commas, spaces, tabs or semicolons."""

from __future__ import annotations

import io
import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from etram_mmdet.events.formats.numpy_files import COLUMN_NAMES
from etram_mmdet.events.formats.prophesee_header import smallest_sensor
from etram_mmdet.events.recording import IndexedRecording
from etram_mmdet.utils.errors import InputError

_ORDERS = ("txyp", "xypt")  # without names: that of event simulators and ROS tools, and Metavision's
_LINES_PER_BLOCK = 1 << 18
_READ_BYTES = 1 << 24
_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_SIZE = re.compile(rb"[%#]\s*geometry\s*[: ]\s*(\d+)\s*[x, ]\s*(\d+)", re.IGNORECASE)


class _Layout(NamedTuple):
    """Where the first event begins, what separates columns, the places of t, x, y and p, the sensor if it is told."""

    start: int
    separator: str | None
    places: tuple[int, ...]
    is_in_seconds: bool
    size_px: tuple[int, int] | None


class TextRecording(IndexedRecording):
    """Columns by the names in the first line, else t x y p or x y p t, whichever holds the times.

    Times with a decimal point are seconds, others microseconds. A line ``%geometry:W,H``, or a first line of two
    numbers, tells the size of the sensor; without it the smallest known one that the events fit into is assumed.
    """

    suffixes = (".csv", ".txt")
    signature = ()

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._layout = _layout(path, self._file.read(1 << 16))
            self._starts, length = self._find_lines()
            self._lines = lru_cache(maxsize=2)(self._read_lines)
            self.size_is_assumed = self._layout.size_px is None
            head = self._lines(0) if length else np.empty((0, 4))
            x, y = (head[:, self._layout.places[i]].astype(np.int64) for i in (1, 2))
            size_px = self._layout.size_px or smallest_sensor(x, y)
            super().__init__(path, *size_px, length, _LINES_PER_BLOCK)
        except BaseException:
            self.close()
            raise

    @classmethod
    def begins(cls, head: bytes) -> bool:
        return bool(head) and _first_events(head) is not None

    def release(self) -> None:
        super().release()
        self._lines.cache_clear()

    def _find_lines(self) -> tuple[list[int], int]:
        """Where each block of lines begins, the end of the last one, and the number of lines."""
        starts = [self._layout.start]
        count = 0
        place = self._layout.start
        file = self._file
        file.seek(place)
        ends_line = True
        while data := file.read(_READ_BYTES):
            ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
            first = _LINES_PER_BLOCK - count % _LINES_PER_BLOCK - 1
            starts += (place + 1 + ends[first::_LINES_PER_BLOCK]).tolist()
            count += len(ends)
            place += len(data)
            ends_line = data.endswith(b"\n")
        count += not ends_line
        return [*starts, place], count

    def _read_lines(self, block: int) -> np.ndarray:
        """The numbers (N, columns) float64 of a block."""
        file = self._file
        file.seek(self._starts[block])
        text = file.read(self._starts[block + 1] - self._starts[block])
        try:
            rows = np.loadtxt(io.BytesIO(text), delimiter=self._layout.separator, comments=None, ndmin=2)
        except ValueError as error:
            place = f"a line after the {block * _LINES_PER_BLOCK:,}th event"
            raise InputError(
                f"{self.path}: {place} is not four numbers ({str(error)[:80]}); the file is damaged, export it again"
            ) from error
        if rows.shape[1] <= max(self._layout.places) or not np.isfinite(rows).all():
            raise InputError(f"{self.path}: a line lacks one of the numbers t, x, y, p; export it again")
        return rows

    def _stamps_between(self, start: int, stop: int) -> np.ndarray:
        t = self._column("t", start, stop)
        return np.rint(t * 1e6 if self._layout.is_in_seconds and self._time_unit == "us" else t).astype(np.int64)

    def _pixels_between(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return tuple(self._column(name, start, stop).astype(np.int64) for name in "xyp")

    def _column(self, name: str, start: int, stop: int) -> np.ndarray:
        rows = self._lines(start // _LINES_PER_BLOCK)
        if len(rows) != stop - start:
            raise InputError(f"{self.path}: holds empty lines between events; take them out")
        return rows[:, self._layout.places["txyp".index(name)]]


def _first_events(head: bytes) -> tuple[int, list[bytes], list[list[bytes]], str | None] | None:
    """Where events begin, the lines before, and the words of the first events; ``None`` where this is no such text."""
    if b"\0" in head:
        return None
    lines = head.split(b"\n")
    lines = lines[:-1] if len(lines) > 1 else lines  # the last may be cut
    start = 0
    before: list[bytes] = []
    for number, line in enumerate(lines):
        separator = next((s for s in (",", ";", "\t") if s.encode() in line), None)
        words = [word.strip() for word in line.split(separator and separator.encode())]
        if _is_event(words):
            events = ([w.strip() for w in each.split(separator and separator.encode())] for each in lines[number:])
            return start, before, [words for words in events if _is_event(words)], separator
        if len(before) >= 50 or not line.isascii():
            return None
        before.append(line.strip())
        start += len(line) + 1
    return None


def _is_event(words: list[bytes]) -> bool:
    return len(words) >= 4 and all(_NUMBER.fullmatch(word) for word in words[:4])


def _layout(path: Path, head: bytes) -> _Layout:
    found = _first_events(head)
    if found is None:
        raise InputError(f"{path}: its first lines hold no event, expected four numbers a line: t x y p, or x,y,p,t")
    start, before, events, separator = found
    places = _named_places(path, before, separator) or _likely_places(path, events)
    is_in_seconds = any(b"." in words[places[0]] for words in events)
    return _Layout(start, separator, places, is_in_seconds, _size_px(before))


def _named_places(path: Path, before: list[bytes], separator: str | None) -> tuple[int, ...] | None:
    """From the last line of words before the events."""
    if not before or not re.search(rb"[a-zA-Z]", before[-1]) or _SIZE.match(before[-1]):
        return None
    words = [word.strip().lower() for word in before[-1].decode("ascii").lstrip("#% ").split(separator)]
    places = [next((words.index(name) for name in names if name in words), None) for names in COLUMN_NAMES.values()]
    if None in places:
        missing = list(COLUMN_NAMES)[places.index(None)]
        raise InputError(f"{path}: no column {missing} (columns: {', '.join(words)}); name the columns t,x,y,p")
    return tuple(places)


def _likely_places(path: Path, events: list[list[bytes]]) -> tuple[int, ...]:
    """The order whose times do not fall and whose polarities are 0, 1 or -1."""
    numbers = np.array([[float(word) for word in words[:4]] for words in events])
    fitting = []
    for order in _ORDERS:
        places = tuple(order.index(name) for name in "txyp")
        t, p = numbers[:, places[0]], numbers[:, places[3]]
        if (np.diff(t) >= 0).all() and np.isin(p, (-1, 0, 1)).all():
            fitting.append(places)
    if len(fitting) != 1:
        why = "neither order fits" if not fitting else "both orders fit"
        raise InputError(
            f"{path}: t x y p or x y p t? {why} its first lines; put the line t,x,y,p (or another order) first"
        )
    return fitting[0]


def _size_px(before: list[bytes]) -> tuple[int, int] | None:
    for line in before:
        told = _SIZE.match(line)
        words = line.split()
        if told:
            return int(told[1]), int(told[2])
        if len(words) == 2 and all(word.isdigit() for word in words):
            return int(words[0]), int(words[1])
    return None
