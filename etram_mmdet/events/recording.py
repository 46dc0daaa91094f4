"""Base class of recordings: events are read by time window in bounded memory."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from functools import lru_cache
from importlib import import_module
from pathlib import Path

import numpy as np

from etram_mmdet.events.block_stamps import BlockStamps
from etram_mmdet.events.choices import TimeUnit
from etram_mmdet.events.columns import NO_EVENTS, Events
from etram_mmdet.events.damage import MAX_DAMAGED, told_of_damage
from etram_mmdet.events.on_sensor import check_sensor, events_on_sensor
from etram_mmdet.events.time_units import floats_in_microseconds, in_microseconds
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import os_errors
from etram_mmdet.utils.open_files import OPEN_FILES

# Names that this module held, and their modules now.
_MOVED = dict(
    IndexedRecording="indexed_recording", find_column="columns", count_on_sensor="on_sensor"
)


def __getattr__(name: str) -> object:
    if name not in _MOVED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = f"etram_mmdet.events.{_MOVED[name]}"
    warnings.warn(f"{name} is in {module} now; import it from there", FutureWarning, stacklevel=2)
    return getattr(import_module(module), name)


class Recording(ABC):
    """A recording of events, read by time window in blocks; memory does not grow with the file.

    At most two blocks of events and the requested window are in memory (a block: about a million
    events, 13 MB), and the stamps of a third block if stamps jump.

    Stamps that step back by a few milliseconds are raised to the largest stamp before them. RVT's
    preprocessing does so with all that step back. Events whose stamp the others contradict (see
    :mod:`etram_mmdet.events.time_stamps`) and events outside the sensor are dropped. All are
    counted over the blocks read so far. ``read_rest`` completes the counts, and refuses a recording
    if more than ``MAX_DAMAGED`` of its events were raised or dropped.

    A subclass for a file format implements ``_raw_stamps`` and ``_raw_pixels`` and calls
    ``__init__`` with the numbers of the file's header. Blocks are asked for in order the first
    time, later in any order. A block may be empty.

    Args:
        path: the file.
        width: columns of the sensor.
        height: rows of the sensor.
        num_blocks: number of blocks in the file.

    Raises:
        InputError: when the sensor size is impossible or the file holds no usable event.
    """

    suffixes: tuple[str, ...]
    signature: bytes | tuple[bytes, ...]
    size_is_assumed = False  # True if the file does not state the sensor's size
    takes_columns = False  # True if columns may have no names, so that a constructor takes them too
    stamps_are_seconds = False  # unless declare_time_unit says another unit
    notes: tuple[str, ...] = ()  # sentences for the user about content that is not used

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
        """Whether a file is of this format, by its first bytes ``head``."""
        return head.startswith(cls.signature)

    def _begin(self) -> None:
        """Forget everything that was read and find the first event."""
        self._stamps = BlockStamps(self._raw_stamps_us, self._num_blocks)
        self.release()
        self._dropped_of_block: dict[int, int] = {}
        while not self._stamps.num_kept and len(self._stamps.last_us) < self._num_blocks:
            first, _ = self._stamps[len(self._stamps.last_us)]
        if not self._stamps.num_kept:
            which = "events with usable time stamps" if self._stamps.num_events else "events"
            raise InputError(
                f"{self.path}: the recording holds no {which}; record it again or remove it from "
                "the folder"
            )
        self.t_first_us = int(first[0])

    @abstractmethod
    def _raw_stamps(self, block: int) -> np.ndarray:
        """Stamps of a block's events in file order, in a new array.

        They are int64 in microseconds, or floating-point numbers.
        """

    @abstractmethod
    def _raw_pixels(self, block: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Integer x, y and p of a block's events in file order; p of -1 or 0 means off."""

    def _open_file(self):
        """Open the file for reading; called again after it was closed.

        The result needs a method ``close()``.
        """
        return self.path.open("rb")

    @property
    def _file(self):
        """The open file; get it before each use, since its position may have changed."""
        with os_errors(self.path, "read"):
            return OPEN_FILES.of(self, self._open_file)

    def close(self) -> None:
        """Close the file; reading afterwards opens it again."""
        OPEN_FILES.close(self)

    def declare_sensor(self, width: int, height: int) -> None:
        """Replace an assumed sensor size, before events are read.

        Raises:
            InputError: when the file states another size.
        """
        check_sensor(self.path, width, height)
        if not self.size_is_assumed and (width, height) != (self.width, self.height):
            said = f"{self.width}x{self.height}"
            self.close()
            raise InputError(
                f"{self.path}: the file states a sensor of {said}, but {width}x{height} is given; "
                "leave the size out"
            )
        self.width = width
        self.height = height
        self.size_is_assumed = False

    def take_sensor(self, width: int, height: int) -> bool:
        """Assume a sensor size that is known from elsewhere, if it fits; returns whether it does.

        It is refused if the file states a size, or if more than ``MAX_DAMAGED`` of the first
        block's events lie outside.
        """
        if not self.size_is_assumed:
            return False
        if (width, height) != (self.width, self.height):
            _, x, y, _ = self._block(0)
            outside = np.count_nonzero((x >= width) | (y >= height))
            if outside > MAX_DAMAGED * len(x):
                return False
            self.declare_sensor(width, height)
            self.size_is_assumed = True
            self._block.cache_clear()
            self._dropped_of_block.clear()
        return True

    def declare_time_unit(self, unit: TimeUnit) -> None:
        """Set the unit of the file's stamps, before events are read. Default: microseconds."""
        self._time_unit = unit
        self._begin()

    @property
    def clock_start_us(self) -> int:
        """Start of the recording in microseconds.

        It is the first event, or a time that the format states.
        """
        return self.t_first_us

    def release(self) -> None:
        """Free the events that are kept for the next window."""
        self._stamps.release()
        self._block.cache_clear()

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    @property
    def t_last_us(self) -> int:
        """Largest usable stamp in microseconds. The first use reads the stamps of the whole file.

        Raises:
            InputError: when too many stamps are damaged.
        """
        self._visit_all()
        return self._stamps.last_us[-1]

    @property
    def num_events(self) -> int:
        """Number of events in the file, dropped ones included.

        Reads all stamps, as ``t_last_us`` does.
        """
        self._visit_all()
        return self._stamps.num_events

    @property
    def stamps_corrected(self) -> int:
        """Number of stamps that were raised, in the blocks read so far."""
        return self._stamps.num_corrected

    @property
    def dropped(self) -> dict[str, int]:
        """Number of dropped events by reason, in the blocks read so far.

        A format may add reasons of its own.
        """
        bad_stamps = self._stamps.num_events - self._stamps.num_kept
        found = {"events_with_bad_stamp": bad_stamps} if bad_stamps else {}
        return {"events_out_of_frame": self.dropped_out_of_frame, **found}

    @property
    def damage(self) -> str:
        """Why the recording counts as damaged, by the events read so far; empty if it is sound.

        It is damaged if more than ``MAX_DAMAGED`` of the events (and more than ten) were raised or
        dropped.
        """
        lost = {name: n for name, n in self.dropped.items() if name.startswith("events_")}
        lost["stamps_corrected"] = self.stamps_corrected
        return told_of_damage(lost, self._stamps.num_events, (self.width, self.height))

    @property
    def dropped_out_of_frame(self) -> int:
        """Number of events outside the sensor in the blocks read so far, each counted once."""
        return sum(self._dropped_of_block.values())

    def read_rest(self) -> None:
        """Read the blocks that no window has needed, so that the counts cover the whole file.

        Raises:
            InputError: when more than ``MAX_DAMAGED`` of the events were raised or dropped.
        """
        for block in range(self._num_blocks):
            if block not in self._dropped_of_block:
                self._block(block)
        self._refuse_damage()

    def read(self, t0_us: int, t1_us: int) -> Events:
        """Events with ``t0_us <= t <= t1_us``.

        Both ends belong to the window, as in RVT's preprocessing. An event exactly on the edge
        between two windows is therefore in both. The arrays may be views of internal memory: do not
        write to them.
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
        return Events(*map(np.concatenate, zip(NO_EVENTS, *pieces, strict=True)))

    def reaches(self, t_us: int) -> bool:
        """Whether the recording has an event at ``t_us`` or later; reads the stamps up to it.

        Args:
            t_us: time in microseconds of the recording's clock.
        """
        return self._stamps.first_block_reaching(t_us) < self._num_blocks

    def unsorted_columns(self) -> list[np.ndarray]:
        """Stamps in microseconds, x, y and p of all events, unchanged, in file order."""
        blocks = [
            (self._raw_stamps_us(block), *self._raw_pixels(block))
            for block in range(self._num_blocks)
        ]
        return [np.concatenate(column) for column in zip(*blocks, strict=True)]

    def _raw_stamps_us(self, block: int) -> np.ndarray:
        with os_errors(self.path, "read"):
            stamps = self._raw_stamps(block)
        if stamps.dtype.kind == "f":
            is_stated = self._time_unit != "us" or not self.stamps_are_seconds
            return floats_in_microseconds(stamps, self._time_unit if is_stated else "s")
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
            x, y, p = (
                c.astype(c.dtype.newbyteorder("="), copy=False) for c in self._raw_pixels(block)
            )
        if believed is not None:
            x, y, p = x[believed], y[believed], p[believed]
        size_px = self.width, self.height
        events, self._dropped_of_block[block] = events_on_sensor(self.path, t, x, y, p, size_px)
        return events
