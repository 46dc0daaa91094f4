"""Stop once: Ctrl-C, the end that a scheduler asks for, and a terminal that is closed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """A signal asked this process to end; ``exit_status`` is what a shell calls that."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_status = 128 + number


@contextmanager
def stop_once() -> Iterator[None]:
    """In the block the first of ``SIGNALS`` raises :class:`Stopped`, and from then on they are ignored.

    So nothing interrupts what tidies up behind the exception: the second Ctrl-C of somebody in a hurry, or the copy
    that a process group gets. They stay ignored, because the process is to end. A signal that was ignored before, as
    ``nohup`` does, remains so. Only for the main thread; a fork of the process does not raise.
    """
    pid = os.getpid()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    heeded = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    told = threading.Event()

    def stop(number: int, _: FrameType | None) -> None:
        if os.getpid() == pid:
            told.set()
            for each in heeded:
                signal.signal(each, signal.SIG_IGN)
            raise Stopped(number)

    for number in heeded:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in heeded if not told.is_set() else ():
            signal.signal(number, before[number])
