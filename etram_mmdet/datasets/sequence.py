"""One preprocessed recording on disk, in RVT's layout."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  registers the Blosc filter
import numpy as np

from etram_mmdet.events.class_sets import ClassSet
from etram_mmdet.events.errors import InputError

DOWNSAMPLED = "_ds2_nearest"


class Sequence:
    """Frames and boxes of one sequence folder; the HDF5 file is opened where it is read, once per process.

    ``boxes_of(i)`` are the boxes of frame i in network pixels: ``bboxes`` float32 (n, 4) xyxy and ``labels`` int64
    (n,); ``labelled`` the ascending indices of the frames that were labelled, also where they hold no box.

    Raises:
        InputError: when the folder lacks a file, or a class id is not in ``class_set``.
    """

    def __init__(self, folder: Path, representation: str, class_set: ClassSet) -> None:
        self.folder, self.name = folder, folder.name
        frames = folder / "event_representations_v2" / representation
        files = sorted(frames.glob("event_representations*.h5"))
        if not files:
            raise InputError(f"{frames}: no event_representations*.h5; run tools/preprocess.py on the recordings again")
        self.path = files[0]
        self.scale = 2 if DOWNSAMPLED in self.path.stem else 1  # sensor pixels per network pixel
        self.t_us = _load(frames / "timestamps_us.npy")
        self.labelled = _load(frames / "objframe_idx_2_repr_idx.npy").astype(np.int64)
        with self._open() as file:
            if "data" not in file:
                raise InputError(f"{self.path}: holds no 'data'; delete the folder and preprocess again")
            self.num_frames, self.channels, *hw = file["data"].shape
        self.hw = tuple(hw)
        self._file: tuple[int, h5py.File] | None = None
        self._bboxes, self._labels, self._first_row = self._load_boxes(class_set)

    def _open(self) -> h5py.File:
        try:
            return h5py.File(self.path, "r")
        except OSError as error:
            raise InputError(
                f"{self.path}: not a readable HDF5 file ({error}); delete the folder and preprocess again"
            ) from error

    def _load_boxes(self, class_set: ClassSet) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        path = self.folder / "labels_v2" / "labels.npz"
        boxes, first_row = _load(path, "labels"), _load(path, "objframe_idx_2_label_idx").astype(np.int64)
        labels = class_labels(boxes["class_id"], class_set, path)
        bboxes = self._network_xyxy(boxes)
        return bboxes, labels, np.append(first_row, len(boxes))

    def _network_xyxy(self, boxes: np.ndarray) -> np.ndarray:
        """Corners limited to the last pixel of the sensor, then of the network's frame, as RVT's loader does."""
        corners = np.stack([boxes["x"], boxes["y"], boxes["x"] + boxes["w"], boxes["y"] + boxes["h"]], 1)
        limit = np.array([self.hw[1], self.hw[0]] * 2, np.float32)
        corners = np.clip(corners.astype(np.float32), 0, limit * self.scale - 1) / self.scale
        return np.minimum(corners, limit - 1)

    def boxes_of(self, frame: int) -> tuple[np.ndarray, np.ndarray]:
        k = int(np.searchsorted(self.labelled, frame))
        if k == len(self.labelled) or self.labelled[k] != frame:
            return np.empty((0, 4), np.float32), np.empty(0, np.int64)
        rows = slice(self._first_row[k], self._first_row[k + 1])
        bboxes, labels = self._bboxes[rows], self._labels[rows]
        flat = (bboxes[:, 2:] <= bboxes[:, :2]).any(1)
        return bboxes[~flat], labels[~flat]

    def read(self, start: int, stop: int) -> np.ndarray:
        """Frames ``start`` to ``stop`` (exclusive): uint8 (n, C, H, W)."""
        if self._file is None or self._file[0] != os.getpid():  # a handle must not cross a fork
            self._file = os.getpid(), self._open()
        return self._file[1]["data"][start:stop]

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_file": None}


def class_labels(class_ids: np.ndarray, class_set: ClassSet, path: Path) -> np.ndarray:
    """Detector classes of file ids; raises ``InputError`` naming the ids that ``class_set`` does not know."""
    known = np.array(class_set.file_to_class, np.int64)
    unknown = np.unique(class_ids[class_ids >= len(known)])
    if len(unknown):
        raise InputError(
            f"{path}: class ids {unknown.tolist()} are not in class_set {class_set.name!r}, which reads ids 0 to "
            f"{len(known) - 1}; set class_set in the config to the one that the label files follow"
        )
    return known[class_ids.astype(np.int64)]


def _load(path: Path, member: str | None = None) -> np.ndarray:
    try:
        content = np.load(path)
        return content if member is None else content[member]
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path}: {error}; delete the sequence folder and run tools/preprocess.py again") from error
