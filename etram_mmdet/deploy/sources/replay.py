"""Replay a recording as if it came from a camera."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path

from etram_mmdet.deploy.sources.base import Source
from etram_mmdet.events.formats import open_recording
from etram_mmdet.events.recording import NO_EVENTS, Events, Recording
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.notices import say

# Empty packets that are passed over in one call. A pause of hours thus holds nobody up.
_MOST_EMPTY = 1000


class Replay(Source):
    """A recording of any format, in packets that come when the camera sent them.

    A reader that is too slow gets the packets later and loses none.

    Args:
        path: file of the recording.
        speed: seconds of the recording per second. ``math.inf`` gives packets as fast as they are
            read. Default: 1, real time.
        packet_us: length of a packet, in microseconds. Default: 5,000.
        sensor_px: width and height of the sensor, for a file that does not state them. Default:
            None, see ``likely_px``.
        likely_px: size that is assumed if nothing states one and the first events fit. Default: the
            smallest known sensor that they fit into.
        can_wait: False lets the replay pass for a camera, for trials. Default: True.
        clock: gives the time in seconds. Default: the system's.
        sleep: waits for a number of seconds. Default: the system's.

    Attributes:
        packet_us: length of a packet, in microseconds.

    Raises:
        InputError: the speed is not positive.
    """

    def __init__(
        self,
        path: str | Path,
        speed: float = 1.0,
        packet_us: int = 5_000,
        sensor_px: tuple[int, int] | None = None,
        likely_px: tuple[int, int] | None = None,
        can_wait: bool = True,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not speed > 0:
            raise InputError(
                f"speed {speed}: expected a number above 0, 1 for real time, or inf for as fast as "
                "possible"
            )
        self.path = Path(path)
        self.can_wait = can_wait
        self._speed = speed
        self.packet_us = packet_us
        self._sensor_px = sensor_px
        self._likely_px = likely_px
        self._clock = clock
        self._sleep = sleep
        self._recording: Recording | None = None
        self._started_s: float | None = None

    @property
    def recording(self) -> Recording:
        """The open recording."""
        return self._recording

    @property
    def dropped(self) -> dict[str, int]:
        found = self._recording.dropped if self._recording else {}
        return {reason: count for reason, count in found.items() if count}

    @property
    def reached_us(self) -> int | None:
        return self._next_us if self._recording else None

    def open(self) -> None:
        self._recording = open_recording(self.path, self._sensor_px)
        if self._sensor_px is None and self._likely_px is not None:
            self._recording.take_sensor(*self._likely_px)
        self.width = self._recording.width
        self.height = self._recording.height
        self._next_us = self._recording.t_first_us

    def read(self, timeout_s: float) -> Events | None:
        until_s = self._clock() + timeout_s
        for _ in range(_MOST_EMPTY):
            if not self._recording.reaches(self._next_us):
                break
            if not self._wait_for(self._next_us + self.packet_us, until_s):
                return NO_EVENTS
            start_us = self._next_us
            self._next_us += self.packet_us
            events = self._recording.read(start_us, self._next_us - 1)
            if len(events.t):
                return events
        else:
            return NO_EVENTS
        if damage := self._recording.damage:
            say(f"{self.path}: {damage}", logging.WARNING)
        return None

    def close(self) -> None:
        if self._recording is not None:
            self._recording.close()

    def due_s(self, t_us: int) -> float | None:
        """When a camera would have sent an event, in seconds of ``clock``.

        ``None`` if nothing was read yet, or packets come as fast as possible.

        Args:
            t_us: time of the event, in microseconds of the recording's clock.
        """
        if self._started_s is None:
            return None
        return self._started_s + (t_us - self._recording.t_first_us) / 1e6 / self._speed

    def _wait_for(self, t_us: int, until_s: float) -> bool:
        """Wait until ``t_us`` has come; False if ``until_s`` comes first."""
        if math.isinf(self._speed):
            return True
        now_s = self._clock()
        if self._started_s is None:
            self._started_s = now_s
        due_s = self.due_s(t_us)
        if due_s > now_s:
            self._sleep(max(min(due_s, until_s) - now_s, 0))
        return due_s <= until_s
