"""Detect changes of recordings and labels since a sequence folder was made.

``sequence.json`` keeps size and digest of the files, and the time of the recording. Labels are
small, so their digests are computed each time. Recordings may take hours to read: a recording
counts as unchanged while its size and time are. If only its time differs, as after a copy, its
digest is compared.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from etram_mmdet.events.preprocessing.sources import Source
from etram_mmdet.utils.errors import InputError

_BLOCK_BYTES = 1 << 22
_TIME = "recording_time_ns"
_OF_YOLO = (".txt", ".yaml", ".names")  # YOLO's folders may hold pictures too
_DIGESTS = "source_digests"


def state_of(source: Source) -> dict[str, tuple[int, int]]:
    """Size in bytes and time in ns of each source file, to notice changes while files are read.

    Args:
        source: the recording and its labels.
    """
    return {path.name: _state(path) for path in source.paths}


def _state(path: Path) -> tuple[int, int]:
    """Size and time of a file; for a folder the sum of sizes and the latest time."""
    stats = [file.stat() for file in _files(path)]
    return sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.rglob("*") if file.suffix in _OF_YOLO and file.is_file())


def origin_of(source: Source, state: dict[str, tuple[int, int]]) -> dict:
    """Entries of ``sequence.json`` about its source files.

    Args:
        source: the recording and its labels.
        state: result of :func:`state_of` before the files were read.

    Raises:
        InputError: when a file has changed since.
    """
    digests = {path.name: _digest(path) for path in source.paths}
    for name, now in state_of(source).items():
        if state.get(name) != now:
            raise InputError(
                f"{source.split}/{source.name}: {name} changed while it was read; run the command "
                "again"
            )
    return {
        "source_files": {name: size for name, (size, _) in state.items()},
        _DIGESTS: digests,
        _TIME: state[source.events.name][1],
        "label_files": source.label_files,
    }


def has_digests(manifest: dict) -> bool:
    """Whether a manifest holds digests of its sources; earlier versions kept sizes only.

    Args:
        manifest: content of a ``sequence.json``.
    """
    return _DIGESTS in manifest


def is_other_recording(source: Source, manifest: dict) -> bool:
    """Whether a folder was made from another recording than that of ``source``.

    Args:
        source: the recording and its labels.
        manifest: content of the folder's ``sequence.json``.
    """
    name = source.events.name
    size, time_ns = state_of(source)[name]
    if manifest["source_files"].get(name) != size:
        return True
    if manifest.get(_TIME, time_ns) == time_ns:
        return False
    return manifest.get(_DIGESTS, {}).get(name) != _digest(source.events)


def with_time_of(source: Source, manifest: dict) -> dict:
    """A manifest with the recording's present time stamp, so that its digest is not needed again.

    Args:
        source: the recording and its labels.
        manifest: content of the folder's ``sequence.json``.
    """
    time_ns = state_of(source)[source.events.name][1]
    return {**manifest, _TIME: time_ns} if has_digests(manifest) else manifest


def changed_labels(source: Source, manifest: dict) -> list[str]:
    """Names of label files that were changed, added or removed since a folder was made.

    Args:
        source: the recording and its labels.
        manifest: content of the folder's ``sequence.json``.
    """
    sizes = {
        name: size for name, size in manifest["source_files"].items() if name != source.events.name
    }
    label_paths = [path for path in source.paths if path != source.events]
    if not has_digests(manifest):
        before, now = sizes, {path.name: _state(path)[0] for path in label_paths}
    else:
        before = {name: manifest[_DIGESTS].get(name) for name in sizes}
        now = {path.name: _digest(path) for path in label_paths}
    return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    for name in _files(path):
        if path.is_dir():
            digest.update(f"{name.relative_to(path).as_posix()}\0{name.stat().st_size}\0".encode())
        with name.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()
