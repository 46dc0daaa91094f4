"""Trainings that are asked to end: by Ctrl-C (SIGINT), a scheduler (SIGTERM) or SIGHUP.

A terminal that is closed sends SIGHUP.
"""

from __future__ import annotations

import multiprocessing.util
import os
import signal
import threading
import time
from collections.abc import Callable
from functools import cache, partial

import torch
from mmengine.dist import get_backend, is_distributed
from mmengine.logging import print_log
from torch import distributed as dist
from torch.utils.data import DataLoader

from etram_mmdet.utils.interruption import SIGNALS

# A scheduler signals every process and ``torchrun`` passes the signal on; a terminal does so to a
# whole group.
SAME_REQUEST_S = 1.0


def exit_status(number: int) -> int:
    """Exit status after a signal, as shells have it: 143 after SIGTERM, 130 after SIGINT.

    It is 129 after SIGHUP.

    Args:
        number: number of the signal.
    """
    return 128 + number


class StopSignals:
    """Notes the first of ``SIGNALS`` within a ``with`` block; a later one ends the process.

    Signals that follow the first within `SAME_REQUEST_S` count as the same request. A thread reads
    them, so that the process can be ended also in the middle of a long computation. A signal that
    was ignored before, as ``nohup`` does with SIGHUP, stays ignored. Nothing changes outside the
    block, nor in other threads than the main one, which get no signals from Python.

    Attributes:
        requested: number of the first signal; 0 before.
    """

    def __init__(self) -> None:
        self.requested = 0
        self._group = None
        self._is_active = False
        self._write = None

    def __enter__(self) -> StopSignals:
        self._group = cpu_group()
        self._is_active = True
        self._handlers = {}
        if threading.current_thread() is threading.main_thread():
            self.requested = 0
            read, self._write = os.pipe()
            os.set_blocking(self._write, False)
            self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
            heeded = [
                number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN
            ]
            self._handlers = {number: signal.signal(number, _only_wake) for number in heeded}
            threading.Thread(target=self._watch, args=(read,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_active = False
        if self._write is not None:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(self._wakeup)
            os.close(self._write)  # which ends the thread
            self._write = None

    def agreed(self) -> int:
        """Number of a signal that any process of the training got; 0 if none did.

        It is the same in all processes, and every process has to call this equally often. A single
        process returns its own.
        """
        if not self._is_active or not is_distributed():
            return self.requested
        number = torch.tensor(self.requested)
        dist.all_reduce(number, dist.ReduceOp.MAX, group=self._group)
        return int(number)

    def wait_for_others(self) -> None:
        """Wait for every process, since one that ends lets ``torchrun`` end the others."""
        if self._is_active and is_distributed():
            dist.barrier(group=self._group)

    def _watch(self, read: int) -> None:
        first_s = None
        while numbers := os.read(read, 64):
            for number in set(numbers) & set(self._handlers):
                if first_s is None:
                    first_s, self.requested = time.monotonic(), number
                    name = signal.Signals(number).name
                    print_log(
                        f"{name}: ending after this step, with a checkpoint; a second signal ends "
                        "at once",
                        "current",
                    )
                elif time.monotonic() - first_s > SAME_REQUEST_S:
                    os._exit(exit_status(number))
        os.close(read)


def _forget_in_fork() -> None:
    """Let a process that a training forks end on signals; pools of processes rely on it."""
    for number in SIGNALS:
        if signal.getsignal(number) is _only_wake:
            signal.set_wakeup_fd(-1)
            signal.signal(number, signal.SIG_DFL)


os.register_at_fork(after_in_child=_forget_in_fork)


def _only_wake(number: int, frame: object) -> None:
    """The signal has been written to the pipe already."""


@cache
def cpu_group() -> dist.ProcessGroup | None:
    """A group of processes whose messages need no GPU and do not wait for one.

    It is ``None`` (PyTorch's default group) if that needs no GPU either, or if there is one process
    only. Every process has to call this.
    """
    if not is_distributed() or get_backend() == "gloo":
        return None
    return dist.new_group(backend="gloo")


def shield(loader: DataLoader) -> DataLoader:
    """Make the processes of a loader ignore ``SIGNALS``, and return the loader.

    The main process needs batches until its step has ended. The processes end when the main process
    tells them through their queue, when it exits, and when it has died.

    Args:
        loader: is changed in place.
    """
    loader.worker_init_fn = partial(_begin_worker, loader.worker_init_fn)
    multiprocessing.util.Finalize(None, _end_workers, exitpriority=100)
    return loader


def _begin_worker(init: Callable[[int], None] | None, worker: int) -> None:
    signal.set_wakeup_fd(-1)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if init is not None:
        init(worker)


def _end_workers() -> None:
    """End the loading processes at the exit.

    multiprocessing would send SIGTERM, and wait for ever for processes that ignore it.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's handler takes this for an error
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()
