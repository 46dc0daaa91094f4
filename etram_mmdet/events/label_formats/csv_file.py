"""CSV files of labels whose first line names the columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from etram_mmdet.events.choices import LabelUnit
from etram_mmdet.events.label_formats.base import (
    Hints,
    LabelFormat,
    folder_of,
    read_text,
    recording_names,
    refuse_several,
)
from etram_mmdet.events.label_formats.clock import guess_unit
from etram_mmdet.events.label_formats.label_table import NO_TRACK, LabelTable, table_of
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import atomic_write, check_is_file, os_errors
from etram_mmdet.utils.text import did_you_mean

# Our column names, and all names that are recognised for them. The name of a time ends in its unit;
# the unit of t is guessed from the numbers.
COLUMNS: dict[str, tuple[str, ...]] = {
    "t_us": ("t_us", "time_us", "timestamp_us"),
    "t_ms": ("t_ms", "time_ms", "timestamp_ms"),
    "t_s": ("t_s", "time_s", "timestamp_s", "seconds"),
    "t": ("t", "ts", "time", "timestamp"),
    "frame": ("frame", "frame_id", "frame_index", "frame_number"),
    "x": ("x", "left", "xmin", "x1", "x_min", "xtl", "bb_left"),
    "y": ("y", "top", "ymin", "y1", "y_min", "ytl", "bb_top"),
    "w": ("w", "width", "bb_width"),
    "h": ("h", "height", "bb_height"),
    "x2": ("x2", "right", "xmax", "x_max", "xbr"),
    "y2": ("y2", "bottom", "ymax", "y_max", "ybr"),
    "cx": ("cx", "x_center", "center_x", "xc"),
    "cy": ("cy", "y_center", "center_y", "yc"),
    "class": ("class", "class_name", "label", "category", "name"),
    "class_id": ("class_id", "category_id", "label_id"),
    "track_id": ("track_id", "track", "object_id", "instance_id"),
    "score": ("score", "confidence", "class_confidence"),
    "recording": ("recording", "video", "sequence"),
    "file_name": ("file_name", "filename", "image", "image_name"),
}
_STAMPS: tuple[tuple[str, LabelUnit | None], ...] = (
    ("t_us", "us"),
    ("t_ms", "ms"),
    ("t_s", "s"),
    ("t", None),
    ("frame", "frames"),
)
_LONGEST_HEAD = 1 << 16  # bytes of the line of names
# Two corners first: if they are there, "width" and "height" are often those of the picture.
_CORNERS = (("x", "y", "x2", "y2"), ("x", "y", "w", "h"), ("cx", "cy", "w", "h"))


class Csv(LabelFormat):
    """Labels in a CSV file, one line per box.

    Columns may have any order and case, and are separated by commas, semicolons or tabs. A box is a
    corner and a size, a centre and a size, or two corners. A line with an empty box is a labelled
    time without a road user. Unknown column names are given as ``--columns x=LEFT_PX class=KIND``.
    """

    name = "csv"
    title = "CSV with column names"
    suffixes = (".csv", ".tsv")

    @classmethod
    def is_this(cls, path: Path, head: bytes) -> bool:
        return path.suffix.lower() in cls.suffixes

    def _read(self, path: Path, hints: Hints) -> LabelTable:
        columns = _columns(path, hints.columns)
        stamp_key, unit = next(
            ((key, unit) for key, unit in _STAMPS if key in columns), (None, None)
        )
        sides = next((keys for keys in _CORNERS if all(key in columns for key in keys)), None)
        kind = next((key for key in ("class", "class_id") if key in columns), None)
        if None in (stamp_key, sides, kind):
            missing = (
                "a time or frame number"
                if not stamp_key
                else "a box (x,y,w,h)"
                if not sides
                else "a class"
            )
            raise InputError(
                f"{path}: no column holds {missing} (columns: "
                f"{', '.join(_header(path)[0]) or 'none'}); name the columns with --columns of "
                "tools/convert_labels.py, such as t_us=STAMP x=LEFT y=TOP w=WIDTH h=HEIGHT "
                "class=KIND"
            )
        names: dict[str, int] = {name: i for i, name in enumerate(hints.names)}
        empty: set[float] = set()  # labelled times without a box
        recordings: set[str] = set()

        def rows() -> Iterator[tuple]:
            for number, line in _lines(path):
                get = _Line(path, number, line, columns)
                if hints.recording is None:
                    recordings.add(get.text("recording") or folder_of(get.text("file_name")))
                elif hints.recording not in recording_names(
                    get.text("recording") or get.text("file_name")
                ):
                    continue
                stamp = get.number(stamp_key)
                if any(get.text(key) for key in sides):
                    box = _xywh(sides, [get.number(key) for key in sides])
                    yield stamp, *box, get.name(kind, names, hints), get.track(), get.score()
                else:
                    empty.add(stamp)

        table = table_of(rows(), (), empty, size_px=hints.size_px)
        refuse_several(path, recordings)
        unit = unit or guess_unit(table.stamps)
        found = [f"times: column {columns[stamp_key]!r}, taken as {unit}"]
        return replace(table, names=tuple(names), unit=unit, found=found)

    def recordings(self, path: Path) -> list[str]:
        columns = _columns(path, {})
        column = columns.get("recording") or columns.get("file_name")
        return [] if column is None else [line[column] or "" for _, line in _lines(path)]

    def write(self, table: LabelTable, path: Path) -> None:
        with atomic_write(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            stamp = "frame" if table.unit == "frames" else "t_us"
            writer.writerow([stamp, "x", "y", "w", "h", "class", "track_id", "score"])
            starts = np.searchsorted(table.rows["stamp"], table.stamps, side="left")
            ends = np.searchsorted(table.rows["stamp"], table.stamps, side="right")
            for when, start, end in zip(table.stamps, starts, ends, strict=True):
                if start == end:
                    writer.writerow([int(when), *[""] * 7])
                for row in table.rows[start:end]:
                    track = "" if row["track_id"] == NO_TRACK else int(row["track_id"])
                    box = [float(row[name]) for name in "xywh"]
                    writer.writerow(
                        [int(when), *box, table.names[row["name"]], track, float(row["score"])]
                    )


class _Line:
    """Values of one line, by our column names."""

    def __init__(self, path: Path, number: int, line: dict, columns: dict[str, str]) -> None:
        self.place = f"{path}: line {number}"
        self.line = line
        self.columns = columns

    def text(self, key: str) -> str:
        return (self.line[self.columns[key]] or "").strip() if key in self.columns else ""

    def number(self, key: str) -> float:
        try:
            value = float(self.text(key))
        except ValueError:
            value = np.nan
        if not np.isfinite(value):
            raise InputError(
                f"{self.place}: {self.columns[key]} is {self.text(key)[:40]!r}, expected a number"
            )
        return value

    def name(self, kind: str, names: dict[str, int], hints: Hints) -> int:
        text = self.text(kind)
        if kind == "class_id" and hints.names:
            number = self.number(kind)
            if not 0 <= number < len(hints.names):
                raise InputError(
                    f"{self.place}: class id {text}, expected 0 to {len(hints.names) - 1}, the ids "
                    "of --source-classes; give a name for every id"
                )
            return int(number)
        return names.setdefault(text, len(names))

    def track(self) -> int:
        return int(self.number("track_id")) if self.text("track_id") else NO_TRACK

    def score(self) -> float:
        return self.number("score") if self.text("score") else 1.0


def _header(path: Path) -> tuple[list[str], str]:
    """Column names of a file, and the separator."""
    check_is_file(path)
    with os_errors(path, "read"), path.open("rb") as file:
        line = file.readline(_LONGEST_HEAD).decode("utf-8-sig", "replace")
    head = next(iter(line.splitlines()), "")
    separator = max(",;\t", key=head.count)
    with _csv_errors(path):
        return next(csv.reader([head], delimiter=separator), []), separator


@contextmanager
def _csv_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except csv.Error as error:
        raise InputError(f"{path}: not readable as CSV ({error}); save it again") from error


def _lines(path: Path) -> Iterator[tuple[int, dict]]:
    """Line number and values of each line after the first."""
    text = io.StringIO(read_text(path), newline="")
    with _csv_errors(path):
        for number, line in enumerate(csv.DictReader(text, delimiter=_header(path)[1]), 2):
            if None in line:
                raise InputError(
                    f"{path}: line {number} has more values than there are columns; correct it"
                )
            yield number, line


def _columns(path: Path, given: dict[str, str]) -> dict[str, str]:
    """Column names in the file for each of our column names that it has."""
    present, _ = _header(path)
    for key, column in given.items():
        if key not in COLUMNS:
            raise InputError(f"--columns {key}={column}: {did_you_mean(key, list(COLUMNS))}")
        if column not in present:
            raise InputError(f"{path}: has no column {column!r}; {did_you_mean(column, present)}")
    lower = {str(name).strip().lower(): name for name in reversed(present)}
    known = {
        key: next((lower[name] for name in names if name in lower), None)
        for key, names in COLUMNS.items()
    }
    return {key: name for key, name in known.items() if name is not None} | given


def _xywh(keys: tuple[str, ...], values: list[float]) -> tuple[float, float, float, float]:
    x, y, w, h = values
    if "cx" in keys:
        return x - w / 2, y - h / 2, w, h
    return (x, y, w - x, h - y) if "x2" in keys else (x, y, w, h)
