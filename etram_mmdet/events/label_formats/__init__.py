"""Read and write label files: COCO, YOLO, CVAT, MOT, CSV and Prophesee's arrays."""

from __future__ import annotations

from pathlib import Path

from etram_mmdet.events.label_formats.base import Hints, LabelFormat
from etram_mmdet.events.label_formats.coco import Coco
from etram_mmdet.events.label_formats.csv_file import Csv
from etram_mmdet.events.label_formats.cvat import Cvat
from etram_mmdet.events.label_formats.label_table import LabelTable
from etram_mmdet.events.label_formats.mot import Mot
from etram_mmdet.events.label_formats.prophesee import Prophesee
from etram_mmdet.events.label_formats.yolo import Yolo
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.text import did_you_mean

__all__ = [
    "LABEL_FORMATS",
    "Hints",
    "LabelFormat",
    "LabelTable",
    "find_label_format",
    "label_format",
]

# A new format is one class here, tried in this order.
LABEL_FORMATS: dict[str, LabelFormat] = {
    format_.name: format_() for format_ in (Prophesee, Coco, Cvat, Csv, Mot, Yolo)
}


def label_format(name: str) -> LabelFormat:
    """The label format of a name.

    Args:
        name: ``prophesee``, ``coco``, ``cvat``, ``csv``, ``mot`` or ``yolo``.

    Raises:
        InputError: when the name is unknown; the message lists the known ones.
    """
    if name not in LABEL_FORMATS:
        raise InputError(f"label format {name!r}: {did_you_mean(name, list(LABEL_FORMATS))}")
    return LABEL_FORMATS[name]


def find_label_format(path: Path) -> LabelFormat:
    """Find the format of an existing label file or folder by its first bytes and its name.

    Args:
        path: label file, or a folder of YOLO files.

    Raises:
        InputError: when ``path`` does not exist or has no known format.
    """
    if not path.exists():
        raise InputError(f"{path}: no such label file or folder; check the path")
    head = b""
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(4096)
    for format_ in LABEL_FORMATS.values():
        if format_.is_this(path, head):
            return format_
    known = ", ".join(f"{name} ({format_.title})" for name, format_ in LABEL_FORMATS.items())
    raise InputError(f"{path}: unknown format of label files; expected one of {known}")


def format_to_write(path: Path) -> LabelFormat:
    """The label format for the suffix of a new file; no suffix means a folder of YOLO files.

    Args:
        path: new file or folder.

    Raises:
        InputError: when no format has this suffix.
    """
    found = [f for f in LABEL_FORMATS.values() if path.suffix.lower() in (f.suffixes or ("",))]
    if not found:
        suffixes = ", ".join(
            suffix for format_ in LABEL_FORMATS.values() for suffix in format_.suffixes
        )
        raise InputError(
            f"{path}: no label format has the suffix {path.suffix}; name the format with --to, or "
            f"use {suffixes}"
        )
    return found[0]
