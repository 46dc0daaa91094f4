"""What every format of label files can do."""

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
    """What some files do not say.

    Args:
        names: class names, for formats that hold numbers only. Default: none.
        size_px: (width, height) of the labelled frames. Default: not known.
        columns: for CSV files, the file's column of each of ours (:data:`~.csv_file.COLUMNS`). Default: by their names.
        recording: which recording of a file that holds several. Default: the only one.
    """

    names: tuple[str, ...] = ()
    size_px: tuple[int, int] | None = None
    columns: dict[str, str] = field(default_factory=dict)
    recording: str | None = None


class LabelFormat(ABC):
    """One format of label files; a subclass states the attributes.

    Attributes:
        name: word of the command line.
        title: what people call it.
        suffixes: of its files; none where it is a folder.
        counts_frames: whether its stamps are numbers of frames, so that a map to times belongs to it.
        has_fixed_boxes: whether a program that writes x, y, w and h in another meaning breaks the format.
    """

    name: str
    title: str
    suffixes: tuple[str, ...] = ()
    counts_frames = False
    has_fixed_boxes = False

    @classmethod
    @abstractmethod
    def is_this(cls, path: Path, head: bytes) -> bool:
        """Whether a file or folder that begins with ``head`` is of this format."""

    def read(self, path: Path, hints: Hints) -> LabelTable:
        """The labels of ``path``; raises ``InputError`` where it is damaged or ``hints`` lack something."""
        try:
            table = self._read(path, hints)
        except OverflowError as error:
            raise InputError(f"{path}: a number in it is too large for a label ({error}); mend the file") from error
        if len(table.rows) > MAX_ROWS:
            raise InputError(f"{path}: {len(table.rows):,} boxes, expected at most {MAX_ROWS:,}; split the file")
        sides = np.array([table.rows[name] for name in ("x", "y", "w", "h", "score")])
        is_sane = (np.abs(sides) < MAX_BOX_PX).all(0)  # NaN is not
        if not is_sane.all():
            row = table.rows[~is_sane][0]
            found = ", ".join(f"{name} = {row[name]:g}" for name in ("stamp", *"xywh", "score"))
            raise InputError(
                f"{path}: {(~is_sane).sum()} boxes hold no usable numbers, the first {found}; mend the file"
            )
        return table

    @abstractmethod
    def _read(self, path: Path, hints: Hints) -> LabelTable:
        """See :meth:`read`; numbers need not be checked."""

    def companions(self, path: Path) -> list[Path]:
        """The files beside ``path`` that are read with it."""
        return []

    def recordings(self, path: Path) -> list[str]:
        """What names a recording in a file that may hold several: a path or name for each image or line.

        Raises:
            InputError: the file is damaged.
        """
        return []

    @abstractmethod
    def write(self, table: LabelTable, path: Path) -> None:
        """Write ``table``, whose stamps count what the format counts; raises ``InputError``."""


def read_text(path: Path) -> str:
    """A label file in UTF-8, with or without a byte-order mark.

    Raises:
        InputError: it is too large for memory, not UTF-8, or cannot be read.
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
    """Raise ``InputError`` for more text than fits into memory."""
    if size_bytes > MAX_TEXT_BYTES:
        raise InputError(
            f"{path}: {size_bytes:,} bytes, expected at most {MAX_TEXT_BYTES:,}, since it takes ten times as much "
            "memory; write one file for each recording"
        )


def frame_number(name: str) -> int | None:
    """The last number in a file's name, such as 12 of ``frame_000012.png``; ``None`` without one."""
    numbers = re.findall(r"\d+", Path(name).stem)
    return int(numbers[-1]) if numbers and len(numbers[-1]) < 19 else None


def recording_names(text: str) -> list[str]:
    """The recordings that a path or name in a label file may belong to, the likeliest first.

    ``street_000012.png``, ``street/000012.png``, ``street_td.raw`` and ``street`` belong to ``street``.
    """
    path = PurePosixPath(text.replace("\\", "/"))
    stem = path.stem if path.suffix.strip(".").isalnum() else path.name
    without_number = re.sub(r"[-_. ]*(frame)?[-_. ]*\d+$", "", stem, flags=re.IGNORECASE)
    names = [stem, without_number, *(part for part in reversed(path.parts[:-1]))]
    return list(dict.fromkeys(name.removesuffix("_td") for name in names if name))


def folder_of(text: str) -> str:
    """The folder in which a file lies by its path in a label file; empty where that has none."""
    return PurePosixPath(text.replace("\\", "/")).parent.name


def refuse_several(path: Path, recordings: set[str]) -> None:
    """Raise ``InputError`` where a file that was read as one recording holds several."""
    if len(recordings) > 1:
        listed = ", ".join(repr(name) for name in sorted(recordings)[:3])
        raise InputError(
            f"{path}: holds {len(recordings)} recordings ({listed}); tools/convert_labels.py takes one of them by its "
            "name with --video, and tools/preprocess.py each by itself if the file is not called as one of them"
        )


def names_in_lines(path: Path) -> tuple[str, ...]:
    """Class names, one a line."""
    lines = [line.strip() for line in read_text(path).splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    return tuple(lines)


def refuse_repeated(path: Path, what: str, ids: Iterable[Hashable]) -> None:
    """Raise ``InputError`` where one of ``ids`` comes twice."""
    repeated = [key for key, count in Counter(ids).items() if count > 1]
    if repeated:
        raise InputError(
            f"{path}: {what} {repeated[0]} stands in it {'twice or more' if len(repeated) == 1 else 'more than once'}"
            f"{'' if len(repeated) == 1 else f', and so do {len(repeated) - 1} others'}; give each its own number"
        )
