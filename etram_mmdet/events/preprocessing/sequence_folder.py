"""The folder of one preprocessed recording: RVT's layout and files, and two more.

``sequence.json`` states how the folder was made. ``ignored_boxes.npy`` holds the boxes that RVT's
rules leave out because they are small: evaluation counts neither them nor detections of them.
"""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

import numpy as np

from etram_mmdet.events.choices import Codec
from etram_mmdet.events.formats.array_files import PREPROCESS_AGAIN, load_array
from etram_mmdet.events.formats.new_hdf5 import new_hdf5
from etram_mmdet.events.labels import BBOX_DTYPE, check_finite
from etram_mmdet.events.preprocessing.checksums import with_checksums
from etram_mmdet.events.preprocessing.frame_store import create_frames, write_frames
from etram_mmdet.events.preprocessing.frame_times import Frames
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
_MAKE_AGAIN = "preprocess the recording again"
_CLAIM = ".claim"


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder that takes ``target``'s place when the block ends without an exception.

    ``target`` is therefore absent or complete at every moment, also if the process is killed or the
    power fails. If another process put a folder there in the meantime, that folder stays.

    Args:
        target: path of the new folder.
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
    """Number that distinguishes a folder from a later one at the same path.

    ``None`` if there is no folder, or it cannot be seen.

    Args:
        folder: path of the folder.
    """
    try:
        return folder.stat().st_ino
    except OSError:  # writing there raises the error with a sentence
        return None


def folder_time_s(folder: Path) -> float | None:
    """When a sequence folder was made, in seconds; None if there is none.

    Args:
        folder: the sequence folder.
    """
    try:
        return (folder / MANIFEST).stat().st_mtime
    except OSError:
        return None


def _move(new: Path, target: Path) -> None:
    try:
        new.rename(target)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise


def claim_of(folder: Path) -> Path:
    """Path of the lock file of the process that makes a folder.

    Args:
        folder: path of the sequence folder.
    """
    return folder.with_name(f".{folder.name}{_CLAIM}")


def remove_unfinished(dst: Path) -> None:
    """Remove half-written folders of processes that have ended; work of running processes stays.

    Args:
        dst: folder of the sequence folders, with a subfolder for each split.
    """
    claimed = {path.with_name(path.name[1 : -len(_CLAIM)]) for path in dst.glob(f"*/.*{_CLAIM}")}
    for folder in claimed | {_target_of(work) for work in dst.glob(f"*/.*{_IN_PROGRESS}")}:
        with suppress(InputError):  # a read-only folder keeps them
            claim = try_claim(claim_of(folder))
            if claim is not None:
                remove_work_folders(folder)
                claim.release()
    for split in dst.glob("*/"):
        with suppress(OSError):
            remove_leftovers(split)


def remove_work_folders(target: Path) -> None:
    """Remove unfinished work of other processes on a folder; call it with the lock only.

    The lock is the file of :func:`claim_of`.

    Args:
        target: path of the sequence folder.
    """
    for work in target.parent.glob(f".*{_IN_PROGRESS}"):
        if _target_of(work) == target:
            _remove_work_folder(work, target)


def _remove_work_folder(work: Path, target: Path) -> None:
    """Remove a work folder; an old folder in it goes back to its place.

    The old folder is there if the process stopped just before the new one took its place.
    """
    with suppress(OSError):
        (work / "old").rename(target)
    shutil.rmtree(work, ignore_errors=True)


def _target_of(work: Path) -> Path:
    return work.with_name(work.name[1 : -len(_IN_PROGRESS)].rpartition(".")[0])


def read_manifest(folder: str | Path) -> dict:
    """Read the ``sequence.json`` of a finished sequence folder.

    Args:
        folder: the sequence folder.

    Raises:
        InputError: when the file is missing, damaged, or of another version.
    """
    path = Path(folder) / MANIFEST
    if not path.exists():
        raise InputError(
            f"{folder}: no {MANIFEST}, so tools/preprocess.py did not finish this folder; "
            f"{_MAKE_AGAIN}"
        )
    manifest = read_json(path, _MAKE_AGAIN)
    if not isinstance(manifest, dict):
        raise InputError(
            f"{path}: holds a {type(manifest).__name__}, expected a JSON object; {_MAKE_AGAIN}"
        )
    version = manifest.get("format_version")
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path}: format version {version!r:.40}, expected {FORMAT_VERSION}; {_MAKE_AGAIN}"
        )
    if problem := problem_of(manifest):
        raise InputError(f"{path}: {problem}; {_MAKE_AGAIN}")
    return manifest


def write_manifest(folder: Path, manifest: dict) -> None:
    """Write ``sequence.json`` atomically; it comes last and marks the folder as complete.

    Args:
        folder: the sequence folder.
        manifest: content of the file; version and checksums are added.

    Raises:
        InputError: when it cannot be written; an existing file stays.
    """
    write_json(
        folder / MANIFEST, {"format_version": FORMAT_VERSION, **with_checksums(folder, manifest)}
    )


