"""Names of the files of a run, none of which overwrites a file of an earlier run."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import BinaryIO

from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import os_errors


def free_number(paths: Iterable[Path]) -> int:
    """The smallest number, from 1, with which none of these files exists, see :func:`numbered`.

    So the files of a run share a number, and the same command works again after a kill or a full
    disk.

    Args:
        paths: files as the user named them.
    """
    paths = list(paths)
    return next(n for n in count(1) if not any(_is_taken(numbered(path, n)) for path in paths))


def numbered(path: Path, number: int) -> Path:
    """The name of a file in the run of a number: ``a.csv``, ``a_2.csv``, ``a_3.csv``, ...

    Args:
        path: file as the user named it.
        number: from 1.
    """
    return path if number == 1 else path.with_name(f"{path.stem}_{number}{path.suffix}")


def create(path: Path, option: str) -> BinaryIO:
    """A new file, or a pipe that is there; written without a buffer.

    Args:
        path: file; its folder is made.
        option: option that named it, for messages.

    Raises:
        InputError: the file exists or cannot be written.
    """
    with os_errors(path, "written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return path.open("xb" if not path.exists() or path.is_file() else "wb", buffering=0)
        except FileExistsError as error:
            raise InputError(
                f"{option} {path}: exists already; name another file, or remove it"
            ) from error


def _is_taken(path: Path) -> bool:
    """Whether a file would be overwritten. Pipes and devices are no such files."""
    return os.path.lexists(path) and (path.is_file() or not path.exists())
