"""Base class of the formats of label files."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from etram_mmdet.events.label_formats.label_table import LabelTable
from etram_mmdet.events.limits import MAX_BOX_PX, MAX_ROWS, MAX_TEXT_BYTES
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import because, check_is_file


@dataclass(frozen=True)
class Hints:
    """Facts about labels that some files do not state.

    Args:
        names: class names, for formats that hold numbers only. Default: none.
        size_px: width and height of the labelled frames. Default: unknown.
        columns: for CSV files, the name in the file for each of our column names
            (:data:`~.csv_file.COLUMNS`). Default: found by their names.
        recording: name of the recording to read from a file that holds several. Default: the only
            one.
    """

    names: tuple[str, ...] = ()
    size_px: tuple[int, int] | None = None
    columns: dict[str, str] = field(default_factory=dict)
    recording: str | None = None


class LabelFormat(ABC):
    """One format of label files; a subclass sets the attributes.

    Attributes:
        name: name on the command line.
        title: name in messages.
        suffixes: suffixes of its files; empty if the format is a folder.
        counts_frames: whether its time stamps are frame numbers, so that a map to times belongs to
            it.
        has_fixed_boxes: whether the format defines x, y, w and h, so that ``box_format`` does not
            apply to it. In other formats programs write these numbers in several meanings.
    """

    name: str
    title: str
    suffixes: tuple[str, ...] = ()
    counts_frames = False
    has_fixed_boxes = False

    @classmethod
    @abstractmethod
    def is_this(cls, path: Path, head: bytes) -> bool:
        """Whether a file or folder is of this format, by its path and its first bytes ``head``."""

    def read(self, path: Path, hints: Hints) -> LabelTable:
        """Read the labels of a file or folder.

        Raises:
            InputError: when the file is damaged, or ``hints`` lack a fact that it does not state.
        """
        try:
            table = self._read(path, hints)
        except OverflowError as error:
            raise InputError(
                f"{path}: a number in it is too large for a label ({error}); correct the file"
            ) from error
        if len(table.rows) > MAX_ROWS:
            raise InputError(
                f"{path}: {len(table.rows):,} boxes, expected at most {MAX_ROWS:,}; split the file"
            )
        sides = np.array([table.rows[name] for name in ("x", "y", "w", "h", "score")])
        is_sane = (np.abs(sides) < MAX_BOX_PX).all(0)  # NaN is not
        if not is_sane.all():
            row = table.rows[~is_sane][0]
            found = ", ".join(f"{name} = {row[name]:g}" for name in ("stamp", *"xywh", "score"))
            raise InputError(
                f"{path}: {(~is_sane).sum()} boxes hold no usable numbers, the first is {found}; "
                "correct the file"
            )
        return table

    @abstractmethod
    def _read(self, path: Path, hints: Hints) -> LabelTable:
        """Read the labels, see :meth:`read`; numbers need not be checked."""

    def companions(self, path: Path) -> list[Path]:
        """Further files beside ``path`` that are read with it."""
        return []

    def recordings(self, path: Path) -> list[str]:
        """Names or paths that identify the recording of each image or line, for files with several.

        Raises:
            InputError: when the file is damaged.
        """
        return []

    @abstractmethod
    def write(self, table: LabelTable, path: Path) -> None:
        """Write a table to a file or folder.

        The stamps of ``table`` must have the unit of the format: frame numbers or microseconds.

        Raises:
            InputError: when it cannot be written.
        """


def read_text(path: Path) -> str:
    """Read a label file in UTF-8, with or without a byte-order mark.

    Args:
        path: the file.

    Raises:
        InputError: when it is too large for memory, not UTF-8, or cannot be read.
    """
    check_is_file(path)
    try:
        check_size(path, path.stat().st_size)
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {because(error, path)}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error}); save it as UTF-8") from error


def check_size(path: Path, size_bytes: int) -> None:
    """Raise ``InputError`` for more text than fits into memory.

    Args:
        path: file or folder, for the message.
        size_bytes: size of its text.
    """
    if size_bytes > MAX_TEXT_BYTES:
        raise InputError(
            f"{path}: {size_bytes:,} bytes, expected at most {MAX_TEXT_BYTES:,}, since reading "
            "takes ten times as much memory; write one file for each recording"
        )


def frame_number(name: str) -> int | None:
    """The last number in a file's name, such as 12 for ``frame_000012.png``; ``None`` without one.

    Args:
        name: file name or path.
    """
    numbers = re.findall(r"\d+", Path(name).stem)
    return int(numbers[-1]) if numbers and len(numbers[-1]) < 19 else None


def recording_names(text: str) -> list[str]:
    """Names of the recordings that a path in a label file may belong to, the likeliest first.

    ``street_000012.png``, ``street/000012.png``, ``street_td.raw`` and ``street`` belong to
    ``street``.

    Args:
        text: path or name in the label file.
    """
    path = PurePosixPath(text.replace("\\", "/"))
    stem = path.stem if path.suffix.strip(".").isalnum() else path.name
    without_number = re.sub(r"[-_. ]*(frame)?[-_. ]*\d+$", "", stem, flags=re.IGNORECASE)
    names = [stem, without_number, *(part for part in reversed(path.parts[:-1]))]
    return list(dict.fromkeys(name.removesuffix("_td") for name in names if name))


def folder_of(text: str) -> str:
    """Name of the folder in a path of a label file; empty if the path has none.

    Args:
        text: path in the label file.
    """
    return PurePosixPath(text.replace("\\", "/")).parent.name


def refuse_several(path: Path, recordings: set[str]) -> None:
    """Raise ``InputError`` if a file that was read as one recording holds several.

    Args:
        path: the file, for the message.
        recordings: names of the recordings in it.
    """
    if len(recordings) > 1:
        listed = ", ".join(repr(name) for name in sorted(recordings)[:3])
        raise InputError(
            f"{path}: holds {len(recordings)} recordings ({listed}), expected one; choose one with "
            "--video of tools/convert_labels.py. tools/preprocess.py reads all of them if the file "
            "does not have the name of one of them"
        )


def names_in_lines(path: Path) -> tuple[str, ...]:
    """Read class names from a text file with one name per line.

    Args:
        path: the file.
    """
    lines = [line.strip() for line in read_text(path).splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    return tuple(lines)


def refuse_repeated(path: Path, what: str, ids: Iterable[Hashable]) -> None:
    """Raise ``InputError`` if an id occurs twice.

    Args:
        path: the file, for the message.
        what: kind of the ids, for the message.
        ids: the ids.
    """
    repeated = [key for key, count in Counter(ids).items() if count > 1]
    if repeated:
        others = "" if len(repeated) == 1 else f", and so do {len(repeated) - 1} others"
        raise InputError(
            f"{path}: {what} {repeated[0]} occurs more than once{others}; give each one its own "
            "number"
        )
