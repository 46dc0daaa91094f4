"""Prophesee's structured arrays ``NAME_bbox.npy``, the format of Gen1, 1Mpx and eTraM."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from etram_mmdet.events.class_mapping import signed_ids
from etram_mmdet.events.label_formats.base import Hints, LabelFormat
from etram_mmdet.events.label_formats.label_table import LabelTable, from_boxes, to_boxes
from etram_mmdet.events.labels import load_label_times, load_named_boxes
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import atomic_write

TIMES_SUFFIX = "_label_times.npy"


class Prophesee(LabelFormat):
    """Labels in an array of boxes with class ids.

    ``NAME_label_times.npy`` beside it holds all times that were labelled.
    """

    name = "prophesee"
    title = "Prophesee's _bbox.npy"
    suffixes = (".npy",)

    @classmethod
    def is_this(cls, path: Path, head: bytes) -> bool:
        return head.startswith(b"\x93NUMPY")

    def companions(self, path: Path) -> list[Path]:
        return [_times_file(path)]

    def _read(self, path: Path, hints: Hints) -> LabelTable:
        boxes, names = load_named_boxes(path)
        if names is None:
            ids, boxes["class_id"] = np.unique(signed_ids(boxes["class_id"]), return_inverse=True)
            names = tuple(_name_of(path, int(i), hints.names) for i in ids)
        return from_boxes(boxes, names, load_label_times(path), hints.size_px)

    def write(self, table: LabelTable, path: Path) -> None:
        boxes, _ = to_boxes(table)
        with atomic_write(path) as aside, aside.open("wb") as file:
            np.save(file, boxes)
        with atomic_write(_times_file(path)) as aside, aside.open("wb") as file:
            np.save(file, table.stamps.astype(np.int64))


def _name_of(path: Path, class_id: int, names: tuple[str, ...]) -> str:
    if names and not 0 <= class_id < len(names):
        raise InputError(
            f"{path}: class id {class_id} has no name: {len(names)} names were given "
            f"({', '.join(names)}); give one for every id from 0 with --source-classes"
        )
    return names[class_id] if names else str(class_id)


def _times_file(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(path.suffix).removesuffix("_bbox") + TIMES_SUFFIX)
