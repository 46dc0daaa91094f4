"""What every format of label files can do."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from etram_mmdet.events.label_formats.label_table import LabelTable
from etram_mmdet.events.limits import MAX_BOX_PX, MAX_TEXT_BYTES
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
    """

    name: str
    title: str
    suffixes: tuple[str, ...] = ()
    counts_frames = False

    @classmethod
    @abstractmethod
    def is_this(cls, path: Path, head: bytes) -> bool:
        """Whether a file or folder that begins with ``head`` is of this format."""

    def read(self, path: Path, hints: Hints) -> LabelTable:
        """The labels of ``path``; raises ``InputError`` where it is damaged or ``hints`` lack something."""
        table = self._read(path, hints)
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
        size = path.stat().st_size
        if size > MAX_TEXT_BYTES:
            raise InputError(
                f"{path}: {size:,} bytes, expected at most {MAX_TEXT_BYTES:,}, since it takes ten times as much "
                "memory; write one file for each recording"
            )
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {because(error, path)}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error}); save it as UTF-8") from error


def frame_number(name: str) -> int | None:
    """The last number in a file's name, such as 12 of ``frame_000012.png``; ``None`` without one."""
    numbers = re.findall(r"\d+", Path(name).stem)
    return int(numbers[-1]) if numbers and len(numbers[-1]) < 19 else None


def refuse_repeated(path: Path, what: str, ids: Iterable[Hashable]) -> None:
    """Raise ``InputError`` where one of ``ids`` comes twice."""
    repeated = [key for key, count in Counter(ids).items() if count > 1]
    if repeated:
        raise InputError(
            f"{path}: {what} {repeated[0]} stands in it {'twice or more' if len(repeated) == 1 else 'more than once'}"
            f"{'' if len(repeated) == 1 else f', and so do {len(repeated) - 1} others'}; give each its own number"
        )
