"""Convert labels between formats: classes by name, times by a clock, boxes in sensor pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from etram_mmdet.events.class_mapping import ClassSet
from etram_mmdet.events.label_formats import LabelFormat, LabelTable
from etram_mmdet.events.label_formats.clock import MAP_NAME, Clock, write_frame_times
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.text import table as text_table


@dataclass(frozen=True)
class Conversion:
    """Result of a conversion; ``str()`` describes it.

    Attributes:
        table: the labels as they were written, with the counts of boxes that were left out.
        files: all written files.
    """

    table: LabelTable
    files: tuple[Path, ...]

    def __str__(self) -> str:
        table = self.table
        span = (
            f", from {table.stamps[0]:.0f} to {table.stamps[-1]:.0f} {table.unit}"
            if len(table.stamps)
            else ""
        )
        lines = [
            *table.found,
            f"{len(table.rows)} boxes in {len(table.stamps)} labelled frames{span}",
        ]
        rows = [("class", "boxes"), *table.counts_per_class().items()]
        lines.append(text_table(rows))
        lines += [f"left out: {reason} {count}" for reason, count in table.counts.items() if count]
        return "\n".join([*lines, f"written: {', '.join(map(str, self.files))}"])


def in_microseconds(table: LabelTable, clock: Clock | None = None) -> LabelTable:
    """Labels with their time stamps converted to microseconds.

    Args:
        table: labels with the stamps of their file.
        clock: converts the stamps. Default: the unit that the file states, without an offset.

    Raises:
        InputError: when the file counts frames and no clock gives their times.
    """
    clock = clock or Clock(table.unit or "us")
    rows = table.rows.copy()
    rows["stamp"] = clock.to_us(table.rows["stamp"])
    stamps = np.unique(clock.to_us(table.stamps)).astype(np.float64)
    ends = clock.to_us(np.array([stamp for _, stamp in table.ends], np.float64)).tolist()
    ends = [(track, end) for (track, _), end in zip(table.ends, ends, strict=True)]
    return replace(table, rows=rows, stamps=stamps, unit="us", ends=ends)


def with_classes(
    table: LabelTable, classes: ClassSet | Sequence[str], renamed: Mapping[str, str] | None = None
) -> LabelTable:
    """Labels with other classes; boxes of classes that are not among them are left out and counted.

    Args:
        table: labels with the names or ids of their file.
        classes: new class names, which are also the names of the ids 0, 1, ..., or a class set.
            Upper and lower case are equal.
        renamed: new class for a name in the file. Default: the class of this name in ``classes``.

    Raises:
        InputError: when ``renamed`` contains a name that is not in the file, or a class that is not
            in ``classes``.
    """
    class_set = classes if isinstance(classes, ClassSet) else ClassSet("--classes", tuple(classes))
    renamed = {key.lower(): value for key, value in (renamed or {}).items()}
    here = {name.lower() for name in table.names}
    for name, target in renamed.items():
        if name not in here or not class_set.knows(target):
            known, wrong = (class_set.classes, target) if name in here else (table.names, name)
            raise InputError(
                f"--rename {name}={target}: no class {wrong!r}; expected one of {', '.join(known)}"
            )
    keys = [renamed.get(name.lower(), name) for name in table.names]
    ids = [class_set.class_of(key) if class_set.knows(key) else None for key in keys]
    new = np.array([-1 if i is None else i for i in ids] + [-1])[table.rows["name"]]
    per_class = zip(table.counts_per_class().items(), ids, strict=True)
    left_out = {f"boxes_of_class_{name}": n for (name, n), i in per_class if i is None and n}
    rows = table.rows[new >= 0]
    rows["name"] = new[new >= 0]
    return replace(table, rows=rows, names=tuple(class_set.classes), counts=table.counts | left_out)


def write_labels(
    table: LabelTable, path: Path, format_: LabelFormat, clock: Clock | None = None
) -> Conversion:
    """Write labels with stamps in microseconds to a file.

    Args:
        table: labels with stamps in microseconds.
        path: new file or folder.
        format_: format of the file.
        clock: gives the frame numbers in formats that count frames. Default: the labelled times are
            numbered from 0, and ``NAME_frames.csv`` beside ``path`` maps the numbers to
            microseconds.

    Raises:
        InputError: when ``path`` cannot be written, or ``clock`` has no frame for a time.
    """
    files = [path]
    if format_.counts_frames:
        if clock is None:
            times = table.stamps.astype(np.int64)
            clock = Clock("frames", frame_us=np.column_stack([np.arange(len(times)), times]))
            files.append(path.with_name(f"{path.stem}_{MAP_NAME}"))
        rows = table.rows.copy()
        rows["stamp"] = clock.from_us(table.rows["stamp"])
        table = replace(table, rows=rows, stamps=clock.from_us(table.stamps), unit="frames")
    format_.write(table, path)
    if len(files) > 1:
        write_frame_times(files[1], clock.frame_us)
    return Conversion(table, tuple(files))


def check_sizes(
    table: LabelTable, size_px: tuple[int, int], path: Path, option: str = "--resize"
) -> None:
    """Raise ``InputError`` if the labelled frames are not as large as the sensor.

    Args:
        table: labels, with the size of their frames if it is known.
        size_px: width and height of the sensor.
        path: label file, for the message.
        option: option that scales the boxes, for the message. Default: ``--resize``.
    """
    if table.size_px is not None and table.size_px != size_px:
        ours, theirs = ("{}x{}".format(*size) for size in (size_px, table.size_px))
        raise InputError(
            f"{path}: its labels are for frames of {theirs} px, but the sensor has {ours}; add "
            f"{option} to scale the boxes"
        )
