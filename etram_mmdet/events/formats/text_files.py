"""Recordings as text, one event per line.

Columns are separated by commas, spaces, tabs or semicolons.
"""

from __future__ import annotations

import io
import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from etram_mmdet.events.columns import find_column
from etram_mmdet.events.formats.columns import likely_places, whole
from etram_mmdet.events.formats.sensors import smallest_sensor
from etram_mmdet.events.indexed_recording import IndexedRecording
from etram_mmdet.utils.errors import InputError

_LINES_PER_BLOCK = 1 << 18
_READ_BYTES = 1 << 24
_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_SIZE = re.compile(rb"[%#]\s*geometry\s*[: ]\s*(\d+)\s*[x, ]\s*(\d+)", re.IGNORECASE)


class _Layout(NamedTuple):
    """Layout of a text file.

    Attributes:
        start: position of the first event, in bytes.
        separator: separator of the columns; ``None`` for blanks.
        places: column numbers of t, x, y and p.
        is_in_seconds: whether times have a decimal point, so that they are seconds.
        size_px: width and height of the sensor; ``None`` if the file does not state them.
    """

    start: int
    separator: str | None
    places: tuple[int, ...]
    is_in_seconds: bool
    size_px: tuple[int, int] | None


class TextRecording(IndexedRecording):
    """Recording in a text file with one event per line.

    Times with a decimal point are seconds, others microseconds. A line ``%geometry:W,H``, or a
    first line of two numbers, states the sensor's size. Otherwise the smallest known sensor that
    the events fit into is assumed.

    Args:
        path: the file.
        places: column numbers of t, x, y and p. Default: found by the names in the last line before
            the events, else by their values.

    Raises:
        InputError: when the first lines hold no event, or the columns cannot be identified.
    """

    suffixes = (".csv", ".txt")
    signature = ()
    takes_columns = True

    def __init__(self, path: Path, places: tuple[int, ...] | None = None) -> None:
        self.path = path
        try:
            self._layout = _layout(path, self._file.read(1 << 16), places)
            self.stamps_are_seconds = self._layout.is_in_seconds
            self._starts, length = self._find_lines()
            self._lines = lru_cache(maxsize=2)(self._read_lines)
            self.size_is_assumed = self._layout.size_px is None
            head = self._lines(0) if length else np.empty((0, 4))
            x, y = (whole(head[:, self._layout.places[i]]) for i in (1, 2))
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
        """Start positions of the blocks of lines, end of the last block, and number of lines."""
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
        """The numbers of a block, float64 (N, columns)."""
        file = self._file
        file.seek(self._starts[block])
        text = file.read(self._starts[block + 1] - self._starts[block])
        try:
            rows = np.loadtxt(
                io.BytesIO(text), delimiter=self._layout.separator, comments=None, ndmin=2
            )
        except ValueError as error:
            place = f"a line after the {block * _LINES_PER_BLOCK:,}th event"
            raise InputError(
                f"{self.path}: {place} is not four numbers ({str(error)[:80]}); the file is "
                "damaged; export it again"
            ) from error
        if rows.shape[1] <= max(self._layout.places) or not np.isfinite(rows).all():
            raise InputError(
                f"{self.path}: a line lacks one of the numbers t, x, y, p; export it again"
            )
        return rows

    def _stamps_between(self, start: int, stop: int) -> np.ndarray:
        return self._column("t", start, stop)

    def _pixels_between(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return tuple(whole(self._column(name, start, stop)) for name in "xyp")

    def _column(self, name: str, start: int, stop: int) -> np.ndarray:
        rows = self._lines(start // _LINES_PER_BLOCK)
        if len(rows) != stop - start:
            raise InputError(f"{self.path}: holds empty lines between events; remove them")
        return rows[:, self._layout.places["txyp".index(name)]]


def _first_events(head: bytes) -> tuple[int, list[bytes], list[list[bytes]], str | None] | None:
    """Position of the first event, the lines before it, and the words of the first events.

    The last value is the separator. ``None`` if the text holds no events.
    """
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
            events = (
                [w.strip() for w in each.split(separator and separator.encode())]
                for each in lines[number:]
            )
            return start, before, [words for words in events if _is_event(words)], separator
        if len(before) >= 50 or not line.isascii():
            return None
        before.append(line.strip())
        start += len(line) + 1
    return None


def _is_event(words: list[bytes]) -> bool:
    return len(words) >= 4 and all(_NUMBER.fullmatch(word) for word in words[:4])


def _layout(path: Path, head: bytes, given: tuple[int, ...] | None) -> _Layout:
    found = _first_events(head)
    if found is None:
        raise InputError(
            f"{path}: its first lines hold no event, expected four numbers a line, such as t x y p "
            "or x,y,p,t"
        )
    start, before, events, separator = found
    places = given or _named_places(path, before, separator)
    if places is None:
        places = likely_places(
            path, np.array([[float(word) for word in words[:4]] for words in events])
        )
    if max(places) >= min(map(len, events)):
        raise InputError(
            f"{path}: an event has {min(map(len, events))} columns, expected {max(places) + 1} or "
            "more; export it again, or correct --event-columns"
        )
    is_in_seconds = any(b"." in words[places[0]] for words in events)
    return _Layout(start, separator, places, is_in_seconds, _size_px(before))


def _named_places(path: Path, before: list[bytes], separator: str | None) -> tuple[int, ...] | None:
    """Column numbers from the last line of words before the events."""
    if not before or not re.search(rb"[a-zA-Z]", before[-1]) or _SIZE.match(before[-1]):
        return None
    words = before[-1].decode("ascii").lstrip("#% ").split(separator)
    places = [find_column(name, words) for name in "txyp"]
    if None in places:
        missing = "txyp"[places.index(None)]
        raise InputError(
            f"{path}: no column {missing} (columns: {', '.join(word.strip() for word in words)}); "
            "name the columns t, x, y and p in the file, or give their names in order with "
            "--event-columns, such as t,x,y,p (columns= of open_recording)"
        )
    return tuple(places)


def _size_px(before: list[bytes]) -> tuple[int, int] | None:
    for line in before:
        told = _SIZE.match(line)
        words = line.split()
        if told:
            return int(told[1]), int(told[2])
        if len(words) == 2 and all(word.isdigit() for word in words):
            return int(words[0]), int(words[1])
    return None
