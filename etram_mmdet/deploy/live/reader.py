"""The thread that reads a source."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from etram_mmdet.deploy.live.backlog import Arrival, Backlog
from etram_mmdet.deploy.live.recorder import Recorder
from etram_mmdet.deploy.sources.base import Source
from etram_mmdet.utils.notices import say

_TIMEOUT_S = 0.05
_END_S = 5.0  # longest time to wait for a source that does not return


class Reader:
    """Reads a source in a thread of its own: records the packets and puts them into a backlog.

    A source is closed by :meth:`stop`, from the thread that calls it.

    Args:
        source: an open source.
        backlog: queue for the packets.
        recorder: records every packet before the detector sees it. Default: none.
        silence_s: seconds without an event after which a warning is printed. Default: 5.
        clock: gives the time in seconds. Default: the system's.

    Attributes:
        num_events: events that came.
        num_silences: how often the source was silent for ``silence_s``.
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
        self.num_silences = 0
        self.error: BaseException | None = None
        self._source = source
        self._backlog = backlog
        self._recorder = recorder
        self._silence_s = silence_s
        self._clock = clock
        self._heard_s = clock()
        self._is_silent = False
        self._must_stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._heard_s = self._clock()
        self._thread.start()

    def stop(self) -> None:
        """End the thread, then close the recording and the source."""
        self._must_stop.set()
        self._backlog.close()
        if self._thread.ident is not None:
            self._thread.join(_END_S)
        if self._recorder is not None:
            self._recorder.close()
        if not self._thread.is_alive():
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
        self._watch(len(events.t), now_s)
        self.num_events += len(events.t)
        if self._recorder is not None:
            self._recorder.write(events)
        self._backlog.put(Arrival(events, now_s, self._source.reached_us))
        return True

    def _run(self) -> None:
        try:
            while not self._must_stop.is_set() and self.read_once():
                pass
        except BaseException as error:
            self.error = error
        finally:
            self._backlog.close()

    def _watch(self, num_events: int, now_s: float) -> None:
        """Say when the source falls silent, and when it goes on."""
        silent_s = now_s - self._heard_s
        if num_events:
            self._heard_s = now_s
            if self._is_silent:
                say(f"events come again, after {silent_s:.1f} s", logging.WARNING)
            self._is_silent = False
        elif silent_s >= self._silence_s and not self._is_silent:
            self._is_silent = True
            self.num_silences += 1
            say(
                f"no event came for {silent_s:.1f} s; look at the source, or stop with Ctrl-C",
                logging.WARNING,
            )
