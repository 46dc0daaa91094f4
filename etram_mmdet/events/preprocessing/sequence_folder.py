"""The folder of one preprocessed recording: RVT's layout and files, and two of ours beside them.

``sequence.json`` says how the folder was made. ``ignored_boxes.npy`` holds the boxes that RVT's rules leave out because
they are small: evaluation counts neither them nor detections of them.
"""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

import numpy as np

from etram_mmdet.events.choices import Codec
from etram_mmdet.events.formats.array_files import PREPROCESS_AGAIN, load_array
from etram_mmdet.events.formats.new_hdf5 import new_hdf5
from etram_mmdet.events.labels import BBOX_DTYPE, check_finite
from etram_mmdet.events.preprocessing.checksums import with_checksums
from etram_mmdet.events.preprocessing.frame_store import create_frames, write_frames
from etram_mmdet.events.preprocessing.frame_times import Frames, start_us
from etram_mmdet.events.preprocessing.manifest_checks import problem_of
from etram_mmdet.events.representations import Representation
from etram_mmdet.utils.claims import try_claim
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import remove_leftovers, sync, write_json
from etram_mmdet.utils.json_files import read_json

FORMAT_VERSION = 2
MANIFEST = "sequence.json"
IGNORED = "ignored_boxes.npy"
_IN_PROGRESS = ".in_progress"
_AGAIN = "preprocess the recording again"
_CLAIM = ".claim"


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder that takes ``target``'s place when the block ends without an exception.

    ``target`` is therefore absent or complete at every moment, also when the process is killed or the power fails. If
    another process put a folder there in the meantime, that one stays.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    before = folder_id(target)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=_IN_PROGRESS, dir=target.parent))
    try:
        new = work / "new"
        new.mkdir()
        yield new
        for path in (new, *new.rglob("*")):
            sync(path)
        if before is not None and folder_id(target) == before:
            with suppress(FileNotFoundError):
                target.rename(work / "old")
        _move(new, target)
        sync(target.parent)
    finally:
        _remove_work_folder(work, target)


def folder_id(folder: Path) -> int | None:
    """A number that tells a folder from the one that takes its place; ``None`` where none can be seen."""
    try:
        return folder.stat().st_ino
    except OSError:  # who wants to write there gets the sentence
        return None


def _move(new: Path, target: Path) -> None:
    try:
        new.rename(target)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise


def claim_of(folder: Path) -> Path:
    """The file by which a process says that it makes ``folder``."""
    return folder.with_name(f".{folder.name}{_CLAIM}")


def remove_unfinished(dst: Path) -> None:
    """Remove what processes that have ended left half-written in the splits of ``dst``; the others' work stays."""
    claimed = {path.with_name(path.name[1 : -len(_CLAIM)]) for path in dst.glob(f"*/.*{_CLAIM}")}
    for folder in claimed | {_target_of(work) for work in dst.glob(f"*/.*{_IN_PROGRESS}")}:
        with suppress(InputError):  # a folder that can only be read keeps them
            claim = try_claim(claim_of(folder))
            if claim is not None:
                remove_work_folders(folder)
                claim.release()
    for split in dst.glob("*/"):
        with suppress(OSError):
            remove_leftovers(split)


def remove_work_folders(target: Path) -> None:
    """Remove what others began of ``target``; only for who holds :func:`claim_of` it."""
    for work in target.parent.glob(f".*{_IN_PROGRESS}"):
        if _target_of(work) == target:
            _remove_work_folder(work, target)


def _remove_work_folder(work: Path, target: Path) -> None:
    """The old folder goes back to where it was, if it was stopped just before the new one took its place."""
    with suppress(OSError):
        (work / "old").rename(target)
    shutil.rmtree(work, ignore_errors=True)


def _target_of(work: Path) -> Path:
    return work.with_name(work.name[1 : -len(_IN_PROGRESS)].rpartition(".")[0])


def read_manifest(folder: str | Path) -> dict:
    """The ``sequence.json`` of a finished sequence folder; raises ``InputError`` where it is missing or unreadable."""
    path = Path(folder) / MANIFEST
    if not path.exists():
        raise InputError(f"{folder}: no {MANIFEST}, so not a folder that tools/preprocess.py finished")
    manifest = read_json(path, _AGAIN)
    if not isinstance(manifest, dict):
        raise InputError(f"{path}: holds a {type(manifest).__name__}, expected a JSON object; {_AGAIN}")
    version = manifest.get("format_version")
    if version != FORMAT_VERSION:
        raise InputError(f"{path}: format version {version!r:.40}, expected {FORMAT_VERSION}; {_AGAIN}")
    if problem := problem_of(manifest):
        raise InputError(f"{path}: {problem}; {_AGAIN}")
    return manifest


