"""A single stop for Ctrl-C, for the end that a scheduler asks for, and for a closed terminal."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """A signal asked this process to end; ``exit_status`` is the shell's status for that.

    Args:
        number: number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_status = 128 + number


@contextmanager
def stop_once() -> Iterator[None]:
    """Let the first of ``SIGNALS`` in the block raise :class:`Stopped`; later ones do nothing.

    So nothing interrupts the cleaning up behind the exception: neither the second Ctrl-C of
    somebody in a hurry, nor the copy that a process group gets. The signals do nothing to the end
    of the process. A signal that was ignored before, as ``nohup`` does, remains ignored. Only for
    the main thread; a fork of the process does not raise.
    """
    pid = os.getpid()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    heeded = [number for number, handler in before.items() if handler is not signal.SIG_IGN]

    def stop(number: int, _: FrameType | None) -> None:
        # The next signal may come in the middle of this handler. So it must take no lock, and must
        # be right after any of its lines.
        if os.getpid() == pid:
            for each in heeded:
                signal.signal(each, _do_nothing)
            raise Stopped(number)

    for number in heeded:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in heeded:
            if signal.getsignal(number) is stop:
                signal.signal(number, before[number])


def _do_nothing(number: int, _: FrameType | None) -> None:
    """Ignore a signal.

    ``SIG_IGN`` instead makes Python complain about a signal that came while it was set.
    """


class StopRequest:
    """Whether a signal asked this process to end.

    Attributes:
        number: number of the signal; 0 if none came.
    """

    def __init__(self) -> None:
        self.number = 0

    def __call__(self) -> bool:
        return self.number != 0


@contextmanager
def noted_stop() -> Iterator[StopRequest]:
    """Let the first of ``SIGNALS`` in the block set a note, instead of raising an exception.

    So a loop ends between two steps, with whole files. Signals that were ignored remain ignored.
    The handlers of before are back after the block. Only for the main thread.
    """
    request = StopRequest()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    heeded = [number for number, handler in before.items() if handler is not signal.SIG_IGN]

    def note(number: int, _: FrameType | None) -> None:
        request.number = request.number or number

    for number in heeded:
        signal.signal(number, note)
    try:
        yield request
    finally:
        for number in heeded:
            signal.signal(number, before[number])
