"""Folders of YOLO files: one text file per frame, with sides as shares of the frame."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from etram_mmdet.events.label_formats.base import (
    Hints,
    LabelFormat,
    check_size,
    frame_number,
    names_in_lines,
    read_text,
    refuse_repeated,
)
from etram_mmdet.events.label_formats.label_table import NO_TRACK, LabelTable, table_of
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import atomic_write

_NAME_FILES = ("classes.txt", "obj.names", "data.yaml", "dataset.yaml")
_FOLDERS = ("labels", "obj_train_data")
_LINE = "class cx cy w h (and perhaps a track) with cx, cy, w and h from 0 to 1"


class Yolo(LabelFormat):
    """Labels in a folder with ``NAME_12.txt`` for frame 12, and ``classes.txt``.

    A line is ``class cx cy w h [track]``. Text files may lie in a folder ``labels`` or
    ``obj_train_data``. Class names are also read from ``obj.names`` and ``data.yaml``, in the
    folder or beside it. An empty text file is a frame without a road user.
    """

    name = "yolo"
    title = "YOLO folder"
    counts_frames = True
    has_fixed_boxes = True

    @classmethod
    def is_this(cls, path: Path, head: bytes) -> bool:
        return path.is_dir()

    @staticmethod
    def has_labels(path: Path) -> bool:
        """Whether a folder looks like one of YOLO labels."""
        return any((path / name).is_dir() for name in _FOLDERS) or any(path.glob("*.txt"))

    def _read(self, path: Path, hints: Hints) -> LabelTable:
        if hints.size_px is None:
            raise InputError(
                f"{path}: YOLO files do not hold the size of the frames; add --frame-size WIDTH "
                "HEIGHT"
            )
        names = hints.names or _class_names(path)
        files = [file for file in _label_files(path) if file.name not in _NAME_FILES]
        numbers = [frame_number(file.name) for file in files]
        if None in numbers or not files:
            which = f"no number in {files[numbers.index(None)].name}" if files else "no text file"
            raise InputError(
                f"{path}: {which}; expected one text file for each frame with its number, such as "
                "frame_000012.txt"
            )
        refuse_repeated(path, "frame number", numbers)
        check_size(path, sum(file.stat().st_size for file in files))
        rows = (
            row
            for n, file in zip(numbers, files, strict=True)
            for row in _rows(file, n, len(names), hints.size_px)
        )
        return table_of(rows, names, numbers, unit="frames", size_px=hints.size_px)

    def companions(self, path: Path) -> list[Path]:
        found = _names_file(path)
        return [found] if found is not None and found.parent == path.parent else []

    def write(self, table: LabelTable, path: Path) -> None:
        if table.size_px is None:
            raise InputError(
                f"{path}: YOLO files hold boxes as shares of the frame, whose size is unknown; add "
                "--frame-size WIDTH HEIGHT"
            )
        width, height = table.size_px
        ends = np.searchsorted(table.rows["stamp"], table.stamps, side="right")
        starts = np.searchsorted(table.rows["stamp"], table.stamps, side="left")
        for stamp, start, end in zip(table.stamps, starts, ends, strict=True):
            with atomic_write(path / f"frame_{int(stamp):09d}.txt") as aside:
                aside.write_text(
                    "".join(_line(row, width, height) for row in table.rows[start:end])
                )
        with atomic_write(path / "classes.txt") as aside:
            aside.write_text("".join(f"{name}\n" for name in table.names))


def _line(row: np.void, width: int, height: int) -> str:
    x, y, w, h = (float(row[name]) for name in "xywh")
    sides = ((x + w / 2) / width, (y + h / 2) / height, w / width, h / height)
    track = "" if row["track_id"] == NO_TRACK else f" {row['track_id']}"
    return f"{row['name']} {' '.join(f'{side:.8f}' for side in sides)}{track}\n"


def _label_files(path: Path) -> list[Path]:
    folder = next((path / name for name in _FOLDERS if (path / name).is_dir()), path)
    found = folder.iterdir() if folder == path else folder.rglob("*.txt")
    return sorted(file for file in found if file.suffix == ".txt" and not file.name.startswith("."))


def _names_file(path: Path) -> Path | None:
    files = (folder / name for folder in (path, path.parent) for name in _NAME_FILES)
    return next((file for file in files if file.is_file()), None)


def _class_names(path: Path) -> tuple[str, ...]:
    file = _names_file(path)
    if file is None:
        raise InputError(
            f"{path}: none of {', '.join(_NAME_FILES)} is there; write the class names into "
            "classes.txt, one a line (or pass --source-classes NAME ... to tools/convert_labels.py)"
        )
    return (
        tuple(_yaml_names(file, read_text(file)))
        if file.suffix == ".yaml"
        else names_in_lines(file)
    )


def _yaml_names(path: Path, text: str) -> Iterator[str]:
    """Value of ``names:`` in its usual spellings: ``[a, b]``, ``- a`` lines, ``0: a`` lines."""
    lines = iter(text.splitlines())
    value = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("names:")), None
    )
    if value is None:
        raise InputError(
            f"{path}: has no line 'names: ...'; add it, or write the names into classes.txt"
        )
    if value:
        yield from (word.strip().strip("'\"") for word in value.strip("[]").split(","))
        return
    for line in lines:
        entry = line.strip()
        if not entry or not (line.startswith((" ", "-")) or entry.startswith("-")):
            return
        yield (entry[1:] if entry.startswith("-") else entry.partition(":")[2]).strip().strip("'\"")


def _rows(file: Path, frame: int, num_names: int, size_px: tuple[int, int]) -> Iterator[tuple]:
    width, height = size_px
    for number, line in enumerate(read_text(file).splitlines(), 1):
        words = line.split()
        if not words:
            continue
        try:
            values = [float(word) for word in words]
            name, track = int(values[0]), int(values[5]) if len(values) == 6 else NO_TRACK
            cx, cy, w, h = values[1:5]
        except (ValueError, OverflowError) as error:
            raise InputError(f"{file}: line {number} is {line[:60]!r}, expected {_LINE}") from error
        if not 0 <= name < num_names or len(values) > 6 or max(map(abs, values[1:5])) > 2:
            raise InputError(
                f"{file}: line {number} is {line[:60]!r}, expected {_LINE}, and a class below "
                f"{num_names}"
            )
        yield (
            frame,
            (cx - w / 2) * width,
            (cy - h / 2) * height,
            w * width,
            h * height,
            name,
            track,
            1.0,
        )
