"""A preprocessed recording in its sequence folder, as a data set sees it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np

from etram_mmdet.datasets.recording_frames import RecordingFrames
from etram_mmdet.datasets.sequence_layout import check_kind, load_layout
from etram_mmdet.events.class_mapping import ClassSet
from etram_mmdet.events.preprocessing.checksums import check_files
from etram_mmdet.events.preprocessing.frame_store import FrameFile
from etram_mmdet.events.preprocessing.frame_times import start_us
from etram_mmdet.events.preprocessing.sequence_folder import (
    MANIFEST,
    class_names_in,
    read_ignored,
    read_manifest,
    representation_path,
)
from etram_mmdet.events.representations import build_representation
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import os_errors
from etram_mmdet.utils.open_files import OPEN_FILES


class FolderSequence(RecordingFrames):
    """A preprocessed recording in RVT's layout; its HDF5 file is opened at the first read.

    Args:
        folder: folder of the sequence.
        representation: representation whose tensors are read.
        window_us: length of a frame's window whose tensors are read, in microseconds.
        class_set: meaning of the class ids in the label file.

    Raises:
        InputError: when the folder lacks a file or a tensor, a box is NaN or infinite, or a
            class id is not in ``class_set``.
    """

    def __init__(
        self, folder: Path, representation: dict, window_us: int, class_set: ClassSet
    ) -> None:
        built = build_representation(representation, 2, 2)
        self.path = folder / representation_path(built, window_us)
        with os_errors(self.path, "read"):
            is_there = self.path.is_file()
        if not is_there:
            raise InputError(_what_is_there(folder, self.path))
        with FrameFile(self.path) as frames:
            num_tensors, *shape = frames.shape
            dtype = frames.dtype
        check_kind(self.path, shape[0], dtype, representation)
        read = cache(Path.read_bytes)  # every file is opened once
        arrays = load_layout(folder, self.path, num_tensors, read)
        facts = _manifest_facts(folder, read)
        super().__init__(
            folder.name,
            tuple(shape),
            dtype,
            built.scale,
            **arrays,
            class_set=class_set,
            label_file=folder / "labels_v2" / "labels.npz",
            ignored=read_ignored(folder, read),
            **facts,
        )

    def read(self, start: int, stop: int) -> np.ndarray:
        """Frames ``start`` to ``stop`` (exclusive): (n, C, H, W)."""
        return OPEN_FILES.of(self, partial(FrameFile, self.path)).read(start, stop)


def _manifest_facts(folder: Path, read: Callable[[Path], bytes]) -> dict:
    """What the manifest says about sensor, start and classes, after a check of the files."""
    if not (folder / MANIFEST).is_file():  # RVT's own folders; RVT takes 0 as their start
        return {}
    manifest = read_manifest(folder)
    check_files(folder, manifest, read)
    return dict(
        sensor_px=(manifest["width"], manifest["height"]),
        start_us=start_us(manifest["t_first_us"]),
        id_names=class_names_in(manifest),
    )


def _what_is_there(folder: Path, wanted: Path) -> str:
    there = sorted(
        str(p.relative_to(folder))
        for p in folder.glob("event_representations_v2/*/event_representations*.h5")
    )
    return (
        f"{folder}: no {wanted.relative_to(folder)} (found: "
        f"{', '.join(there) or 'no representation'}); preprocess the recordings with the config's "
        "representation and window_us, or set these in the config to what was found"
    )
