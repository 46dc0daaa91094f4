"""The kind of a file by its suffix, for messages about arguments in the wrong order."""

from __future__ import annotations

from pathlib import Path

from etram_mmdet.utils.errors import InputError

_SUFFIXES = {
    "config": ".py .json .yaml .yml",
    "checkpoint": ".pth .pt .ckpt",
    "recording": ".h5 .hdf5 .raw .dat .npy .npz .csv .txt .aedat4",
}
_KIND_OF_SUFFIX = {
    suffix: kind for kind, suffixes in _SUFFIXES.items() for suffix in suffixes.split()
}
_ORDER = {
    "config": "give the config first, then the checkpoint, then the recording; to resume from a "
    "checkpoint use --resume CHECKPOINT",
    "checkpoint": "give the config before the checkpoint, and a recording after it",
}


def check_kind(path: str | Path, expected: str) -> None:
    """Refuse a folder, and a file whose suffix belongs to another kind.

    Args:
        path: file that a user named.
        expected: ``config`` or ``checkpoint``.

    Raises:
        InputError: naming both kinds and the order of the arguments of the tools.
    """
    is_folder = Path(path).is_dir()
    found = "folder" if is_folder else _KIND_OF_SUFFIX.get(Path(path).suffix.lower(), expected)
    if found != expected:
        raise InputError(f"{path}: is a {found}, expected a {expected}; {_ORDER[expected]}")
