"""CRC-32 checksums of a sequence folder's small files, kept in its ``sequence.json``.

The frames have checksums of their own (``frame_store``), and ``labels.npz`` has those of every zip
archive.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path

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
        KEY: {**_checksums_of(folder, manifest), **manifest.get(KEY, {}), **_rest_of(manifest)},
    }


def _checksums_of(folder: Path, manifest: dict, read: _Read = Path.read_bytes) -> dict[str, int]:
    """CRC-32 by path of every ``.npy`` below ``folder``, and of ``manifest`` itself."""
    return {
        **_rest_of(manifest),
        **{path.relative_to(folder).as_posix(): _crc32_of(path, read) for path in _arrays(folder)},
    }


def check_files(folder: Path, manifest: dict, read: _Read = Path.read_bytes) -> None:
    """Compare the files of a sequence folder with the checksums in its manifest.

    Folders of older versions have no checksums and pass.

    Args:
        folder: sequence folder.
        manifest: content of its ``sequence.json``.
        read: gives the content of a file. Default: it is opened.

    Raises:
        InputError: when a file is missing or differs from the written one.
    """
    path = folder / "sequence.json"
    written = manifest.get(KEY, {})
    found = _checksums_of(folder, manifest, read) if written else {}
    for name, expected in written.items():
        file = path if name == _REST else folder / name
        on_purpose = f"{PREPROCESS_AGAIN}. If you changed it on purpose, remove {KEY!r} from {path}"
        if name not in found:
            raise InputError(f"{file}: missing, but preprocessing wrote it; {on_purpose}")
        if found[name] != expected:
            raise InputError(
                f"{file}: changed since it was written (CRC-32 {found[name]}, expected "
                f"{expected}); {on_purpose}"
            )


def _arrays(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.npy") if path.is_file())


def _crc32_of(path: Path, read: _Read) -> int:
    with os_errors(path, "read"):
        return zlib.crc32(read(path))


def _rest_of(manifest: dict) -> dict[str, int]:
    rest = {name: value for name, value in manifest.items() if name not in (KEY, "format_version")}
    return {_REST: zlib.crc32(json.dumps(rest, sort_keys=True).encode())}
