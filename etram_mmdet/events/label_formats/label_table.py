"""Table of labelled boxes, the common form between all formats of label files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from etram_mmdet.events.choices import LabelUnit
from etram_mmdet.events.class_mapping import id_or_name
from etram_mmdet.events.labels import BBOX_DTYPE
from etram_mmdet.events.limits import MAX_ROWS
from etram_mmdet.utils.errors import InputError

# stamp: time or frame, in the unit of the file. x, y: upper left corner, w, h: size, both in pixels
# of the labelled frames. name: index into the class names.
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
    """Labels of one recording, with the class names and times of their file.

    Args:
        rows: boxes (N,) of `ROW_DTYPE`. ``name`` is an index into ``names``; ``track_id`` is
            `NO_TRACK` without a track.
        names: class names.
        stamps: every frame or time that was labelled, also without a box, (F,) float64.
        unit: unit of the stamps; ``None`` if the file does not state it. Default: ``None``.
        size_px: width and height of the labelled frames; ``None`` if the file does not state them.
            Default: ``None``.
        counts: number of boxes that were left out, by reason. Default: empty.
        found: sentences about the file for the user, such as the column of the times. Default:
            empty.
        ends: (track, stamp) for each time at which a track left the picture. Default: empty.
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
        """Number of boxes by class name."""
        numbers = np.bincount(self.rows["name"], minlength=len(self.names))
        return dict(zip(self.names, numbers.tolist(), strict=True))


def table_of(
    rows: Iterable[tuple], names: Sequence[str], stamps: Iterable[float], **more: object
) -> LabelTable:
    """Build a table from boxes, in the order of their stamps.

    Args:
        rows: boxes as tuples in the order of `ROW_DTYPE`.
        names: class names.
        stamps: further labelled stamps; those of the boxes are added.
        more: further arguments of :class:`LabelTable`.
    """
    array = np.fromiter(rows, ROW_DTYPE)
    array = array[np.argsort(array["stamp"], kind="stable")]
    all_stamps = np.union1d(np.fromiter(stamps, np.float64), array["stamp"])
    return LabelTable(array, tuple(names), all_stamps, **more)


def ids_of(names: Sequence[str]) -> list[int] | None:
    """Class ids, if all names are numbers; else ``None``.

    Args:
        names: class names of a file, which may hold numbers in place of names.
    """
    ids = [id_or_name(name) for name in names]
    return ids if all(isinstance(key, int) for key in ids) else None


