"""Files that are complete or absent."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from etram_mmdet.utils.errors import InputError


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A path to write to, moved to ``path`` at the end, so that nobody meets half a file.

    Raises ``InputError`` where ``path`` cannot be written.
    """
    aside = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        with _writing_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            aside.touch()
        yield aside
        with _writing_errors(path):
            os.replace(aside, path)
    finally:
        if aside.is_file():
            aside.unlink()


def write_json(path: Path, content: dict) -> None:
    """``content`` as an indented file; raises ``InputError`` as :func:`atomic_write` does."""
    with atomic_write(path) as aside:
        aside.write_text(json.dumps(content, indent=2) + "\n")


@contextmanager
def _writing_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); name another file") from error


def check_is_file(path: Path) -> None:
    """Raise ``InputError`` for what is no regular file; opening a named pipe would wait for its writer forever."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: not a regular file; put the file itself there")
