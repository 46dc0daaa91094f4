"""Worker processes that do one task at a time, and end with the process that started them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context, parent_process
from typing import TypeVar

from etram_mmdet.utils.errors import InputError

Task = TypeVar("Task")
Result = TypeVar("Result")


class WorkerDied(RuntimeError):
    """A worker was killed, so this task and those that waited behind it were not done."""


class Workers:
    """Runs a function in several processes, or in this one.

    Use it with ``with``: an exception or Ctrl-C in the block kills the processes at once.
    Unfinished work is not cleaned up.

    Args:
        count: number of processes; 0 runs everything in this process.

    Raises:
        InputError: when ``count`` is negative, or shared memory (/dev/shm) cannot be written.
    """

    def __init__(self, count: int) -> None:
        if count < 0:
            raise InputError(
                f"{count} workers, expected 0 or more; 0 runs everything in the main process"
            )
        self._others = set(active_children())
        try:
            # Forked, because importing the package again in every worker costs seconds.
            self._pool = (
                ProcessPoolExecutor(count, get_context("fork"), _start) if count > 0 else None
            )
        except OSError as error:  # semaphores between processes need /dev/shm
            raise InputError(
                f"/dev/shm cannot be written ({error.strerror}), so worker processes cannot start; "
                "check its free space and permissions, or use one process (--workers)"
            ) from error

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._pool is None:
            return
        if kind is not None:
            for worker in set(active_children()) - self._others:
                worker.kill()
        self._pool.shutdown(cancel_futures=True)

    def run(
        self, function: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> Iterator[tuple[Task, Result | WorkerDied]]:
        """Every task with its result, in the order in which they become ready.

        A task whose worker was killed comes with a :class:`WorkerDied`.
        """
        if self._pool is None:
            yield from ((task, function(task)) for task in tasks)
            return
        task_of = {self._submit(function, task): task for task in tasks}
        for future in as_completed(task_of):
            try:
                yield task_of[future], future.result()
            except BrokenProcessPool as error:
                yield task_of[future], WorkerDied(str(error))

    def _submit(self, function: Callable[[Task], Result], task: Task) -> Future:
        try:
            return self._pool.submit(function, task)
        except BrokenProcessPool as error:  # a worker died while tasks were still handed out
            failed = Future()
            failed.set_exception(error)
            return failed


def _start() -> None:
    """Ignore Ctrl-C in a worker, and end the worker when the main process is killed.

    Ctrl-C goes to all processes of a terminal; the main process handles it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)

    def wait() -> None:
        parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
