"""Cut events that come in packets into windows."""

from __future__ import annotations

import logging
from collections import deque

import numpy as np

from etram_mmdet.deploy.window_times import start_on_grid
from etram_mmdet.events.recording import NO_EVENTS, Events
from etram_mmdet.utils.notices import say

# A window in which nothing follows ends so much later than the source's clock says. A replay thus
# never ends a window behind the last event of its recording, and gives the windows of tools/detect.
QUIET_US = 10_000
# A time that jumps ahead further at once is no quiet scene, in which the clock goes on in small
# steps, but another clock or damage. It must not bring hours of empty windows.
MAX_JUMP_US = 60_000_000


class Windower:
    """Collects events and cuts windows that end every step, as in a recording.

    Windows lie on the grid of :func:`start_on_grid`. A window holds the events from its start to
    its end, both included. It is complete when a later event has come, or when the source's
    clock is `QUIET_US` beyond it.

    Args:
        window_us: length of a window, in microseconds.
        step_us: from the end of one window to the end of the next, in microseconds.
    """

    def __init__(self, window_us: int, step_us: int) -> None:
        self.window_us = window_us
        self.step_us = step_us
        self._parts: deque[Events] = deque()
        self._gaps: deque[tuple[int, int]] = deque()  # first and last microsecond of lost events
        self._jumps: deque[tuple[int, int]] = deque()  # times before and after
        self._passed: deque[tuple[int, float]] = deque()  # time reached, and when on the wall
        self._next_us: int | None = None  # end of the next window
        self._last_us = 0
        self._reached_us = 0

    def add(self, events: Events, arrived_s: float, clock_us: int | None = None) -> None:
        """Take a packet.

        Args:
            events: in time order, after those of the packet before.
            arrived_s: when it came, in seconds of the caller's clock.
            clock_us: time that the source's clock has reached, in microseconds. Default: not known.
        """
        if len(events.t):
            self._parts.append(events)
            self._note_jumps(events.t)
            self._reach(int(events.t[0]), int(events.t[-1]), arrived_s)
        if clock_us is not None and self._next_us is not None:
            self._note_jumps(np.array([clock_us - QUIET_US]))
            self._pass(clock_us - QUIET_US, arrived_s)

    def add_gap(self, first_us: int, last_us: int, arrived_s: float) -> None:
        """Note that events were lost; windows that would hold them are dropped.

        Args:
            first_us: time of the first lost event, in microseconds.
            last_us: time of the last one.
            arrived_s: as for :meth:`add`.
        """
        self._gaps.append((first_us, last_us))
        self._reach(first_us, last_us, arrived_s)

    def ends(self, is_over: bool = False) -> range:
        """Ends of the complete windows that were not cut yet, in microseconds.

        Args:
            is_over: whether no event will follow; a window may then end with the last event.
                Default: False.
        """
        if self._next_us is None:
            return range(0)
        stop_us = max(self._reached_us, self._last_us + 1) if is_over else self._reached_us
        return range(self._next_us, stop_us, self.step_us)

    def jump_over(self, end_us: int) -> int:
        """Leave out windows that lie in a jump of the source's time, see `MAX_JUMP_US`.

        Args:
            end_us: one of :meth:`ends`.

        Returns:
            Number of windows that are left out from this one on; 0 if it lies in no jump.
        """
        while self._jumps and self._jumps[0][1] <= end_us:
            self._jumps.popleft()
        if not self._jumps or end_us - self.window_us <= self._jumps[0][0]:
            return 0
        number = -((end_us - self._jumps[0][1]) // self.step_us)  # ends before the jump's end
        self._next_us = end_us + number * self.step_us
        return number

    def cut(self, end_us: int) -> Events | None:
        """The events of a window. Earlier windows can no longer be cut.

        Args:
            end_us: one of :meth:`ends`.

        Returns:
            Events of the window; ``None`` if some of them were lost.
        """
        start_us = end_us - self.window_us
        self._next_us = end_us + self.step_us
        self._forget(self._next_us - self.window_us)
        self._forget_times(end_us)
        if any(first <= end_us and last >= start_us for first, last in self._gaps):
            return None
        return _joined([_between(part, start_us, end_us) for part in self._parts])

    def passed_s(self, end_us: int) -> float | None:
        """When the first packet beyond a window came, in seconds of the caller's clock.

        Args:
            end_us: end of the window, in microseconds.

        Returns:
            The time; that of the latest packet if none is beyond.
        """
        self._forget_times(end_us)
        return self._passed[0][1] if self._passed else None

    def _reach(self, first_us: int, last_us: int, arrived_s: float) -> None:
        if self._next_us is None:
            self._next_us = start_on_grid(first_us, self.step_us) + self.step_us
        self._last_us = last_us
        self._pass(last_us, arrived_s)

    def _pass(self, reached_us: int, arrived_s: float) -> None:
        if not self._passed or reached_us > self._reached_us:
            self._reached_us = reached_us
            self._passed.append((reached_us, arrived_s))

    def _note_jumps(self, t: np.ndarray) -> None:
        before_us = self._reached_us if self._passed else int(t[0])
        if t[-1] - before_us <= MAX_JUMP_US:
            return
        times_us = np.concatenate([[before_us], t])
        for i in np.flatnonzero(np.diff(times_us) > MAX_JUMP_US).tolist():
            self._jumps.append((int(times_us[i]), int(times_us[i + 1])))
            say(
                f"the source's time jumped ahead by {(times_us[i + 1] - times_us[i]) / 1e6:.1f} s: "
                "the empty windows between are skipped",
                logging.WARNING,
            )

    def _forget(self, before_us: int) -> None:
        """Release packets that no later window needs, except those of the window being cut."""
        oldest_us = before_us - self.step_us
        while self._parts and self._parts[0].t[-1] < oldest_us:
            self._parts.popleft()
        while self._gaps and self._gaps[0][1] < oldest_us:
            self._gaps.popleft()

    def _forget_times(self, end_us: int) -> None:
        while len(self._passed) > 1 and self._passed[0][0] <= end_us:
            self._passed.popleft()


def _between(events: Events, start_us: int, stop_us: int) -> Events:
    first = np.searchsorted(events.t, start_us)
    last = np.searchsorted(events.t, stop_us, side="right")
    return Events(*(column[first:last] for column in events))


def _joined(parts: list[Events]) -> Events:
    filled = [part for part in parts if len(part.t)]
    if len(filled) < 2:
        return filled[0] if filled else NO_EVENTS
    return Events(*map(np.concatenate, zip(*filled, strict=True)))