def write_labels(folder: Path, boxes: np.ndarray, frame_us: np.ndarray) -> None:
    """Write RVT's label files.

    Args:
        folder: the sequence folder.
        boxes: boxes (N,) of ``BBOX_DTYPE`` in time order, each at the time of a frame.
        frame_us: times of the frames, int64 (F,) microseconds.
    """
    labels = folder / "labels_v2"
    labels.mkdir(parents=True)
    first_box = np.searchsorted(boxes["t"], frame_us, side="left")
    np.savez(labels / "labels.npz", labels=boxes, objframe_idx_2_label_idx=first_box)
    np.save(labels / "timestamps_us.npy", frame_us)


def write_ignored(folder: Path, boxes: np.ndarray) -> None:
    """Write the boxes that evaluation ignores.

    Args:
        folder: the sequence folder.
        boxes: boxes (N,) of ``BBOX_DTYPE`` in time order, in sensor pixels.
    """
    np.save(folder / IGNORED, boxes)


def read_ignored(folder: Path, read: Callable[[Path], bytes] | None = None) -> np.ndarray:
    """Read the boxes that evaluation ignores; none in RVT's own and in older folders.

    Args:
        folder: the sequence folder.
        read: gives the content of a file, which is then not opened. Default: none.

    Raises:
        InputError: when the file is damaged.
    """
    path = folder / IGNORED
    if not path.exists():
        return np.empty(0, BBOX_DTYPE)
    boxes = load_array(path, advice=PREPROCESS_AGAIN, read=read)
    if boxes.dtype != BBOX_DTYPE or boxes.ndim != 1:
        raise InputError(
            f"{path}: {boxes.dtype} {boxes.shape}, expected boxes of {BBOX_DTYPE}; "
            f"{PREPROCESS_AGAIN}"
        )
    check_finite(boxes, path, PREPROCESS_AGAIN)
    return boxes


def forgotten_boxes(folder: Path) -> int:
    """Number of small boxes that an old version left out without writing ``ignored_boxes.npy``.

    Boxes of unused frames are included.

    Args:
        folder: the sequence folder.
    """
    if (folder / IGNORED).exists() or not (folder / MANIFEST).is_file():
        return 0
    return read_manifest(folder)["dropped"].get("boxes_too_small", 0)


def class_names_of(folder: Path) -> dict[int, str]:
    """Names of the class ids in a folder; empty if unknown, as in RVT's own and in older folders.

    Args:
        folder: the sequence folder.
    """
    return class_names_in(read_manifest(folder)) if (folder / MANIFEST).is_file() else {}


def class_names_in(manifest: dict) -> dict[int, str]:
    """Names of the class ids of a folder; empty if unknown.

    Args:
        manifest: content of its ``sequence.json``.
    """
    return {int(key): name for key, name in manifest.get("class_names", {}).items()}


def representation_path(representation: Representation, window_us: int) -> PurePosixPath:
    """Path of the tensors inside a sequence folder.

    It has RVT's name, with every option that is not a default.

    Args:
        representation: representation of the tensors.
        window_us: length of a window, in microseconds.
    """
    others = representation.options.keys() - representation.always_named.keys() - {"downsample"}
    if representation.edges == "events":  # RVT's default, which folder names leave out
        others -= {"edges"}
    named = {**representation.always_named, **{name: name for name in sorted(others)}}
    parts = [f"{label}={getattr(representation, name)}" for name, label in named.items()]
    folder = "_".join([representation.short_name, f"dt={window_us / 1000:g}", *parts])
    suffix = "" if representation.scale == 1 else f"_ds{representation.scale}_{representation.way}"
    return PurePosixPath("event_representations_v2") / folder / f"event_representations{suffix}.h5"


def write_representations(
    path: Path,
    frames: Frames,
    representation: Representation,
    tensors: Iterable[np.ndarray],
    codec: Codec = "zstd",
) -> None:
    """Write RVT's representation files: tensors, their times, and the index of each frame.

    Args:
        path: file of the tensors, see :func:`representation_path`.
        frames: times of the frames and representations.
        representation: gives the shape and type of the tensors.
        tensors: one tensor (C, H, W) for each of ``frames.repr_us``, see ``write_frames``.
        codec: Blosc's compression, ``zstd`` or ``lz4``. Default: ``zstd``.
    """
    path.parent.mkdir(parents=True)
    np.save(path.with_name("objframe_idx_2_repr_idx.npy"), frames.repr_index)
    np.save(path.with_name("timestamps_us.npy"), frames.repr_us)
    with new_hdf5(path) as file:
        data = create_frames(
            file, len(frames.repr_us), representation.shape, representation.dtype, codec
        )
        write_frames(data, tensors)