def write_manifest(folder: Path, manifest: dict) -> None:
    """Write ``sequence.json`` in one step; it comes last and says that the folder is complete.

    Raises:
        InputError: it cannot be written; the one that was there stays.
    """
    write_json(folder / MANIFEST, {"format_version": FORMAT_VERSION, **with_checksums(folder, manifest)})


def write_labels(folder: Path, boxes: np.ndarray, frame_us: np.ndarray) -> None:
    """Write RVT's label files: ``boxes`` (N,) in time order, ``frame_us`` (F,) int64, every box at one of them."""
    labels = folder / "labels_v2"
    labels.mkdir(parents=True)
    first_box = np.searchsorted(boxes["t"], frame_us, side="left")
    np.savez(labels / "labels.npz", labels=boxes, objframe_idx_2_label_idx=first_box)
    np.save(labels / "timestamps_us.npy", frame_us)


def write_ignored(folder: Path, boxes: np.ndarray) -> None:
    """Write ``boxes`` (N,) of ``BBOX_DTYPE`` in time order, sensor pixels, which evaluation is to ignore."""
    np.save(folder / IGNORED, boxes)


def read_ignored(folder: Path) -> np.ndarray:
    """What :func:`write_ignored` wrote; none where the folder is RVT's own or older. Raises ``InputError``."""
    path = folder / IGNORED
    if not path.exists():
        return np.empty(0, BBOX_DTYPE)
    boxes = load_array(path, advice=PREPROCESS_AGAIN)
    if boxes.dtype != BBOX_DTYPE or boxes.ndim != 1:
        raise InputError(f"{path}: {boxes.dtype} {boxes.shape}, expected boxes of {BBOX_DTYPE}; {PREPROCESS_AGAIN}")
    check_finite(boxes, path, PREPROCESS_AGAIN)
    return boxes


def forgotten_boxes(folder: Path) -> int:
    """How many small boxes a version before ``ignored_boxes.npy`` left out, those of unused frames included."""
    if (folder / IGNORED).exists() or not (folder / MANIFEST).is_file():
        return 0
    return read_manifest(folder)["dropped"].get("boxes_too_small", 0)


def recording_start_us(folder: Path) -> int:
    """Where the recording of a folder begins on its clock; 0 for RVT's own folders, as RVT takes it."""
    return start_us(read_manifest(folder)["t_first_us"]) if (folder / MANIFEST).is_file() else 0


def class_names_of(folder: Path) -> dict[int, str]:
    """What the class ids of a folder are called; empty for RVT's own folders, older ones and where nobody said it."""
    names = read_manifest(folder).get("class_names", {}) if (folder / MANIFEST).is_file() else {}
    return {int(key): name for key, name in names.items()}


def representation_path(representation: Representation, window_us: int) -> PurePosixPath:
    """Path of the tensors inside a sequence folder, named as RVT names it, with every option that is not a default."""
    others = representation.options.keys() - representation.always_named.keys() - {"downsample"}
    if representation.edges == "events":  # RVT's, which no folder's name tells
        others -= {"edges"}
    named = {**representation.always_named, **{name: name for name in sorted(others)}}
    parts = [f"{label}={getattr(representation, name)}" for name, label in named.items()]
    folder = "_".join([representation.short_name, f"dt={window_us / 1000:g}", *parts])
    suffix = "" if representation.scale == 1 else f"_ds{representation.scale}_{representation.way}"
    return PurePosixPath("event_representations_v2") / folder / f"event_representations{suffix}.h5"


def write_representations(
    path: Path, frames: Frames, representation: Representation, tensors: Iterable[np.ndarray], codec: Codec = "zstd"
) -> None:
    """Write RVT's representation files: one tensor (C, H, W) for each of ``frames.repr_us``; see ``write_frames``."""
    path.parent.mkdir(parents=True)
    np.save(path.with_name("objframe_idx_2_repr_idx.npy"), frames.repr_index)
    np.save(path.with_name("timestamps_us.npy"), frames.repr_us)
    with new_hdf5(path) as file:
        data = create_frames(file, len(frames.repr_us), representation.shape, representation.dtype, codec)
        write_frames(data, tensors)
