"""Prophesee's structured arrays, ``NAME_bbox.npy``, as Gen1, 1Mpx and eTraM have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from etram_mmdet.events.label_formats.base import Hints, LabelFormat
from etram_mmdet.events.label_formats.clock import US_PER
from etram_mmdet.events.label_formats.label_table import LabelTable, from_boxes, to_boxes
from etram_mmdet.events.labels import load_boxes, load_label_times
from etram_mmdet.utils.files import atomic_write

TIMES_SUFFIX = "_label_times.npy"


class Prophesee(LabelFormat):
    """An array of boxes with class ids; all times that were labelled stand in ``NAME_label_times.npy`` beside it."""

    name = "prophesee"
    title = "Prophesee's _bbox.npy"
    suffixes = (".npy",)

    @classmethod
    def is_this(cls, path: Path, head: bytes) -> bool:
        return head.startswith(b"\x93NUMPY")

    def _read(self, path: Path, hints: Hints) -> LabelTable:
        boxes = load_boxes(path)
        names = hints.names or tuple(map(str, range(int(boxes["class_id"].max(initial=0)) + 1)))
        return from_boxes(boxes, names, load_label_times(path), hints.size_px)

    def write(self, table: LabelTable, path: Path) -> None:
        boxes = to_boxes(table, table.rows["stamp"] * US_PER["us"], range(len(table.names)))
        with atomic_write(path) as aside, aside.open("wb") as file:
            np.save(file, boxes)
        times = path.with_name(path.name.removesuffix(path.suffix).removesuffix("_bbox") + TIMES_SUFFIX)
        with atomic_write(times) as aside, aside.open("wb") as file:
            np.save(file, table.stamps.astype(np.int64))
