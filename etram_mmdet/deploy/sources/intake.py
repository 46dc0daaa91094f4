"""Check the events of a live source: times that never fall, pixels on the sensor."""

from __future__ import annotations

import logging

import numpy as np

from etram_mmdet.events.on_sensor import count_on_sensor
from etram_mmdet.events.recording import NO_EVENTS, Events
from etram_mmdet.events.time_stamps import (
    FAR_US,
    FEW,
    MAX_BEFORE_US,
    find_contradicted,
    find_few_far_away,
    find_steps,
    raise_to_running_maximum,
)
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.notices import say

_JUDGED_EVENTS = 10_000
_MAX_LOST = 0.5
_MAX_RESTARTS = 10


class Intake:
    """Turns packets as a camera sends them into packets that a detector can use.

    Its rules are those of recordings (:mod:`etram_mmdet.events.time_stamps`), without knowledge of
    what follows:

    - Events outside the sensor are dropped.
    - Stamps that step back by up to 5 ms are raised to the largest stamp before them.
    - Stamps further back, and those that the rest of the packet contradicts, are dropped.
    - More than ten events in a row that lie more than a second back mean that the clock of the
      source began again. Their times, and those of all that follow, are shifted so that they go on
      from the last event before them.
    - Events after a jump ahead of more than a second wait for the next packet, which may contradict
      them.

    Everything dropped is counted. A source is refused if more than half of 10,000 events in a row
    are dropped, or if its clock begins again more than ten times among them.

    Args:
        name: of the source, for messages.
        width: columns of the sensor, in pixels.
        height: rows of the sensor, in pixels.

    Attributes:
        num_corrected: number of events whose stamp was raised.
        num_restarts: how often the clock began again.
        dropped: number of dropped events by reason.
        last_us: time of the last event that was let through, in microseconds.
    """

    def __init__(self, name: str, width: int, height: int) -> None:
        self.name = name
        self.width = width
        self.height = height
        self.num_corrected = 0
        self.num_restarts = 0
        self.dropped: dict[str, int] = {}
        self.last_us = 0
        self._num_kept = 0
        self._num_behind = 0  # events in a row that lie more than a second back
        self._shift_us = 0  # from the source's clock to times that never fall
        self._waiting = NO_EVENTS  # after a jump ahead
        # Events, dropped events and restarts before those of the next judgement.
        self._judged = (0, 0, 0)
        self._refusal = ""

    def __call__(self, events: Events) -> Events:
        """The usable events of the next packet, after those that waited.

        Args:
            events: in the order in which they came; the array of times may be changed.

        Raises:
            InputError: see :meth:`check`.
        """
        self.check()
        usable = self._on_sensor(events)
        if self._shift_us:
            usable = usable._replace(t=usable.t + self._shift_us)
        kept = self._in_order(usable)
        self._judge(_JUDGED_EVENTS)
        return kept

    def finish(self) -> Events:
        """The events that still wait when the source has ended."""
        events = self._waiting
        self._waiting = NO_EVENTS
        is_bad = find_few_far_away(events.t, self.last_us, self._num_kept, reaches_end=True)
        self._drop("events_with_bad_stamp", np.count_nonzero(is_bad))
        kept = self._let_through(_rows(events, ~is_bad))
        self._judge(FEW + 1)
        return kept

    def check(self) -> None:
        """Refuse a source that sends garbage, after its usable events have been given.

        Raises:
            InputError: more than half of the latest events were dropped, or the clock is broken.
        """
        if self._refusal:
            raise InputError(f"{self.name}: {self._refusal}")

    def reached_us(self, now_us: int) -> int:
        """Time that no event which follows precedes, in microseconds.

        Args:
            now_us: time of the source's clock. Events may come up to 5 ms after their time.
        """
        if not self._num_kept or len(self._waiting.t):
            return self.last_us
        return max(now_us + self._shift_us - MAX_BEFORE_US, self.last_us)

    def _on_sensor(self, events: Events) -> Events:
        *_, num_inside = count_on_sensor(events.x, events.y, events.p, self.width, self.height)
        if num_inside == len(events.t):
            return events
        self._drop("events_out_of_frame", len(events.t) - num_inside)
        return _rows(events, (events.x < self.width) & (events.y < self.height))

    def _in_order(self, events: Events, may_restart: bool = True) -> Events:
        num_waiting = len(self._waiting.t)
        if num_waiting:
            events = joined(self._waiting, events)
            self._waiting = NO_EVENTS
        if not len(events.t):
            return events
        steps_back, steps_forward = find_steps(events.t, self.last_us)
        is_near = self._num_kept and events.t[-1] - self.last_us <= FAR_US
        if not steps_back and (not steps_forward or is_near):
            return self._let_through(events)
        good = np.flatnonzero(self._is_good(events.t, steps_back))
        jump = self._first_jump(events.t[good], np.searchsorted(good, num_waiting))
        if jump == len(events.t):
            return self._let_through(events)
        stop = good[-1] + 1 if len(good) else 0
        self._drop("events_with_bad_stamp", stop - len(good))
        kept = self._let_through(_rows(events, good[:jump]))
        ahead = _rows(events, good[jump:])
        behind = _rows(events, slice(stop, None))
        if not len(behind.t):
            self._waiting = ahead
            return kept
        return joined(kept, self._decided(ahead, behind, may_restart))

    def _decided(self, ahead: Events, behind: Events, may_restart: bool) -> Events:
        """The end of a packet: events after a jump ahead, maybe none, and others before them."""
        if len(ahead.t) and may_restart and behind.t[0] >= self.last_us - MAX_BEFORE_US:
            self._drop("events_with_bad_stamp", len(ahead.t))
            return self._in_order(behind, may_restart=False)
        kept = self._let_through(ahead)
        return joined(kept, self._begun_again(behind, may_restart))

    def _is_good(self, t: np.ndarray, steps_back: bool) -> np.ndarray:
        """Which stamps nothing contradicts."""
        is_good = ~find_contradicted(t, self.last_us) if steps_back else np.ones(len(t), bool)
        if not self._num_kept:
            is_good[is_good] = ~find_few_far_away(t[is_good], 0, 0, reaches_end=False)
        return is_good

    def _first_jump(self, t: np.ndarray, start: int) -> int:
        """Index of the first stamp, not before ``start``, more than a second after the last one."""
        first_us = self.last_us if self._num_kept else t[:1]
        jumps = np.flatnonzero(np.diff(t, prepend=first_us)[start:] > FAR_US) if len(t) else t
        return start + int(jumps[0]) if len(jumps) else len(t)

    def _begun_again(self, behind: Events, may_restart: bool) -> Events:
        """Events at the end of a packet that all lie back: the clock began again, or damage."""
        if not (behind.t < self.last_us - FAR_US).all():
            self._drop("events_with_bad_stamp", len(behind.t))
            return NO_EVENTS
        self._num_behind += len(behind.t)
        if self._num_behind <= FEW or not may_restart:
            self._drop("events_with_bad_stamp", len(behind.t))
            return NO_EVENTS
        first = behind.t[:FEW]
        near = first >= np.sort(first)[len(first) // 2] - FAR_US  # one may be damaged
        back_us = self.last_us - int(first[near].min())
        self._shift_us += back_us
        self.num_restarts += 1
        if self.num_restarts - self._judged[2] > _MAX_RESTARTS:
            self._refusal = (
                f"its clock stepped back by more than a second {self.num_restarts} times; what it "
                "sends is damaged, look at the sender"
            )
        say(
            f"{self.name}: its clock stepped back by {back_us / 1e6:.1f} s; times go on from "
            f"{self.last_us} us",
            logging.WARNING,
        )
        return self._in_order(behind._replace(t=behind.t + back_us), may_restart=False)

    def _let_through(self, events: Events) -> Events:
        if len(events.t):
            self.num_corrected += raise_to_running_maximum(events.t, self.last_us)
            self.last_us = int(events.t[-1])
            self._num_kept += len(events.t)
            self._num_behind = 0
        return events

    def _drop(self, reason: str, count: int) -> None:
        if count:
            self.dropped[reason] = self.dropped.get(reason, 0) + int(count)

    def _judge(self, num_events: int) -> None:
        """See whether most of the latest events were dropped, if there are so many."""
        num_lost = sum(self.dropped.values())
        num_all = num_lost + self._num_kept
        latest = num_all - self._judged[0]
        lost = num_lost - self._judged[1]
        if latest < num_events:
            return
        self._judged = num_all, num_lost, self.num_restarts
        if lost > _MAX_LOST * latest:
            counts = ", ".join(f"{reason} {count}" for reason, count in self.dropped.items())
            self._refusal = (
                f"{lost / latest:.0%} of the last {latest:,} events cannot be used ({counts} in "
                f"all); {self._advice()}"
            )

    def _advice(self) -> str:
        outside = self.dropped.get("events_out_of_frame", 0)
        if 2 * outside > sum(self.dropped.values()):
            return (
                f"if its sensor is not {self.width}x{self.height} pixels large, state it "
                "(--sensor WIDTH HEIGHT), else it sends no events"
            )
        return "what it sends is damaged, or no events; look at the sender"


def joined(*parts: Events) -> Events:
    """Packets one after the other as one packet.

    Args:
        parts: in order.
    """
    filled = [part for part in parts if len(part.t)]
    if len(filled) == 1:
        return filled[0]
    return Events(*map(np.concatenate, zip(NO_EVENTS, *filled, strict=True)))


def _rows(events: Events, rows: np.ndarray | slice) -> Events:
    return Events(*(column[rows] for column in events))
