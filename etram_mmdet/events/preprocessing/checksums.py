"""CRC-32 checksums of a sequence folder's small files, kept in its ``sequence.json``.

The frames have checksums of their own (``frame_store``), and ``labels.npz`` has those of every zip
archive.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from etram_mmdet.events.formats.array_files import PREPROCESS_AGAIN
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import os_errors

KEY = "crc32"
_REST = "the rest of this file"
_Read = Callable[[Path], bytes]


def with_checksums(folder: Path, manifest: dict) -> dict:
    """A manifest with the checksums that :func:`check_files` compares.

    Checksums of files that it already holds are kept.

    Args:
        folder: sequence folder with the files.
        manifest: content of its ``sequence.json``.
    """
    return {
        **manifest,
        KEY: {**_checksums_of(folder), **manifest.get(KEY, {}), **_rest_of(manifest)},
    }


def _checksums_of(folder: Path) -> dict[str, int]:
    """CRC-32 by path of every ``.npy`` below ``folder``."""
    paths = sorted(path for path in folder.rglob("*.npy") if path.is_file())
    return {path.relative_to(folder).as_posix(): _crc32_of(path) for path in paths}


def check_files(folder: Path, manifest: dict, read: _Read = Path.read_bytes) -> None:
    """Compare the files of a sequence folder with the checksums in its manifest.

    Folders of older versions have no checksums and pass. Only files that the manifest names are
    looked for, so no folder is listed.

    Args:
        folder: sequence folder.
        manifest: content of its ``sequence.json``.
        read: gives the content of a file. Default: it is opened.

    Raises:
        InputError: when a file is missing or differs from the written one.
    """
    path = folder / "sequence.json"
    written = manifest.get(KEY, {})
    rest = _rest_of(manifest) if written else {}
    for name, expected in written.items():
        file = path if name == _REST else folder / name
        on_purpose = f"{PREPROCESS_AGAIN}. If you changed it on purpose, remove {KEY!r} from {path}"
        if name not in rest and not _is_array(folder, name):
            raise InputError(f"{file}: missing, but preprocessing wrote it; {on_purpose}")
        found = rest[name] if name in rest else _crc32_of(file, read)
        if found != expected:
            raise InputError(
                f"{file}: changed since it was written (CRC-32 {found}, expected "
                f"{expected}); {on_purpose}"
            )


def _is_array(folder: Path, name: str) -> bool:
    """Whether a ``.npy`` is there; a foreign manifest may name files outside the folder, too."""
    place = PurePosixPath(name)
    is_inside = not place.is_absolute() and ".." not in place.parts
    with os_errors(folder / place, "read"):
        return is_inside and place.suffix == ".npy" and (folder / place).is_file()


def _crc32_of(path: Path, read: _Read = Path.read_bytes) -> int:
    with os_errors(path, "read"):
        return zlib.crc32(read(path))


def _rest_of(manifest: dict) -> dict[str, int]:
    rest = {name: value for name, value in manifest.items() if name not in (KEY, "format_version")}
    return {_REST: zlib.crc32(json.dumps(rest, sort_keys=True).encode())}
