"""Atomic file writing (temporary file, then rename), and advice for file-system errors."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.processes import machine_id, start_ticks

# Age from which a half-written file of another machine counts as left behind.
LEFTOVER_S = 3600.0

# Prefix of a hidden temporary file. The final name follows at the end, so that its suffix still
# decides the format.
_PART = ".part~"
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
# Error numbers, cause, advice.
_CAUSES = (
    (
        (errno.ENOSPC, errno.EDQUOT),
        "the disk is full{space}",
        "make room, then run the same command again",
    ),
    (
        (errno.ENOMEM,),
        "no memory is left",
        "end other programs or use fewer workers, then run the same command again",
    ),
    (
        (errno.EFBIG,),
        "the file would be larger than the limit here",
        "raise the limit (ulimit -f) or write elsewhere",
    ),
    ((errno.EROFS,), "the file system can only be read", "name a folder elsewhere"),
    (
        (errno.EACCES, errno.EPERM),
        "permission denied",
        "check its owner and permissions, or name another folder",
    ),
    (
        (errno.ENOENT, errno.ESTALE),
        "it or its folder does not exist",
        "check the path, then run the command again",
    ),
    ((errno.EMFILE, errno.ENFILE), "{limit}", "raise the limit: ulimit -n 4096"),
    (
        _NO_ANSWER,
        "the disk or the network drive does not answer",
        "check the drive, then run the same command again; the file may be intact",
    ),
    (_HELD, "another process holds it", "wait for that process to end"),
    ((errno.ENAMETOOLONG,), "the name is too long", "use a shorter name"),
    ((errno.EISDIR,), "it is a folder", "name a file"),
    ((errno.ENOTDIR, errno.EEXIST), "a part of its path is a file", "name a folder elsewhere"),
)


@contextmanager
def atomic_write(path: Path, size_bytes: int = 0) -> Iterator[Path]:
    """Give a temporary path to write to, and rename it to ``path`` at the end of the block.

    So no other program reads half a file. The content is on the disk before the name is: after a
    power cut ``path`` is the old file or the new one. The first file that a process writes into a
    folder clears away the parts that killed processes left there.

    Args:
        path: file to write.
        size_bytes: size of the content, for the message about a full disk. Default: not known.

    Raises:
        InputError: when ``path`` cannot be written; an earlier file is then unchanged.
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
    """The hidden name beside ``path`` under which this process writes.

    :func:`remove_leftovers` recognizes such names.

    Args:
        path: file to write.

    Raises:
        InputError: when ``path`` has no name, such as ``/`` and ``.``.
    """
    if not path.name:
        raise InputError(f"{path}: cannot be written: it is a folder; name a file")
    return path.with_name(f"{_PART}{machine_id()}~{os.getpid()}~{path.name}")


def write_json(path: Path, content: dict) -> None:
    """Write a dict as an indented JSON file, atomically.

    Args:
        path: file to write.
        content: dict to write.

    Raises:
        InputError: when ``path`` cannot be written.
    """
    text = json.dumps(content, indent=2) + "\n"
    with atomic_write(path, len(text)) as aside:
        aside.write_text(text)


def check_writable(path: Path) -> None:
    """Check at the start of long work that :func:`atomic_write` could begin.

    Args:
        path: file to write later.

    Raises:
        InputError: when its folder cannot be written, or ``path`` is a folder.
    """
    aside = part_of(path)
    with os_errors(path, "written", aside):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.touch()
        aside.unlink()


def check_not_read(path: Path, inputs: Iterable[Path | None]) -> None:
    """Refuse to write over a file that the same command reads.

    Args:
        path: file to write later.
        inputs: files and folders that are read; None is skipped.

    Raises:
        InputError: ``path`` is one of them, also by another name.
    """
    for each in inputs:
        with suppress(OSError):  # one that does not exist is no loss
            if each is not None and os.path.samefile(path, each):
                raise InputError(
                    f"{path}: is read by this command, so it is not written; choose another name "
                    "for the output"
                )


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk.

    Many network drives cannot do this for a folder; the function then returns at once.

    Args:
        path: file or folder.
    """
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        # Many network drives answer with these numbers for a folder.
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(number)


def remove_leftovers(folder: Path) -> int:
    """Remove half-written files that killed processes left, and return their number.

    Args:
        folder: folder to clear.
    """
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
def os_errors(
    path: Path, doing: str, aside: Path | None = None, size_bytes: int = 0
) -> Iterator[None]:
    """Turn an ``OSError`` about ``path`` into an ``InputError`` with cause and advice.

    An error that names another file, or has neither a file nor a number, is not about ``path`` and
    is raised unchanged. HDF5's ``RuntimeError``, which it raises when it closes a file on a full
    disk, has the number in its text.

    Args:
        path: file that the message is about.
        doing: "written" or "read".
        aside: another name of the same content. Default: none.
        size_bytes: size of the content. Default: not known.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        names = {None, *map(str, (path, aside, *path.parents))}
        filename = getattr(error, "filename", None)
        is_named = (filename if filename is None else os.fspath(filename)) in names
        if not _number(error) or not is_named:
            raise
        raise InputError(
            f"{path}: cannot be {doing}: {because(error, path, aside, size_bytes)}"
        ) from error


def because(
    error: OSError | RuntimeError,
    path: Path | None = None,
    aside: Path | None = None,
    size_bytes: int = 0,
) -> str:
    """Cause of a file-system error and advice, such as ``permission denied; check ...``.

    Args:
        error: the error; HDF5's ``RuntimeError`` has the number in its text.
        path: file that the error is about, to find the free space of its disk. Default: not
            known.
        aside: another name of the same content, whose size counts as free. Default: none.
        size_bytes: size of the content. Default: not known.
    """
    number = _number(error)
    for numbers, cause, advice in _CAUSES:
        if number in numbers:
            return (
                f"{cause.format(space=_space(path, aside, size_bytes), limit=_limit())}; {advice}"
            )
    return f"{getattr(error, 'strerror', None) or error}; check this path"


def has_cause(error: Exception) -> bool:
    """Whether the machine caused an error, rather than the content of a file.

    :func:`because` then knows the cause.

    Args:
        error: any error.
    """
    return any(_number(error) in numbers for numbers, _, _ in _CAUSES)


def _number(error: Exception) -> int:
    """The error number of the system; 0 if there is none."""
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    told = re.search(r"errno = (\d+)", str(error))
    return getattr(error, "errno", None) or (int(told[1]) if told else 0)


def _space(path: Path | None, aside: Path | None, size_bytes: int) -> str:
    """Free space on the disk as text; the size of ``aside`` counts as free, since it is removed."""
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
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return f"this process has too many files open (at most {most:,})"


def check_is_file(path: Path) -> None:
    """Check that a path is a regular file, if it exists.

    Opening a named pipe would wait for its writer forever.

    Args:
        path: file to read.

    Raises:
        InputError: when it is anything else.
    """
    with os_errors(path, "read"):
        is_other = path.exists() and not path.is_file()
    if is_other:
        raise InputError(f"{path}: not a regular file; give the path of a file on disk")
