"""A clock, a source, a detector and a reader of live events that tests control."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np

from etram_mmdet.deploy.inferencer import Window
from etram_mmdet.deploy.live.backlog import Arrival, Backlog
from etram_mmdet.deploy.sources import Source
from etram_mmdet.evaluation.results import Boxes
from etram_mmdet.events.recording import NO_EVENTS, Events
from etram_mmdet.events.representations import StackedHistogram

STEP_US = 50_000
HW = (8, 16)


class Clock:
    """Seconds that pass when somebody sleeps or computes."""

    def __init__(self):
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


class Packets(Source):
    """The packets of a list."""

    width, height = HW[1], HW[0]

    def __init__(self, packets, can_wait: bool = True):
        self.can_wait = can_wait
        self._packets = iter(packets)

    def open(self):
        pass

    def read(self, timeout_s):
        return next(self._packets, None)

    def close(self):
        pass


class SlowDetector:
    """Finds nothing, remembers what it saw, and takes ``seconds`` of a clock for each window."""

    window_us = STEP_US
    step_us = STEP_US
    palette = ((255, 0, 0),)
    sensor_px = HW[::-1]
    description = SimpleNamespace(frame_shape=None)

    def __init__(self, clock: Clock, seconds: float):
        self.seen = []  # for each window the states that it followed on, and its events
        self._clock = clock
        self._seconds = seconds

    def representation(self, height, width):
        return StackedHistogram(height, width, bins=1, downsample="none")

    def new_stream(self):
        return self

    def look(self, image):
        self._clock.sleep(self._seconds)
        self.seen.append(int(image.sum()))
        return Boxes.empty()

    def window(self, t_us, image, seen):
        return Window(t_us, image, seen, seen, seen)


class DueBacklog(Backlog):
    """Reads its source in the loop itself, whenever something is due on the clock: no threads.

    Args:
        source: an open source whose ``read(0)`` gives no events when nothing is due.
        clock: the clock; it goes on by a millisecond when nothing is due.
    """

    def __init__(self, source, clock: Clock, **options):
        super().__init__(**options)
        self._source = source
        self._clock = clock

    def take(self, timeout_s, all_that_wait):
        while all_that_wait or not self._waiting:
            events = self._source.read(0)
            if events is None:
                self.close()
                break
            if not len(events.t):
                self._waiting or self._clock.sleep(0.001)
                break
            self.put(Arrival(events, self._clock(), self._source.reached_us))
        return super().take(0, all_that_wait)


def wait_until(is_so, seconds: float = 30.0) -> None:
    """Wait until ``is_so()`` is true; an error after ``seconds``."""
    until_s = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until_s
        time.sleep(0.005)


def packet(*times_us: int) -> Events:
    """Events at pixel (1, 2)."""
    t = np.array(times_us, np.int64)
    one = np.ones(len(t), np.uint16)
    return Events(t, one, 2 * one, one.astype(np.uint8)) if len(t) else NO_EVENTS
