"""Restarts by torchrun: refuse those that would begin at step 0, end those that repeat an error.

After any failure torchrun starts all processes again, as often as ``--max-restarts`` says, and
knows no exit status that prevents it. So a process whose error can only come again leaves a note in
the store that torchrun keeps for its processes. Those that are started again find it and end.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from etram_mmdet.utils.errors import InputError, PassingError

if TYPE_CHECKING:
    from torch.distributed import TCPStore

_NOTE = "etram_mmdet/ended_for_good"
_REACH_S = 10  # longest wait for the store, which torchrun opens before it starts processes
_LONGEST = 4000  # characters of a note
# of a wrong path; other errors of files come from a full disk or a network drive, and may pass
_OF_A_PATH = (
    errno.ENOENT,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
)


def check_restarts(resume: str | None, env: Mapping[str, str] = os.environ) -> None:
    """Refuse a training that torchrun may start again, but that would then begin at step 0.

    Args:
        resume: value of ``--resume``; None if not given.
        env: environment of this process. Default: the real one.

    Raises:
        InputError: torchrun restarts processes (``--max-restarts``), and ``resume`` is neither
            ``auto`` nor ``newest``.
    """
    restarts = env.get("TORCHELASTIC_MAX_RESTARTS", "0")
    if restarts != "0" and resume not in ("auto", "newest"):
        raise InputError(
            f"torchrun starts this training again up to {restarts} times after a failure "
            "(--max-restarts, MAX_RESTARTS), and each time it would begin "
            f"{f'from {resume}' if resume else 'at step 0'}; add --resume auto"
        )


@contextmanager
def ends_for_good(env: Mapping[str, str] = os.environ) -> Iterator[None]:
    """Let torchrun's restarts end at once if this block ends with an error that would come again.

    Args:
        env: environment of this process. Default: the real one.

    Raises:
        InputError: an earlier start of this run has ended so; said once on each machine.
    """
    restarts = env.get("TORCHELASTIC_MAX_RESTARTS", "0")
    if restarts == "0" or env.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        yield
        return
    if env["TORCHELASTIC_RESTART_COUNT"] != "0":
        _end_as_before(env)
    try:
        yield
    except InputError as error:
        if not may_pass(error):
            _leave_note(str(error)[:_LONGEST], env)
        raise


def may_pass(error: BaseException | None) -> bool:
    """Whether the same command may succeed later, without a change of files or settings.

    Args:
        error: an error; those that caused it count as well.
    """
    while error is not None:
        of_machine = isinstance(error, OSError) and error.errno not in _OF_A_PATH
        if of_machine or isinstance(error, PassingError):
            return True
        error = error.__cause__
    return False


def _end_as_before(env: Mapping[str, str]) -> None:
    try:
        store = _store(env)
        note = store.get(_NOTE).decode() if store.check([_NOTE]) else ""
    except RuntimeError as error:
        raise PassingError(
            f"torchrun of machine 0 has ended: nothing answers at {env['MASTER_ADDR']}:"
            f"{env['MASTER_PORT']}. Its output there may say why"
        ) from error
    if not note:
        return
    if env["TORCHELASTIC_RESTART_COUNT"] != "1" or env.get("LOCAL_RANK", "0") != "0":
        sys.exit(1)
    raise InputError(
        "torchrun started this again (MAX_RESTARTS, --max-restarts), but the error would only "
        f"come again, so nothing more is tried. The error was: {note}"
    )


def _leave_note(text: str, env: Mapping[str, str]) -> None:
    with suppress(RuntimeError):
        _store(env).set(_NOTE, text)


def _store(env: Mapping[str, str]) -> TCPStore:
    from torch.distributed import TCPStore  # takes a second, which most starts need not wait for

    limit = timedelta(seconds=_REACH_S)
    return TCPStore(
        env["MASTER_ADDR"], int(env["MASTER_PORT"]), None, False, limit, wait_for_workers=False
    )
