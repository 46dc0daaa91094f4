"""Boxes of one recording with class names, the common form between all formats of label files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from etram_mmdet.events.choices import LabelUnit
from etram_mmdet.events.labels import BBOX_DTYPE
from etram_mmdet.utils.errors import InputError

# stamp: when, in what the file counts. x, y: upper left corner, w, h: size, in pixels of the labelled frames.
ROW_DTYPE = np.dtype(
    [
        ("stamp", "<f8"),
        ("x", "<f8"),
        ("y", "<f8"),
        ("w", "<f8"),
        ("h", "<f8"),
        ("name", "<i4"),
        ("track_id", "<i8"),
        ("score", "<f8"),
    ]
)
NO_TRACK = -1


@dataclass
class LabelTable:
    """Labels of one recording, as a file has them.

    Args:
        rows: (N,) of `ROW_DTYPE`; ``name`` counts ``names``, ``track_id`` is `NO_TRACK` where there is none.
        names: class names.
        stamps: (F,) float64, every frame or time that was labelled, also those without a box.
        unit: what stamps count; ``None`` where the file does not tell.
        size_px: (width, height) of the labelled frames; ``None`` where the file does not tell.
        counts: what was left out, by reason.
        found: what was found out about the file, a sentence each.
        ends: track and stamp, wherever a track is known to have left the picture.
    """

    rows: np.ndarray
    names: tuple[str, ...]
    stamps: np.ndarray
    unit: LabelUnit | None = None
    size_px: tuple[int, int] | None = None
    counts: dict[str, int] = field(default_factory=dict)
    found: list[str] = field(default_factory=list)
    ends: list[tuple[int, float]] = field(default_factory=list)

    def counts_per_class(self) -> dict[str, int]:
        """Boxes by class name."""
        numbers = np.bincount(self.rows["name"], minlength=len(self.names))
        return dict(zip(self.names, numbers.tolist(), strict=True))


def table_of(rows: Iterable[tuple], names: Sequence[str], stamps: Iterable[float], **more: object) -> LabelTable:
    """A table in the order of stamps from tuples in the order of `ROW_DTYPE`; ``more`` as :class:`LabelTable`."""
    array = np.array(list(rows), ROW_DTYPE)
    array = array[np.argsort(array["stamp"], kind="stable")]
    all_stamps = np.union1d(np.fromiter(stamps, np.float64), array["stamp"])
    return LabelTable(array, tuple(names), all_stamps, **more)


def to_boxes(table: LabelTable, times_us: np.ndarray, class_ids: Sequence[int]) -> np.ndarray:
    """Boxes (N,) of ``BBOX_DTYPE``.

    Args:
        table: the labels.
        times_us: (N,) time of every row.
        class_ids: id of every name of ``table``; -1 leaves its boxes out.
    """
    ids = np.asarray(class_ids, np.int64)[table.rows["name"]] if len(table.names) else np.empty(0, np.int64)
    boxes = np.zeros(len(table.rows), BBOX_DTYPE)
    for name in "xywh":
        boxes[name] = table.rows[name]
    boxes["t"] = times_us
    boxes["class_id"] = np.maximum(ids, 0)
    boxes["track_id"] = np.where(table.rows["track_id"] < 0, 0, table.rows["track_id"])
    boxes["class_confidence"] = table.rows["score"]
    boxes = boxes[ids >= 0]
    return boxes[np.argsort(boxes["t"], kind="stable")]


def from_boxes(
    boxes: np.ndarray, names: Sequence[str], label_us: np.ndarray, size_px: tuple[int, int] | None = None
) -> LabelTable:
    """A table whose stamps are microseconds.

    Args:
        boxes: (N,) of ``BBOX_DTYPE``.
        names: class name of every id from 0.
        label_us: (F,) further times that were labelled, also without a box.
        size_px: (width, height) of the sensor. Default: not known.

    Raises:
        InputError: an id without a name.
    """
    unknown = np.unique(boxes["class_id"][boxes["class_id"] >= len(names)])
    if len(unknown):
        raise InputError(
            f"class ids {unknown[:5].tolist()} have no name: {len(names)} names were given ({', '.join(names)}); "
            "give one for every id from 0 with --classes"
        )
    rows = np.zeros(len(boxes), ROW_DTYPE)
    for name in "xywh":
        rows[name] = boxes[name]
    rows["stamp"] = boxes["t"]
    rows["name"] = boxes["class_id"]
    rows["track_id"] = boxes["track_id"]
    rows["score"] = boxes["class_confidence"]
    stamps = np.union1d(boxes["t"], label_us).astype(np.float64)
    return LabelTable(rows[np.argsort(rows["stamp"], kind="stable")], tuple(names), stamps, "us", size_px)


def resized(table: LabelTable, size_px: tuple[int, int]) -> LabelTable:
    """Boxes of the labelled frames in pixels of a sensor of ``size_px`` (width, height)."""
    if table.size_px is None or table.size_px == size_px:
        return replace(table, size_px=size_px)
    rows = table.rows.copy()
    for names, ours, theirs in (("xw", size_px[0], table.size_px[0]), ("yh", size_px[1], table.size_px[1])):
        for name in names:
            rows[name] *= ours / theirs
    return replace(table, rows=rows, size_px=size_px)


def interpolated(table: LabelTable, every: float | None = None) -> LabelTable:
    """Boxes between the key frames of every track, on a straight line in time.

    Args:
        table: labels whose boxes have tracks; those without stay as they are.
        every: distance between two boxes, in what stamps count. Default: at every stamp of the table.
    """
    parts = [table.rows]
    stamps = [table.stamps]
    for track in np.unique(table.rows["track_id"]):
        keys = table.rows[table.rows["track_id"] == track]
        if track == NO_TRACK or len(keys) < 2:
            continue
        first, last = keys["stamp"][0], keys["stamp"][-1]
        grid = table.stamps if every is None else np.arange(first, last, every)
        between = grid[(grid > first) & (grid < last) & ~np.isin(grid, keys["stamp"])]
        ends = np.sort([stamp for number, stamp in table.ends if number == track])
        before = np.searchsorted(keys["stamp"], between) - 1
        has_left = np.searchsorted(ends, between, "right") > np.searchsorted(ends, keys["stamp"][before], "right")
        between, before = between[~has_left], before[~has_left]
        rows = keys[before]
        rows["stamp"] = between
        for name in "xywh":
            rows[name] = np.interp(between, keys["stamp"], keys[name])
        parts.append(rows)
        stamps.append(between)
    rows = np.concatenate(parts)
    counts = table.counts | {"boxes_interpolated": len(rows) - len(table.rows)}
    all_stamps = np.unique(np.concatenate(stamps))
    return replace(table, rows=rows[np.argsort(rows["stamp"], kind="stable")], stamps=all_stamps, counts=counts)
