"""Find the sequence folders of a split."""

from __future__ import annotations

from pathlib import Path

from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import os_errors
from etram_mmdet.utils.text import printable


def sequence_folders(folder: Path) -> list[Path]:
    """The sequence folders of a split, in order of their names.

    Args:
        folder: folder of the split.

    Raises:
        InputError: when there is none, or a name is not UTF-8.
    """
    with os_errors(folder, "read"):
        is_there = folder.is_dir()
        # tools/preprocess.py builds a sequence under a name with a leading dot
        inside = sorted(f for f in folder.iterdir() if f.name[0] != ".") if is_there else []
    if not is_there:
        raise InputError(
            f"{folder}: no such data folder. Make a synthetic sample with `python "
            "tools/make_sample.py RAW`, or put eTraM's recordings into RAW; then run `python "
            f"tools/preprocess.py RAW {folder.parent}`"
        )
    folders = [f for f in inside if (f / "labels_v2").is_dir()]
    if not folders:
        raise InputError(
            f"{folder}: holds no preprocessed sequence; run `python tools/preprocess.py RAW "
            f"{folder.parent}` first"
        )
    for name in (f.name for f in folders if printable(f.name) != f.name):
        raise InputError(
            f"{folder}: the name {printable(name)} of a sequence is not UTF-8; rename the folder"
        )
    return folders
