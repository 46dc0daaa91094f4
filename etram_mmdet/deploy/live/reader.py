"""The thread that reads a source."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from etram_mmdet.deploy.live.backlog import Arrival, Backlog
from etram_mmdet.deploy.live.recorder import Recorder
from etram_mmdet.deploy.live.watchdog import Watchdog
from etram_mmdet.deploy.sources.base import Source
from etram_mmdet.events.recording import Events
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.notices import say

_TIMEOUT_S = 0.05
_END_S = 5.0  # longest time to wait for a source that does not return


class Reader:
    """Reads a source in a thread of its own: records the packets and puts them into a backlog.

    The thread alone calls the source while it runs; :meth:`stop` closes the source.

    Args:
        source: an open source.
        backlog: queue for the packets.
        recorder: records every packet before the detector sees it. Default: none.
        silence_s: seconds without an event after which a warning is printed. Default: 5.
        clock: gives the time in seconds. Default: the system's.

    Attributes:
        num_events: events that came.
        dropped: events that the source dropped, by reason, as of its last packet.
        watchdog: says when the source falls silent.
        error: error of the source, raised after its last packet.
    """

    def __init__(
        self,
        source: Source,
        backlog: Backlog,
        recorder: Recorder | None = None,
        silence_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.num_events = 0
        self.dropped: dict[str, int] = {}
        self.watchdog = Watchdog(silence_s, clock)
        self.error: BaseException | None = None
        self._source = source
        self._backlog = backlog
        self._recorder = recorder
        self._clock = clock
        self._last_us: int | None = None
        self._must_stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self.watchdog.start()
        self._thread.start()

    def stop(self) -> None:
        """End the thread, then close the recording and the source.

        A source that does not return is left open, with a warning.
        """
        self._must_stop.set()
        self._backlog.close()
        if self._thread.ident is not None:
            self._thread.join(_END_S)
        if self._recorder is not None:
            self._recorder.close()
        if self._thread.is_alive():
            say(f"the source did not return for {_END_S:g} s and stays open", logging.WARNING)
        else:
            self._source.close()

    def read_once(self, timeout_s: float = _TIMEOUT_S) -> bool:
        """Read one packet; False if the source has ended.

        Args:
            timeout_s: longest time to wait, in seconds. Default: 0.05.
        """
        events = self._source.read(timeout_s)
        if events is None:
            return False
        now_s = self._clock()
        self.watchdog.heard(len(events.t))
        self._check_times(events)
        self.num_events += len(events.t)
        self.dropped = self._source.dropped
        reached_us = self._source.reached_us
        with self.watchdog.paused():  # neither a slow disk nor a full backlog is the source's
            if self._recorder is not None:
                self._recorder.write(events, reached_us)
            self._backlog.put(Arrival(events, now_s, reached_us))
        return True

    def _check_times(self, events: Events) -> None:
        """Refuse times that fall, which a class of the user's own may bring."""
        if not len(events.t):
            return
        first_us = int(events.t[0])
        last_us = int(events.t[-1])
        before_us = first_us if self._last_us is None else self._last_us
        if not before_us <= first_us <= last_us:
            raise InputError(
                f"the source's times fall: after {before_us} us came {first_us} to {last_us} us, "
                "expected times in order; give every packet through "
                "etram_mmdet.deploy.sources.intake.Intake"
            )
        self._last_us = last_us

    def _run(self) -> None:
        try:
            while not self._must_stop.is_set() and self.read_once():
                pass
            self.dropped = self._source.dropped
        except BaseException as error:
            self.error = error
        finally:
            self.watchdog.stop()
            self._backlog.close()
