"""What every recording of events offers, whatever its file format: windows by time, in bounded memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numba import njit

from etram_mmdet.events.block_stamps import BlockStamps
from etram_mmdet.events.choices import LabelTimeUnit, TimeUnit
from etram_mmdet.events.limits import MAX_PIXELS, MAX_SIDE_PX
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import os_errors
from etram_mmdet.utils.open_files import OPEN_FILES

MAX_DAMAGED = 0.01  # of a recording's events; so few as ten prove nothing
_FEW = 10
_US_PER = {"ms": 1_000, "s": 1_000_000}


class Events(NamedTuple):
    """Events in time order: ``t`` int64 microseconds, ``x`` ``y`` uint16 pixels, ``p`` uint8 (0 off, 1 on)."""

    t: np.ndarray
    x: np.ndarray
    y: np.ndarray
    p: np.ndarray


def in_microseconds(times: np.ndarray, unit: LabelTimeUnit) -> np.ndarray:
    """Times that count ``unit`` as int64 microseconds, fractions cut off; integers stay exact."""
    if unit in _US_PER:
        per = _US_PER[unit]
        if times.dtype.kind != "f":
            return times.astype(np.int64) * per
        return np.round(times.astype(np.float64) * per, 3).astype(np.int64)  # 0.29 s are 289999.99999999994 us
    return (times // 1000 if unit == "ns" else times).astype(np.int64)


def check_sensor(path: str | Path, width: int, height: int) -> None:
    """Raise ``InputError`` for a sensor that no camera has, whose images would fill the memory."""
    if not (1 <= width <= MAX_SIDE_PX and 1 <= height <= MAX_SIDE_PX):
        raise InputError(f"{path}: a sensor of {width}x{height} pixels, expected sides of 1 to {MAX_SIDE_PX}")
    if width * height > MAX_PIXELS:
        raise InputError(f"{path}: a sensor of {width}x{height} pixels, expected at most {MAX_PIXELS:,} in all")


class Recording(ABC):
    """A recording whose windows are read by time, in blocks, so that memory does not grow with the file.

    At most two blocks of events and the window asked for are in memory (a block: about a million events, 13 MB), and
    the stamps of a third where they jump.

    Stamps that step back by a few milliseconds are raised to the largest before them, as RVT's preprocessing does with
    all. Events whose stamp the others contradict (see :mod:`etram_mmdet.events.time_stamps`) and events outside the
    sensor are dropped. All are counted over the blocks read so far; ``read_rest`` completes the counts, and refuses a
    recording of which more than ``MAX_DAMAGED`` is raised or dropped.

    A format implements ``_raw_stamps`` and ``_raw_pixels`` and calls ``__init__`` with what its header says. Blocks are
    asked for in order the first time, later in any order; a block may be empty.
    """

    suffixes: tuple[str, ...]
    signature: bytes | tuple[bytes, ...]
    size_is_assumed = False  # True where the file does not say how large the sensor is

    def __init__(self, path: Path, width: int, height: int, num_blocks: int) -> None:
        check_sensor(path, width, height)
        self.path = path
        self.width = width
        self.height = height
        self._num_blocks = num_blocks
        self._time_unit: TimeUnit = "us"
        self._block = lru_cache(maxsize=2)(self._read_block)
        self._begin()

    @classmethod
    def begins(cls, head: bytes) -> bool:
        """Whether a file that begins with ``head`` is of this format."""
        return head.startswith(cls.signature)

    def _begin(self) -> None:
        """Forget what was read and find the first event."""
        self._stamps = BlockStamps(self._raw_stamps_us, self._num_blocks)
        self.release()
        self._dropped_of_block: dict[int, int] = {}
        while not self._stamps.num_kept and len(self._stamps.last_us) < self._num_blocks:
            first, _ = self._stamps[len(self._stamps.last_us)]
        if not self._stamps.num_kept:
            which = "events with usable time stamps" if self._stamps.num_events else "events"
            raise InputError(
                f"{self.path}: the recording holds no {which}; record it again or take it out of the folder"
            )
        self.t_first_us = int(first[0])

    @abstractmethod
    def _raw_stamps(self, block: int) -> np.ndarray:
        """Stamps of a block's events in file order: a new int64 array in microseconds."""

    @abstractmethod
    def _raw_pixels(self, block: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Integer x, y and p of a block's events in file order; p of -1 means off, as 0 does."""

    def _open_file(self):
        """What the file is read from, with ``close()``; asked for again where it was closed in between."""
        return self.path.open("rb")

    @property
    def _file(self):
        """What ``_open_file`` gave; ask for it before each use, and expect it to stand anywhere."""
        with os_errors(self.path, "read"):
            return OPEN_FILES.of(self, self._open_file)

    def close(self) -> None:
        """Close the file; reading afterwards opens it again."""
        OPEN_FILES.close(self)

    def declare_sensor(self, width: int, height: int) -> None:
        """Replace a guessed sensor size before events are read; raises ``InputError`` where the file says another."""
        if not self.size_is_assumed and (width, height) != (self.width, self.height):
            said = f"{self.width}x{self.height}"
            self.close()
            raise InputError(f"{self.path}: the file says a sensor of {said}, not {width}x{height}; leave the size out")
        self.width = width
        self.height = height
        self.size_is_assumed = False

    def declare_time_unit(self, unit: TimeUnit) -> None:
        """Say that the file's stamps count ``unit`` instead of microseconds, before events are read."""
        self._time_unit = unit
        self._begin()

    @property
    def clock_start_us(self) -> int:
        """Where a clock that begins with the recording stands at 0: the first event, or what the format knows."""
        return self.t_first_us

    def release(self) -> None:
        """Let go of the events kept for the next window."""
        self._stamps.release()
        self._block.cache_clear()

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    @property
    def t_last_us(self) -> int:
        """The largest stamp that is believed.

        The first use goes through the stamps of the whole file.

        Raises:
            InputError: too many of them are damaged.
        """
        self._visit_all()
        return self._stamps.last_us[-1]

    @property
    def num_events(self) -> int:
        """Events in the file, whether dropped or not; goes through its stamps as ``t_last_us`` does."""
        self._visit_all()
        return self._stamps.num_events

    @property
    def stamps_corrected(self) -> int:
        """Stamps that were raised, among the blocks read so far."""
        return self._stamps.num_corrected

    @property
    def dropped(self) -> dict[str, int]:
        """What was left out, by reason, among the blocks read so far; a format may add to it."""
        bad_stamps = self._stamps.num_events - self._stamps.num_kept
        found = {"events_with_bad_stamp": bad_stamps} if bad_stamps else {}
        return {"events_out_of_frame": self.dropped_out_of_frame, **found}

    @property
    def damage(self) -> str:
        """Why too many of the events read so far were raised or dropped; empty for a sound recording."""
        lost = {name: count for name, count in self.dropped.items() if name.startswith("events_") and count}
        if self.stamps_corrected:
            lost["stamps_corrected"] = self.stamps_corrected
        num_events = self._stamps.num_events
        if sum(lost.values()) <= max(MAX_DAMAGED * num_events, _FEW):
            return ""
        listed = ", ".join(f"{name} {count}" for name, count in lost.items())
        if 2 * self.dropped_out_of_frame > sum(lost.values()):
            advice = f"if its sensor is not {self.width}x{self.height} pixels large, state it (--sensor WIDTH HEIGHT)"
        else:
            advice = (
                "likely its events are not in the order of their times: --sort-events of tools/preprocess.py, or "
                "reading=dict(sort_events=True) of a RawEventDataset"
            )
        return (
            f"{sum(lost.values()) / num_events:.1%} of {num_events} events were dropped or corrected, "
            f"expected at most {MAX_DAMAGED:.0%} ({listed}); {advice}"
        )

    @property
    def dropped_out_of_frame(self) -> int:
        """Events outside the sensor among the blocks read so far, each counted once."""
        return sum(self._dropped_of_block.values())

    def read_rest(self) -> None:
        """Visit the blocks that no window has asked for, so that the counts cover the whole file.

        Raises:
            InputError: more than ``MAX_DAMAGED`` of the events were raised or dropped.
        """
        for block in range(self._num_blocks):
            if block not in self._dropped_of_block:
                self._block(block)
        self._refuse_damage()

    def read(self, t0_us: int, t1_us: int) -> Events:
        """Events with ``t0_us <= t <= t1_us``: both ends belong to the window, as in RVT's preprocessing.

        An event exactly on the edge between two windows is therefore in both. The arrays may be views; do not write.
        """
        pieces = []
        for block in range(self._stamps.first_block_reaching(t0_us), self._num_blocks):
            events = self._block(block)
            start = np.searchsorted(events.t, t0_us, side="left")
            stop = np.searchsorted(events.t, t1_us, side="right")
            pieces.append(Events(*(column[start:stop] for column in events)))
            if self._stamps.last_us[block] > t1_us:
                break
        if len(pieces) == 1:
            return pieces[0]
        return Events(*map(np.concatenate, zip(_NO_EVENTS, *pieces, strict=True)))

    def unsorted_columns(self) -> list[np.ndarray]:
        """Stamps in microseconds, x, y and p of every event, in the order of the file and as it gives them."""
        blocks = [(self._raw_stamps_us(block), *self._raw_pixels(block)) for block in range(self._num_blocks)]
        return [np.concatenate(column) for column in zip(*blocks, strict=True)]

    def _raw_stamps_us(self, block: int) -> np.ndarray:
        with os_errors(self.path, "read"):
            stamps = self._raw_stamps(block)
        return stamps if self._time_unit == "us" else in_microseconds(stamps, self._time_unit)

    def _visit_all(self) -> None:
        self._stamps.visit_all()
        self._refuse_damage()

    def _refuse_damage(self) -> None:
        if damage := self.damage:
            raise InputError(f"{self.path}: {damage}")

    def _read_block(self, block: int) -> Events:
        t, believed = self._stamps[block]
        with os_errors(self.path, "read"):
            x, y, p = (c.astype(c.dtype.newbyteorder("="), copy=False) for c in self._raw_pixels(block))
        if believed is not None:
            x, y, p = x[believed], y[believed], p[believed]
        smallest_p, largest_p, kept = _count_on_sensor(x, y, p, self.width, self.height)
        if smallest_p < -1 or largest_p > 1:
            raise InputError(
                f"{self.path}: polarity {largest_p if largest_p > 1 else smallest_p}, expected 0 and 1 (or -1 and 1); "
                "convert the recording"
            )
        self._dropped_of_block[block] = len(x) - kept
        p = p if p.dtype == np.uint8 else (p > 0).view(np.uint8)
        events = Events(t, x.astype(np.uint16, copy=False), y.astype(np.uint16, copy=False), p)
        if kept == len(x):
            return events
        inside = (x >= 0) & (x < self.width) & (y >= 0) & (y < self.height)
        return Events(*(column[inside] for column in events))


class IndexedRecording(Recording):
    """A recording whose events have numbers: a block is the same count of them everywhere in the file.

    A format implements ``_stamps_between`` and ``_pixels_between`` for events ``start`` to ``stop`` (exclusive).
    """

    def __init__(self, path: Path, width: int, height: int, length: int, events_per_block: int) -> None:
        self._length = length
        self._events_per_block = events_per_block
        super().__init__(path, width, height, num_blocks=-(-length // events_per_block))

    @abstractmethod
    def _stamps_between(self, start: int, stop: int) -> np.ndarray:
        """See ``_raw_stamps``."""

    @abstractmethod
    def _pixels_between(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See ``_raw_pixels``."""

    def _raw_stamps(self, block: int) -> np.ndarray:
        return self._stamps_between(*self._span(block))

    def _raw_pixels(self, block: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self._pixels_between(*self._span(block))

    def _span(self, block: int) -> tuple[int, int]:
        start = block * self._events_per_block
        return start, min(start + self._events_per_block, self._length)


_NO_EVENTS = Events(np.empty(0, np.int64), np.empty(0, np.uint16), np.empty(0, np.uint16), np.empty(0, np.uint8))


@njit(cache=True, nogil=True)
def _count_on_sensor(x, y, p, width, height):
    """The smallest and the largest polarity, and how many events lie on the sensor."""
    smallest_p = 0
    largest_p = 0
    inside = 0
    for i in range(len(x)):
        smallest_p = min(smallest_p, int(p[i]))
        largest_p = max(largest_p, int(p[i]))
        inside += (x[i] >= 0) & (x[i] < width) & (y[i] >= 0) & (y[i] < height)
    return smallest_p, largest_p, inside
