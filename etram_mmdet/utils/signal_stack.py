"""Keep the stack of signal handlers, which libraries replace and free again."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class SignalStack(ctypes.Structure):
    """``stack_t`` of Linux."""

    _fields_ = (
        ("address", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("num_bytes", ctypes.c_size_t),
    )


def current() -> SignalStack:
    """Stack on which signal handlers of this thread run; Linux only."""
    stack = SignalStack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack))
    return stack


@contextmanager
def kept_signal_stack() -> Iterator[None]:
    """Put the stack of signal handlers back at the end of the block.

    OpenVINO 2026.4 sets a stack of its own for each compiled model and later puts the one before
    back. If an earlier model is freed first, that is memory which is not there any more, and the
    next signal with a handler, such as the end of a child process, ends the program.
    """
    if sys.platform != "linux":
        yield
        return
    before = current()
    try:
        yield
    finally:
        ctypes.CDLL(None).sigaltstack(ctypes.byref(before), None)