def to_boxes(table: LabelTable) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Convert a table to an array of boxes.

    Args:
        table: labels with stamps in microseconds.

    Returns:
        Boxes (N,) of ``BBOX_DTYPE`` in time order, and the class names. ``class_id`` is an index
        into the names. If the file held ids, these are kept and the names are ``None``.
    """
    ids = ids_of(table.names)
    boxes = np.zeros(len(table.rows), BBOX_DTYPE)
    for name in "xywh":
        boxes[name] = table.rows[name]
    boxes["t"] = table.rows["stamp"]
    numbers = np.arange(len(table.names)) if ids is None else np.array(ids, np.int64)
    boxes["class_id"] = numbers[table.rows["name"]].astype(np.uint32)
    boxes["track_id"] = np.where(
        table.rows["track_id"] == NO_TRACK, 0, table.rows["track_id"]
    ).astype(np.uint32)
    boxes["class_confidence"] = table.rows["score"]
    return boxes[np.argsort(boxes["t"], kind="stable")], table.names if ids is None else None


def from_boxes(
    boxes: np.ndarray,
    names: Sequence[str],
    label_us: np.ndarray,
    size_px: tuple[int, int] | None = None,
) -> LabelTable:
    """Convert an array of boxes to a table with stamps in microseconds.

    If a track number has two boxes at one time, its boxes get no track: files without tracks hold
    the same number everywhere.

    Args:
        boxes: boxes (N,) of ``BBOX_DTYPE``; ``class_id`` is an index into ``names``.
        names: class names.
        label_us: further times that were labelled, also without a box, (F,) microseconds.
        size_px: width and height of the sensor. Default: unknown.
    """
    rows = np.zeros(len(boxes), ROW_DTYPE)
    for name in "xywh":
        rows[name] = boxes[name]
    rows["stamp"] = boxes["t"]
    rows["name"] = boxes["class_id"]
    rows["track_id"] = boxes["track_id"]
    rows["score"] = boxes["class_confidence"]
    pairs, counts = np.unique(rows[["track_id", "stamp"]], return_counts=True)
    rows["track_id"][np.isin(rows["track_id"], pairs["track_id"][counts > 1])] = NO_TRACK
    stamps = np.union1d(boxes["t"], label_us).astype(np.float64)
    return LabelTable(
        rows[np.argsort(rows["stamp"], kind="stable")], tuple(names), stamps, "us", size_px
    )


def resized(table: LabelTable, size_px: tuple[int, int]) -> LabelTable:
    """Labels with boxes scaled from the labelled frames to the sensor.

    Args:
        table: labels; without a known size of the frames, boxes are not scaled.
        size_px: width and height of the sensor.
    """
    if table.size_px is None or table.size_px == size_px:
        return replace(table, size_px=size_px)
    rows = table.rows.copy()
    for names, ours, theirs in (
        ("xw", size_px[0], table.size_px[0]),
        ("yh", size_px[1], table.size_px[1]),
    ):
        for name in names:
            rows[name] *= ours / theirs
    return replace(table, rows=rows, size_px=size_px)


def interpolated(table: LabelTable, grid: np.ndarray | None = None) -> LabelTable:
    """Labels with added boxes between the key frames of every track, on straight lines.

    Args:
        table: labels; only boxes with a track are interpolated.
        grid: stamps (G,) at which boxes are added, in order. Default: all stamps of the table.

    Raises:
        InputError: when a track has two boxes at one stamp, or there would be more boxes than fit
            into memory.
    """
    grid = table.stamps if grid is None else grid
    rows = table.rows[np.argsort(table.rows["track_id"], kind="stable")]
    tracks, starts, counts = np.unique(rows["track_id"], return_index=True, return_counts=True)
    ends = defaultdict(list)
    for track, stamp in table.ends:
        ends[track].append(stamp)
    parts = [table.rows]
    added = 0
    for i in np.flatnonzero((tracks != NO_TRACK) & (counts > 1)):
        keys = rows[starts[i] : starts[i] + counts[i]]
        parts.append(_between(keys, grid, np.sort(ends[int(tracks[i])])))
        added += len(parts[-1])
        if added > MAX_ROWS:
            raise InputError(
                f"interpolation adds more than {MAX_ROWS:,} boxes between key frames; split the "
                "recording into parts"
            )
    rows = np.concatenate(parts)
    found = [*table.found, f"{added} boxes added between the key frames of tracks"]
    stamps = np.union1d(table.stamps, rows["stamp"])
    return replace(
        table, rows=rows[np.argsort(rows["stamp"], kind="stable")], stamps=stamps, found=found
    )


def _between(keys: np.ndarray, grid: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Boxes of a track between its ``keys`` at the stamps ``grid``.

    None are added after the track had left the picture (``ends``).
    """
    repeated = np.flatnonzero(np.diff(keys["stamp"]) == 0)
    if len(repeated):
        key = keys[repeated[0]]
        raise InputError(
            f"track {key['track_id']} has two boxes at {key['stamp']:g}, so its boxes cannot be "
            "interpolated; give each object its own track"
        )
    between = grid[slice(*np.searchsorted(grid, keys["stamp"][[0, -1]]))]
    between = between[~np.isin(between, keys["stamp"])]
    before = np.searchsorted(keys["stamp"], between) - 1
    has_left = np.searchsorted(ends, between, "right") > np.searchsorted(
        ends, keys["stamp"][before], "right"
    )
    between, before = between[~has_left], before[~has_left]
    rows = keys[before]
    rows["stamp"] = between
    for name in "xywh":
        rows[name] = np.interp(between, keys["stamp"], keys[name])
    return rows
