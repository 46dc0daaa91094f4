"""Events that wait between the thread that reads and the loop that detects."""

from __future__ import annotations

import threading
from collections import deque
from pathlib import Path
from typing import NamedTuple

from etram_mmdet.deploy.live.buffer_file import BufferFile, Stored
from etram_mmdet.events.recording import NO_EVENTS, Events

# 13 bytes an event in memory.
MAX_EVENTS = 1_000_000
_MAX_PACKETS = 10_000


class Arrival(NamedTuple):
    """A packet as it came.

    Attributes:
        events: in time order; may be none.
        arrived_s: when it came, in seconds of the reader's clock.
        clock_us: time that the source's clock had reached, in microseconds; None if not known.
        gap_us: first and last time of events that were lost instead, in microseconds. Default:
            nothing was lost.
    """

    events: Events
    arrived_s: float
    clock_us: int | None
    gap_us: tuple[int, int] | None = None


class Backlog:
    """A queue of packets that stays within its limits.

    What happens when `MAX_EVENTS` wait depends on the source and on the policy:

    - ``keep_us`` is given (only the newest window counts): packets that only older windows need
      are left out.
    - The source can wait: :meth:`put` waits, so the source is slowed down.
    - A camera: packets go to the buffer file. When that is full they are lost, and a gap is noted
      instead.

    Args:
        buffer: the buffer file. Default: none, the source can wait.
        keep_us: microseconds before the newest event that are kept. Default: all.

    Attributes:
        num_lost: events that found no room.
    """

    def __init__(self, buffer: BufferFile | None = None, keep_us: int | None = None) -> None:
        self.num_lost = 0
        self._buffer = buffer
        self._keep_us = keep_us
        self._waiting: deque[Arrival | tuple[Arrival, Stored]] = deque()
        self._num_events = 0  # in memory
        self._is_closed = False
        self._changed = threading.Condition()

    def put(self, arrival: Arrival) -> None:
        """Add a packet; called by the thread that reads.

        Args:
            arrival: the packet.
        """
        count = len(arrival.events.t)
        with self._changed:
            if self._keep_us is None and self._buffer is None:
                self._changed.wait_for(lambda: not self._is_full or self._is_closed)
            if self._buffer is not None and self._keep_us is None and self._is_full and count:
                self._put_aside(arrival)
            else:
                self._waiting.append(arrival)
                self._num_events += count
            if self._keep_us is not None and count:
                self._leave_out(int(arrival.events.t[-1]) - self._keep_us)
            self._changed.notify_all()

    def take(self, timeout_s: float, all_that_wait: bool) -> list[Arrival] | None:
        """The next packets; called by the loop that detects.

        Args:
            timeout_s: longest time to wait, in seconds.
            all_that_wait: whether to take all of them, and not only the first.

        Returns:
            Packets in order; none if none came in time; ``None`` when :meth:`close` was called and
            no packet is left.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed, timeout_s)
            if not self._waiting:
                return None if self._is_closed else []
            number = len(self._waiting) if all_that_wait else 1
            taken = [self._pop() for _ in range(number)]
            self._changed.notify_all()
        return taken

    def close(self) -> None:
        """Say that no packet follows."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    @property
    def _is_full(self) -> bool:
        return self._num_events >= MAX_EVENTS or len(self._waiting) >= _MAX_PACKETS

    def _pop(self) -> Arrival:
        first = self._waiting.popleft()
        if isinstance(first, Arrival):
            self._num_events -= len(first.events.t)
            return first
        arrival, stored = first
        return arrival._replace(events=self._buffer.get(stored))

    def _put_aside(self, arrival: Arrival) -> None:
        stored = self._buffer.put(arrival.events)
        if stored is not None:
            self._waiting.append((arrival._replace(events=NO_EVENTS), stored))
            return
        t = arrival.events.t
        self.num_lost += len(t)
        gap_us = int(t[0]), int(t[-1])
        last = self._waiting[-1]
        if isinstance(last, Arrival) and last.gap_us is not None:
            gap_us = last.gap_us[0], gap_us[1]
            self._waiting.pop()
        self._waiting.append(arrival._replace(events=NO_EVENTS, gap_us=gap_us))

    def _leave_out(self, before_us: int) -> None:
        while len(self._waiting) > 1:
            t = self._waiting[0].events.t
            if len(t) and t[-1] >= before_us:
                return
            self._num_events -= len(t)
            self._waiting.popleft()


def backlog_for(
    can_wait: bool, is_newest: bool, keep_us: int, buffer_bytes: int, folder: Path | None = None
) -> Backlog:
    """The queue for a source and a policy.

    Args:
        can_wait: whether the source can be slowed down.
        is_newest: whether only the newest window counts.
        keep_us: microseconds of events that the newest window and one step need.
        buffer_bytes: size of the buffer file of a source that cannot wait.
        folder: where the buffer file is made. Default: the system's folder for temporary files.
    """
    if is_newest:
        return Backlog(keep_us=keep_us)
    return Backlog() if can_wait else Backlog(BufferFile(buffer_bytes, folder))
