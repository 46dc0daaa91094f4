"""A RAW file that another program is still writing."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from etram_mmdet.deploy.sources.base import Source
from etram_mmdet.deploy.sources.raw_stream import RawStream
from etram_mmdet.events.recording import NO_EVENTS, Events
from etram_mmdet.utils.files import os_errors

_CHUNK_BYTES = 1 << 20


class GrowingRaw(Source):
    """A RAW file, read as it grows. The caller says when it is complete.

    The size of the sensor is known when the first events have come.

    Args:
        path: the file.
        is_over: says whether the file is complete if it has not grown for this many seconds.
        sensor_px: width and height of the sensor, for a file whose header does not state them.
            Default: None, see ``likely_px``.
        likely_px: size that is assumed if nothing states one and the first events fit. Default:
            the size of the camera that introduced the encoding.
        clock: gives the time in seconds. Default: the system's.
    """

    can_wait = True

    def __init__(
        self,
        path: Path,
        is_over: Callable[[float], bool],
        sensor_px: tuple[int, int] | None = None,
        likely_px: tuple[int, int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self._is_over = is_over
        self._stream = RawStream(str(path), sensor_px, likely_px)
        self._clock = clock
        self._file: BinaryIO | None = None
        self._has_ended = False

    @property
    def dropped(self) -> dict[str, int]:
        return self._stream.dropped

    @property
    def reached_us(self) -> int | None:
        return self._stream.reached_us

    def open(self) -> None:
        with os_errors(self.path, "read"):
            self._file = self.path.open("rb", buffering=0)
        self._grew_s = self._clock()

    def read(self, timeout_s: float) -> Events | None:
        """What was written since the last call, without waiting; see :meth:`Source.read`."""
        self._stream.check()
        if self._has_ended:
            return None
        with os_errors(self.path, "read"):
            data = self._file.read(_CHUNK_BYTES)
        events = NO_EVENTS
        if data:
            self._grew_s = self._clock()
            events = self._stream(data)
        elif self._is_over(self._clock() - self._grew_s):
            self._has_ended = True
            events = self._stream.finish()
        if self._stream.intake is not None:
            self.width = self._stream.intake.width
            self.height = self._stream.intake.height
        return events

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
