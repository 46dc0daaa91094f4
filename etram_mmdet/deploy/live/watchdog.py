"""Say when a source falls silent, and when it goes on."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from etram_mmdet.utils.notices import say


class Watchdog:
    """Warns once for each silence of a source.

    The thread that reads calls :meth:`heard`; any thread may call :meth:`look`, so that a source
    whose ``read`` does not return is noticed, too.

    Args:
        silence_s: seconds without an event after which a warning is printed.
        clock: gives the time in seconds.

    Attributes:
        num_silences: how often the source was silent for ``silence_s``.
    """

    def __init__(self, silence_s: float, clock: Callable[[], float]) -> None:
        self.num_silences = 0
        self._silence_s = silence_s
        self._clock = clock
        self._heard_s = clock()
        self._is_silent = False
        self._is_paused = False
        self._lock = threading.Lock()

    def start(self) -> None:
        """Count silence from now on."""
        self._heard_s = self._clock()

    def stop(self) -> None:
        """Count no silence any more: the source has ended."""
        self._heard_s = math.inf

    def heard(self, num_events: int) -> None:
        """Note what a read brought.

        Args:
            num_events: events of the packet, maybe none.
        """
        if not num_events:
            self.look()
            return
        with self._lock:
            silent_s = self._clock() - self._heard_s
            self._heard_s = self._clock()
            if self._is_silent:
                say(f"events come again, after {silent_s:.1f} s", logging.WARNING)
            self._is_silent = False

    @contextmanager
    def paused(self) -> Iterator[None]:
        """A block in which nobody reads, such as a wait for room; it does not count as silence."""
        start_s = self._clock()
        self._is_paused = True
        try:
            yield
        finally:
            self._heard_s += self._clock() - start_s
            self._is_paused = False

    def look(self) -> None:
        """Warn if the source is silent."""
        with self._lock:
            silent_s = self._clock() - self._heard_s
            if silent_s < self._silence_s or self._is_silent or self._is_paused:
                return
            self._is_silent = True
            self.num_silences += 1
            say(
                f"no event came for {silent_s:.1f} s; look at the source, or stop with Ctrl-C",
                logging.WARNING,
            )
