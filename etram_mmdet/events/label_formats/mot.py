"""MOT Challenge text files: one line per box, frames counted from 1."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from etram_mmdet.events.label_formats.base import Hints, LabelFormat, names_in_lines, read_text
from etram_mmdet.events.label_formats.label_table import NO_TRACK, LabelTable, table_of
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import atomic_write

_NAMES_FILE = "labels.txt"
_LINE = "frame,track,x,y,w,h,confidence,class,visibility with frame and class from 1"


class Mot(LabelFormat):
    """Labels in a text file with lines ``frame,track,x,y,w,h,confidence,class,visibility``.

    A confidence of 0 marks a box to ignore, which is left out and counted. Frame 1 of the file is
    frame 0 of a table. Class names are in ``labels.txt`` beside the file, one per line, as CVAT
    writes it. Coordinates are used unchanged.
    """

    name = "mot"
    title = "MOT text"
    suffixes = (".txt",)
    counts_frames = True

    @classmethod
    def is_this(cls, path: Path, head: bytes) -> bool:
        words = head.split(b"\n")[0].split(b",")
        return (
            path.suffix.lower() == ".txt"
            and len(words) >= 6
            and all(_is_number(word) for word in words)
        )

    def _read(self, path: Path, hints: Hints) -> LabelTable:
        names = hints.names or _class_names(path)
        counts = Counter()

        def rows() -> Iterator[tuple]:
            for number, line in enumerate(io.StringIO(read_text(path)), 1):
                if line.strip():
                    words = line.strip().split(",")
                    frame, track, x, y, w, h, confidence, name = _values(
                        path, number, words, len(names)
                    )
                    if confidence != 0:
                        yield (
                            frame - 1,
                            x,
                            y,
                            w,
                            h,
                            int(name) - 1,
                            int(track),
                            min(abs(confidence), 1.0),
                        )
                    else:
                        counts["boxes_to_ignore"] += 1

        table = table_of(rows(), names, (), unit="frames", size_px=hints.size_px)
        return replace(table, counts=dict(counts))

    def companions(self, path: Path) -> list[Path]:
        return [path.with_name(_NAMES_FILE)]

    def write(self, table: LabelTable, path: Path) -> None:
        """Write one line per box, and the class names.

        A frame without a box has no line in this format; only the map of times holds its
        number.
        """
        with atomic_write(path) as aside, aside.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            for row in table.rows:
                sides = [round(float(row[name]), 4) for name in "xywh"]
                track = -1 if row["track_id"] == NO_TRACK else int(row["track_id"])
                writer.writerow(
                    [
                        int(row["stamp"]) + 1,
                        track,
                        *sides,
                        max(float(row["score"]), 1e-6),
                        row["name"] + 1,
                        1,
                    ]
                )
        with atomic_write(path.with_name(_NAMES_FILE)) as aside:
            aside.write_text("".join(f"{name}\n" for name in table.names))


def _is_number(word: bytes) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _values(path: Path, number: int, words: list[str], num_names: int) -> list[float]:
    try:
        values = [float(word) for word in words[:8]]
    except ValueError:
        values = []
    if len(values) == 6:
        values.append(1.0)
    if len(values) == 7:
        values.append(1.0)
    if len(values) != 8 or not 1 <= values[7] <= num_names or values[0] < 1:
        raise InputError(
            f"{path}: line {number} is {','.join(words)[:60]!r}, expected {_LINE}, and a class up "
            f"to {num_names}"
        )
    return values


def _class_names(path: Path) -> tuple[str, ...]:
    beside = path.with_name(_NAMES_FILE)
    if not beside.is_file() or beside == path:
        raise InputError(
            f"{path}: no file {_NAMES_FILE} beside it; write the class names into such a file, one "
            "a line, beginning with class 1 (or pass --source-classes NAME ... to "
            "tools/convert_labels.py)"
        )
    return names_in_lines(beside)
