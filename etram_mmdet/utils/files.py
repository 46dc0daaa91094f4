"""Atomic file writing (temporary file, then rename), and what to do about an error of the file system."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.processes import machine_id, start_ticks

LEFTOVER_S = 3600.0  # age from which the part of a file that another machine wrote counts as left behind

_PART = ".part~"  # a hidden file; the name of the file stands at the end, so that its suffix says how it is written
_NO_ANSWER = (
    errno.EIO,
    errno.ENXIO,
    errno.EREMOTEIO,
    errno.ETIMEDOUT,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.ECONNRESET,
    errno.ENOTCONN,
)
_HELD = (errno.EAGAIN, errno.EBUSY, errno.ENOLCK, errno.ETXTBSY, errno.EDEADLK)
# Numbers, cause, advice.
_CAUSES = (
    ((errno.ENOSPC, errno.EDQUOT), "the disk is full{space}", "make room, then run the same command again"),
    ((errno.ENOMEM,), "no memory is left", "end other programs or use fewer workers, then run the same command again"),
    ((errno.EFBIG,), "it would be larger than a file may be here", "raise the limit (ulimit -f) or write elsewhere"),
    ((errno.EROFS,), "the file system can only be read", "name a folder elsewhere"),
    ((errno.EACCES, errno.EPERM), "permission denied", "see to its owner and permissions, or name another folder"),
    ((errno.ENOENT, errno.ESTALE), "it or its folder does not exist", "see to the path, then run the command again"),
    ((errno.EMFILE, errno.ENFILE), "{limit}", "raise the limit: ulimit -n 4096"),
    (
        _NO_ANSWER,
        "the disk or the network drive does not answer",
        "see to it, then run the same command again; the file may be intact",
    ),
    (_HELD, "another process holds it", "wait for that process to end"),
    ((errno.ENAMETOOLONG,), "the name is too long", "name it shorter"),
    ((errno.EISDIR,), "it is a folder", "name a file"),
    ((errno.ENOTDIR, errno.EEXIST), "a part of its path is a file", "name a folder elsewhere"),
)


@contextmanager
def atomic_write(path: Path, size_bytes: int = 0) -> Iterator[Path]:
    """A path to write to, moved to ``path`` at the end, so that nobody meets half a file.

    The content is on the disk before the name is: after a power cut ``path`` is the old file or the new one. The first
    file that a process writes into a folder clears away what killed processes left there.

    Args:
        path: of the file.
        size_bytes: of the content, for the sentence about a full disk. Default: not known.

    Raises:
        InputError: ``path`` cannot be written; the file that was there is as before.
    """
    aside = part_of(path)
    try:
        with os_errors(path, "written", aside, size_bytes):
            path.parent.mkdir(parents=True, exist_ok=True)
            _clear(path.parent.absolute())
            aside.touch()
            yield aside
            sync(aside)
            os.replace(aside, path)
            sync(path.parent)
    finally:
        with suppress(OSError):  # the folder has vanished, and the part with it
            aside.unlink()


def part_of(path: Path) -> Path:
    """The hidden name beside ``path`` under which this process writes; :func:`remove_leftovers` knows it."""
    return path.with_name(f"{_PART}{machine_id()}~{os.getpid()}~{path.name}")


def write_json(path: Path, content: dict) -> None:
    """``content`` as an indented file; raises ``InputError`` as :func:`atomic_write` does."""
    text = json.dumps(content, indent=2) + "\n"
    with atomic_write(path, len(text)) as aside:
        aside.write_text(text)


def check_writable(path: Path) -> None:
    """Raise ``InputError`` where :func:`atomic_write` could not even begin; for the start of long work."""
    aside = part_of(path)
    with os_errors(path, "written", aside):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.touch()
        aside.unlink()


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk, where the file system can tell."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):  # many network drives, of a folder
            raise
    finally:
        os.close(number)


def remove_leftovers(folder: Path) -> int:
    """Remove what killed processes left half-written in ``folder``; gives the number of files."""
    parts = [path for path in folder.glob(f"{_PART}*") if _is_left(path)]
    for path in parts:
        path.unlink(missing_ok=True)
    return len(parts)


@cache
def _clear(folder: Path) -> None:
    remove_leftovers(folder)


def _is_left(part: Path) -> bool:
    machine, _, rest = part.name.removeprefix(_PART).partition("~")
    pid = rest.partition("~")[0]
    if machine == machine_id() and pid.isdecimal():
        return not start_ticks(int(pid))
    try:
        return time.time() - part.stat().st_mtime > LEFTOVER_S
    except OSError:
        return False


@contextmanager
def os_errors(path: Path, doing: str, aside: Path | None = None, size_bytes: int = 0) -> Iterator[None]:
    """Turn an ``OSError`` about ``path`` into an ``InputError`` with cause and advice.

    An error that names another file, or none and has no number, is not about ``path`` and stays as it is. HDF5's
    ``RuntimeError``, which it raises when it closes a file on a full disk, has the number in its text.

    Args:
        path: what the sentence is about.
        doing: "written" or "read".
        aside: another name of the same content. Default: none.
        size_bytes: of the content. Default: not known.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        names = {None, *map(str, (path, aside, *path.parents))}
        filename = getattr(error, "filename", None)
        is_named = (filename if filename is None else os.fspath(filename)) in names
        if not _number(error) or not is_named:
            raise
        raise InputError(f"{path}: cannot be {doing}: {because(error, path, aside, size_bytes)}") from error


def because(
    error: OSError | RuntimeError, path: Path | None = None, aside: Path | None = None, size_bytes: int = 0
) -> str:
    """Cause of an error of the file system and what to do about it, such as ``permission denied; see to ...``.

    ``error`` may be HDF5's, which has the number in its text. The others are those of :func:`os_errors`.
    """
    number = _number(error)
    for numbers, cause, advice in _CAUSES:
        if number in numbers:
            return f"{cause.format(space=_space(path, aside, size_bytes), limit=_limit())}; {advice}"
    return f"{getattr(error, 'strerror', None) or error}; see to this path"


def has_cause(error: Exception) -> bool:
    """Whether the machine, and not what a file holds, is why an error came; :func:`because` then knows the cause."""
    return any(_number(error) in numbers for numbers, _, _ in _CAUSES)


def _number(error: Exception) -> int:
    """The error number of the system; 0 if there is none."""
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    told = re.search(r"errno = (\d+)", str(error))
    return getattr(error, "errno", None) or (int(told[1]) if told else 0)


def _space(path: Path | None, aside: Path | None, size_bytes: int) -> str:
    """How much is free; what ``aside`` takes counts, because it is removed."""
    if path is None:
        return ""
    try:
        folder = next((parent for parent in path.absolute().parents if parent.is_dir()), Path("/"))
        free = shutil.disk_usage(folder).free
        free += 512 * aside.stat().st_blocks if aside is not None and aside.exists() else 0
    except OSError:
        return ""
    needed = f"{size_bytes:,} bytes are needed, " if size_bytes else ""
    return f" ({needed}{free:,} bytes are free in {folder})"


def _limit() -> str:
    return f"this process has too many files open (at most {resource.getrlimit(resource.RLIMIT_NOFILE)[0]:,})"


def check_is_file(path: Path) -> None:
    """Raise ``InputError`` for what is no regular file; opening a named pipe would wait for its writer forever."""
    with os_errors(path, "read"):
        is_other = path.exists() and not path.is_file()
    if is_other:
        raise InputError(f"{path}: not a regular file; put the file itself there")
