"""A folder into which another program writes recordings, one after the other."""

from __future__ import annotations

import logging
import math
import os
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from etram_mmdet.deploy.sources.base import Source
from etram_mmdet.deploy.sources.growing_raw import GrowingRaw
from etram_mmdet.deploy.sources.replay import Replay
from etram_mmdet.events.preprocessing.sources import is_recording
from etram_mmdet.events.recording import NO_EVENTS, Events
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import os_errors
from etram_mmdet.utils.notices import say

Order = Literal["name", "time"]

_LOOK_S = 0.2  # from one look into the folder to the next
_PAUSE_S = 0.01  # from one look at a growing file to the next


@dataclass
class _File:
    """What is known of a recording in the folder.

    Attributes:
        size: bytes at the last look.
        since_s: when it had this size for the first time.
        changed_ns: time of its last change, by the file system.
        is_done: whether it was read, or refused.
        may_retry: whether it was refused before any of its events was read.
    """

    size: int = -1
    since_s: float = 0.0
    changed_ns: int = 0
    is_done: bool = False
    may_retry: bool = False


class GrowingFolder(Source):
    """The recordings of a folder, one after the other, and those that come later.

    The rules:

    - Recordings are read strictly in order: by name (``rec_2`` before ``rec_10``) or by the time
      of their last change. One that comes late, with a smaller name, is read next.
    - A RAW file is read as it grows. It is complete when it has not grown for ``settle_s`` and
      another recording is there.
    - A file of another format is read when its size has not changed for ``settle_s``.
    - Hidden files and unfinished downloads (``.part``, ``.tmp``, ...) are left alone, so a program
      that writes under such a name and renames the file is safe in any case.
    - A recording that cannot be read, or of another sensor, is left out with a warning. One that
      could not be opened is tried again when its size changes.
    - Times go on from one recording to the next. One whose clock begins before the end of the
      recording before is shifted to begin there.

    The source never ends by itself.

    Args:
        folder: the folder.
        speed: seconds of a recording per second, for files that are not RAW. Default:
            ``math.inf``, as fast as they are read.
        sensor_px: width and height of the sensor, for files that do not state them. Default: None,
            see ``likely_px``.
        likely_px: size that is assumed if nothing states one and the first events fit. Default: a
            known sensor that they fit into.
        order: ``"name"`` or ``"time"``. Default: by name.
        settle_s: seconds without a change after which a file counts as complete. Default: 2.
        clock: gives the time in seconds. Default: the system's.
        sleep: waits for a number of seconds. Default: the system's.
    """

    can_wait = True

    def __init__(
        self,
        folder: str | Path,
        speed: float = math.inf,
        sensor_px: tuple[int, int] | None = None,
        likely_px: tuple[int, int] | None = None,
        order: Order = "name",
        settle_s: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.folder = Path(folder)
        self._speed = speed
        self._sizes_px = dict(sensor_px=sensor_px, likely_px=likely_px)
        self._order = order
        self._settle_s = settle_s
        self._clock = clock
        self._sleep = sleep
        self._files: dict[str, _File] = {}
        self._looked_s = -math.inf
        self._current: Source | None = None
        self._first = NO_EVENTS
        self._dropped: Counter[str] = Counter()
        self._last_us = 0
        self._shift_us: int | None = None  # of the current recording; None before its first event
        self._px: tuple[int, int] | None = None

    @property
    def dropped(self) -> dict[str, int]:
        return dict(self._dropped + Counter(self._current.dropped if self._current else {}))

    @property
    def reached_us(self) -> int | None:
        if self._shift_us is None or self._current is None:
            return self._last_us
        reached_us = self._current.reached_us + self._shift_us
        if isinstance(self._current, Replay):
            # the next recording may begin before the last packet of this one ends
            reached_us -= self._current.packet_us
        return max(reached_us, self._last_us)

    def open(self) -> None:
        self._look()
        if not self._unread():
            say(f"{self.folder}: waits for the first recording")
        while not len(self._first.t):
            self._first = self.read(_LOOK_S)
        self.width, self.height = self._px

    def read(self, timeout_s: float) -> Events | None:
        events = self._first
        self._first = NO_EVENTS
        until_s = self._clock() + timeout_s
        before_us = self.reached_us
        while not len(events.t):
            events = self._available()
            left_s = until_s - self._clock()
            # A silence is told in parts, so that it does not look like a jump of the time.
            if left_s <= 0 or self.reached_us > before_us:
                break
            if not len(events.t):
                self._sleep(min(_PAUSE_S, left_s))
        return events

    def close(self) -> None:
        if self._current is not None:
            self._current.close()

    def _available(self) -> Events:
        """Events of the current recording, or of the next one; none if there are none yet."""
        if self._clock() - self._looked_s >= _LOOK_S:
            self._look()
        if self._current is None:
            self._current = self._next()
        if self._current is None:
            return NO_EVENTS
        try:
            events = self._current.read(0)
            if events is None:
                self._leave()
            elif len(events.t):
                return self._followed(events)
        except InputError as error:
            say(f"{error}; the rest of this recording is left out", logging.WARNING)
            self._leave()
        return NO_EVENTS

    def _look(self) -> None:
        """Bring what is known of the files up to date."""
        self._looked_s = self._clock()
        with os_errors(self.folder, "read"):
            paths = [self.folder / name for name in os.listdir(self.folder)]
        found = {path.name: _status(path) for path in paths if is_recording(path)}
        for name, status in found.items():
            if status is not None:
                self._update(name, status)
        for name in self._unread():
            if found.get(name) is None:  # it was taken away
                del self._files[name]

    def _update(self, name: str, status: os.stat_result) -> None:
        file = self._files.setdefault(name, _File())
        if status.st_size == file.size:
            return
        file.size = status.st_size
        file.since_s = self._looked_s
        file.changed_ns = status.st_mtime_ns
        if file.may_retry:
            file.is_done = file.may_retry = False
        elif file.is_done and not (self._current and self._current.path.name == name):
            say(
                f"{self.folder / name}: was changed after it was read; the change is left out",
                logging.WARNING,
            )

    def _unread(self) -> list[str]:
        """Names of the recordings to read, in order."""
        names = [name for name, file in self._files.items() if not file.is_done]
        if self._order == "time":
            return sorted(names, key=lambda name: (self._files[name].changed_ns, _natural(name)))
        return sorted(names, key=_natural)

    def _next(self) -> Source | None:
        """The next recording, open; None if it is not complete yet or cannot be read."""
        names = self._unread()
        if not names:
            return None
        path = self.folder / names[0]
        file = self._files[path.name]
        if path.suffix.lower() == ".raw":
            source = GrowingRaw(path, self._is_over, **self._sizes_px, clock=self._clock)
        elif self._clock() - file.since_s < self._settle_s:
            return None
        else:
            source = Replay(
                path, self._speed, **self._sizes_px, clock=self._clock, sleep=self._sleep
            )
        file.is_done = True
        self._shift_us = None
        try:
            source.open()
        except InputError as error:
            file.may_retry = True
            say(f"{error}; this recording is left out", logging.WARNING)
            return None
        return source

    def _is_over(self, quiet_s: float) -> bool:
        return quiet_s >= self._settle_s and bool(self._unread())

    def _check_size(self) -> None:
        px = self._current.width, self._current.height
        self._px = self._px or px
        if px != self._px:
            raise InputError(
                f"{self._current.path}: a sensor of {px[0]}x{px[1]} pixels, but that of the "
                f"recordings before is {self._px[0]}x{self._px[1]}; write it into another folder"
            )

    def _followed(self, events: Events) -> Events:
        """Events of the right sensor, with times that go on from the recording before."""
        self._check_size()
        first_us = int(events.t[0])
        if self._shift_us is None:
            self._shift_us = max(self._last_us - first_us, 0)
            if self._shift_us:
                say(
                    f"{self._current.path}: begins {self._shift_us / 1e6:.1f} s before the end of "
                    f"the recording before; its times go on from {self._last_us} us"
                )
        if self._shift_us:
            events = events._replace(t=events.t + self._shift_us)
        self._last_us = int(events.t[-1])
        return events

    def _leave(self) -> None:
        self._last_us = self.reached_us
        self._current.close()
        self._dropped += Counter(self._current.dropped)
        self._current = None


def _status(path: Path) -> os.stat_result | None:
    """Size and times of a file; None if it was removed by now."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key: digits count as numbers."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)
    ]
