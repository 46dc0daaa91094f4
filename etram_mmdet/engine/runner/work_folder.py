"""The work folder of a run: whether it can be written into, and one training at a time in it.

Two would mix their rows and remove each other's checkpoints.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from mmengine.dist import broadcast_object_list, is_main_process

from etram_mmdet.engine.runner.same_ranks import raise_once
from etram_mmdet.utils.claims import ClaimedError, is_stale, read_holder, told, try_claim
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.processes import machine_id

CLAIM_FILE = ".training"


def check_free(work_dir: str | Path) -> None:
    """Refuse a work folder in which another training is at work, before anything is written.

    Args:
        work_dir: the work folder.

    Raises:
        ClaimedError: another training is at work there.
    """
    path = Path(work_dir) / CLAIM_FILE
    _refuse_everywhere(
        _sentence(work_dir) if path.is_file() and not is_stale(path) else None, work_dir
    )


@contextmanager
def training_in(work_dir: str | Path) -> Iterator[Callable[[], None]]:
    """Hold a work folder while the block runs, on the first process for all of them.

    Args:
        work_dir: the work folder.

    Yields:
        A function that releases the folder early.

    Raises:
        ClaimedError: another training, also one on another machine, is at work there.
    """
    held = try_claim(Path(work_dir) / CLAIM_FILE) if is_main_process() else None
    _refuse_everywhere(
        _sentence(work_dir) if is_main_process() and held is None else None, work_dir
    )
    release = held.release if held else lambda: None
    try:
        yield release
    finally:
        release()


def check_not_taken(work_dir: str | Path) -> None:
    """Stop if another training has taken the folder over.

    That happens when this process was suspended for long.

    Args:
        work_dir: the work folder.

    Raises:
        ClaimedError: the folder has another holder.
    """
    holder = read_holder(Path(work_dir) / CLAIM_FILE)
    if holder is not None and (holder.machine, holder.pid) != (machine_id(), os.getpid()):
        raise ClaimedError(_sentence(work_dir), holder)


def log_folder(work_dir: str | Path, started: str) -> str:
    """Make a folder for the logs of this run, and return its name.

    Tests that start in the same second would write over each other's logs.

    Args:
        work_dir: the work folder.
        started: name of the folder, followed by a number if there is one already.
    """
    name = [started]
    if is_main_process():
        for number in count(2):
            try:
                (Path(work_dir) / name[0]).mkdir()
                break
            except FileExistsError:
                name = [f"{started}_{number}"]
    broadcast_object_list(name)
    return name[0]


def _sentence(work_dir: str | Path) -> str:
    return f"{work_dir}: {told(Path(work_dir) / CLAIM_FILE)}"


def _refuse_everywhere(sentence: str | None, work_dir: str | Path) -> None:
    """Raise the first process's sentence on all of them."""
    said = [sentence]
    broadcast_object_list(said)
    if said[0] is not None:
        raise_once(ClaimedError(said[0], read_holder(Path(work_dir) / CLAIM_FILE)))


def check_can_be_made(folder: Path) -> None:
    """Refuse a work folder into which files cannot be written; nothing is made.

    Args:
        folder: the work folder, which need not exist.

    Raises:
        InputError: a file is in its place, or permissions are missing.
    """
    existing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not existing.is_dir():
        raise InputError(f"work_dir {folder}: {existing} is a file; name a folder: --work-dir DIR")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(
            f"work_dir {folder}: {existing} cannot be written into; name another: --work-dir DIR"
        )
