"""Record events while they come, into a RAW file that is readable at any moment."""

from __future__ import annotations

import errno
import logging
import os
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
from numba import njit

from etram_mmdet.deploy.live.names import create
from etram_mmdet.events.recording import Events
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import because, os_errors
from etram_mmdet.utils.notices import say

MAX_SIDE_PX = 1 << 11
_WORD = np.dtype("<u4")
# A reader of EVT 2.0 notices that the time began again (after 4.8 h) if it sees it go on in steps
# shorter than this many times 64 us (18 minutes).
_LONGEST_STEP = 1 << 24
_TICK = 1_000_000 >> 6  # a second


class Recorder:
    """Writes packets to a RAW file in EVT 2.0, packet by packet, without a buffer of its own.

    If the program is killed, what was written can be read. If the disk is full, the file is cut
    after its last whole word, recording ends with a warning, and the program goes on.

    Times above 4.8 hours begin again from zero in the file, as in all EVT 2.0 files. A reader adds
    the turns that it sees.

    Args:
        path: new file, or a pipe; its suffix is ``.raw``.
        width: columns of the sensor, at most 2048 pixels.
        height: rows of the sensor, at most 2048 pixels.

    Attributes:
        num_events: number of events in the file.
        failure: sentence on what ended the recording early; empty if nothing did.

    Raises:
        InputError: the suffix is another, the file exists or cannot be written, or the sensor is
            too large.
    """

    def __init__(self, path: Path, width: int, height: int) -> None:
        self.path = path
        self.num_events = 0
        self.failure = ""
        if path.suffix.lower() != ".raw":
            raise InputError(f"--record {path}: expected a name that ends in .raw")
        if max(width, height) > MAX_SIDE_PX:
            raise InputError(
                f"--record {path}: a sensor of {width}x{height} pixels, but EVT 2.0 holds sides of "
                f"at most {MAX_SIDE_PX}; leave --record out"
            )
        self._file = create(path, "--record")
        self._is_file = path.is_file()  # and no pipe
        header = f"% evt 2.0\n% format EVT2;height={height};width={width}\n"
        header += f"% geometry {width}x{height}\n% end\n"
        self._high = np.full(1, -1, np.int64)  # upper part of the last time
        self._size_bytes = 0
        try:
            with os_errors(path, "written"):
                self._append(memoryview(header.encode()))
        except InputError:
            self._file.close()
            if self._is_file:
                path.unlink(missing_ok=True)
            raise
        self._data_start = self._size_bytes

    def write(self, events: Events, reached_us: int | None = None) -> None:
        """Append a packet; does nothing after a failure.

        While nothing happens the file notes the time once a second, as cameras do. So a reader can
        tell silence from a jump of the time.

        Args:
            events: in time order, after those of the packet before.
            reached_us: time on the events' clock before which no other event will come, in
                microseconds. Default: not known.
        """
        if self.failure:
            return
        if len(events.t):
            self._put(encode_evt2(events, self._high))
        elif reached_us is not None and self._high[0] >= 0:
            high = reached_us >> 6
            if high - self._high[0] >= _TICK:
                steps = np.arange(self._high[0] + _LONGEST_STEP, high, _LONGEST_STEP)
                words = np.append(steps, high) & 0xFFFFFFF | 0x80000000
                self._high[0] = high
                self._put(words.astype(_WORD))

    def _put(self, words: np.ndarray) -> None:
        start_bytes = self._size_bytes
        try:
            self._append(memoryview(words).cast("B"))
        except OSError as error:
            self._end_early(error)
        written = words[: (self._size_bytes - start_bytes) // _WORD.itemsize]
        self.num_events += int(np.count_nonzero(written >> 28 <= 1))

    def close(self) -> None:
        """Close the file after its content has reached the disk; without an event it is removed."""
        if not self._file.closed:
            try:
                with closing(self._file):
                    if self._is_file:
                        os.fsync(self._file.fileno())
            except OSError as error:
                self.failure = self.failure or f"{self.path}: {because(error, self.path)}"
            if self._is_file and self._size_bytes == self._data_start:
                self.path.unlink(missing_ok=True)

    def _append(self, data: memoryview) -> None:
        while data:
            written = self._file.write(data)
            if not written:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._size_bytes += written
            data = data[written:]

    def _end_early(self, error: OSError) -> None:
        self._size_bytes -= (self._size_bytes - self._data_start) % _WORD.itemsize
        with suppress(OSError):  # a reader leaves half a word at the end out
            self._file.truncate(self._size_bytes)
        self.failure = (
            f"{self.path}: the recording ended early: {because(error, self.path)}; what was "
            "recorded until then can be read"
        )
        say(self.failure, logging.WARNING)


def encode_evt2(events: Events, high: np.ndarray) -> np.ndarray:
    """Words of EVT 2.0, see :func:`etram_mmdet.events.formats.evt.decode_evt2`.

    Args:
        events: in time order.
        high: (1,) int64, upper part of the time of the last word; -1 at the start of a file.
            Changed in place.

    Returns:
        (N,) uint32 words.
    """
    first = int(events.t[0]) >> 6 if high[0] < 0 else int(high[0])
    num_steps = ((int(events.t[-1]) >> 6) - first) // _LONGEST_STEP
    words = np.empty(2 * len(events.t) + num_steps + 1, _WORD)
    return words[: _encode(*events, high, words)]


@njit(cache=True, nogil=True)
def _encode(t, x, y, p, high, words):
    n = 0
    last = high[0]
    for i in range(len(t)):
        new = np.int64(t[i]) >> 6
        if new != last:
            while last >= 0 and new - last > _LONGEST_STEP:
                last += _LONGEST_STEP
                words[n] = 0x80000000 | (last & 0xFFFFFFF)
                n += 1
            words[n] = 0x80000000 | (new & 0xFFFFFFF)
            n += 1
            last = new
        words[n] = (
            (np.int64(p[i]) << 28)
            | ((np.int64(t[i]) & 0x3F) << 22)
            | (np.int64(x[i]) << 11)
            | np.int64(y[i])
        )
        n += 1
    high[0] = last
    return n
