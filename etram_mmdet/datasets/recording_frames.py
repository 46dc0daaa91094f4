"""One recording as a dataset sees it: frames in order, and boxes on some of them."""

from __future__ import annotations

import copy
import os
from abc import ABC, abstractmethod
from pathlib import Path

import h5py
import numpy as np

from etram_mmdet.events.class_sets import ClassSet
from etram_mmdet.events.formats.array_files import PREPROCESS_AGAIN, load_array, open_hdf5, own_member
from etram_mmdet.events.preprocessing.frame_store import read_frames
from etram_mmdet.events.preprocessing.frame_times import STEP_US
from etram_mmdet.events.preprocessing.sequence_folder import representation_path
from etram_mmdet.events.recording import MAX_SIDE_PX
from etram_mmdet.events.representations import build_representation
from etram_mmdet.utils.errors import InputError


class RecordingFrames(ABC):
    """Frames and boxes of one recording.

    ``boxes_of(i)`` are the boxes of frame i in network pixels: ``bboxes`` float32 (n, 4) xyxy and ``labels`` int64
    (n,); ``tracks_of(i)`` their track ids int64 (n,), 0 where a label file has none. ``labelled`` are the ascending
    indices of the frames that were labelled, also where they hold no box; ``t_us`` the times at which frames end.

    A source calls ``__init__`` with its ``boxes`` in sensor pixels, in time order, and the row at which each labelled
    frame begins; ``scale`` is sensor pixels per network pixel, ``label_file`` the place to name in errors.
    """

    def __init__(
        self,
        name: str,
        shape: tuple[int, int, int],
        dtype: np.dtype,
        scale: int,
        t_us: np.ndarray,
        labelled: np.ndarray,
        boxes: np.ndarray,
        first_row: np.ndarray,
        class_set: ClassSet,
        label_file: Path,
    ) -> None:
        self.name = name
        self.dtype = dtype
        self.scale = scale
        self.t_us = t_us
        self.num_frames = len(t_us)
        self.channels = shape[0]
        self.hw = tuple(shape[1:])
        self.labelled = labelled.astype(np.int64)
        self._labels = class_labels(boxes["class_id"], class_set, label_file)
        self._tracks = _track_ids(boxes)
        self._bboxes = self._network_xyxy(boxes)
        self._first_row = np.append(first_row.astype(np.int64), len(boxes))

    @property
    def step_us(self) -> int:
        """The usual time from one frame to the next."""
        return round(float(np.median(np.diff(self.t_us)))) if self.num_frames > 1 else STEP_US

    @abstractmethod
    def read(self, start: int, stop: int) -> np.ndarray:
        """Frames ``start`` to ``stop`` (exclusive): (n, C, H, W) of ``dtype``."""

    def _network_xyxy(self, boxes: np.ndarray) -> np.ndarray:
        """Corners limited to the last pixel of the sensor, then of the network's frame, as RVT's loader does."""
        corners = np.stack([boxes["x"], boxes["y"], boxes["x"] + boxes["w"], boxes["y"] + boxes["h"]], 1)
        limit = np.array([self.hw[1], self.hw[0]] * 2, np.float32)
        corners = np.clip(corners.astype(np.float32), 0, limit * self.scale - 1) / self.scale
        return np.minimum(corners, limit - 1)

    def boxes_of(self, frame: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self._rows_of(frame)
        return self._bboxes[rows], self._labels[rows]

    def tracks_of(self, frame: int) -> np.ndarray:
        return self._tracks[self._rows_of(frame)]

    def all_boxes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Frame (n,), box, label and track of every box of the recording, in order of frames."""
        rows = np.arange(self._first_row[0], self._first_row[-1])
        is_solid = ~is_flat(self._bboxes[rows])
        frames = np.repeat(self.labelled, np.diff(self._first_row))[is_solid]
        rows = rows[is_solid]
        return frames, self._bboxes[rows], self._labels[rows], self._tracks[rows]

    def renamed(self, name: str) -> RecordingFrames:
        """The same recording under another name."""
        other = copy.copy(self)
        other.name = name
        return other

    def _rows_of(self, frame: int) -> np.ndarray:
        k = int(np.searchsorted(self.labelled, frame))
        if k == len(self.labelled) or self.labelled[k] != frame:
            return np.empty(0, np.int64)
        rows = np.arange(self._first_row[k], self._first_row[k + 1])
        return rows[~is_flat(self._bboxes[rows])]


def is_flat(bboxes: np.ndarray) -> np.ndarray:
    """Which boxes (n, 4) have no width or no height."""
    return (bboxes[:, 2:] <= bboxes[:, :2]).any(1)


def _track_ids(boxes: np.ndarray) -> np.ndarray:
    """Label files that RVT preprocessed may lack the column, which its own loader never reads."""
    if "track_id" not in boxes.dtype.names:
        return np.zeros(len(boxes), np.int64)
    return boxes["track_id"].astype(np.int64)


class FolderSequence(RecordingFrames):
    """A preprocessed recording in RVT's layout; the HDF5 file is opened where it is read, once per process.

    Raises:
        InputError: when the folder lacks a file, or a class id is not in ``class_set``.
    """

    def __init__(self, folder: Path, representation: dict, window_us: int, class_set: ClassSet) -> None:
        scale = build_representation(representation, 2, 2).scale
        self.path = folder / representation_path(build_representation(representation, 2, 2), window_us)
        if not self.path.is_file():
            raise InputError(_what_is_there(folder, self.path))
        with open_hdf5(self.path, PREPROCESS_AGAIN) as file:
            data = self._data_of(file)
            shape = data.shape[1:]
            dtype = data.dtype
        self._file: tuple[int, h5py.File, h5py.Dataset] | None = None
        labels = folder / "labels_v2" / "labels.npz"
        arrays = dict(
            t_us=_load(self.path.with_name("timestamps_us.npy")),
            labelled=_load(self.path.with_name("objframe_idx_2_repr_idx.npy")),
            boxes=_load(labels, "labels"),
            first_row=_load(labels, "objframe_idx_2_label_idx"),
        )
        _check_layout(folder, **arrays)
        super().__init__(folder.name, shape, dtype, scale, **arrays, class_set=class_set, label_file=labels)

    def _data_of(self, file: h5py.File) -> h5py.Dataset:
        data = own_member(self.path, file, "data")
        if not isinstance(data, h5py.Dataset):
            raise InputError(f"{self.path}: holds no 'data'; delete the folder and preprocess again")
        if data.ndim != 4 or max(data.shape[1:]) > MAX_SIDE_PX or data.dtype.itemsize != 1:
            raise InputError(f"{self.path}: data is {data.dtype} {data.shape}, expected bytes (n, C, H, W)")
        return data

    def read(self, start: int, stop: int) -> np.ndarray:
        if self._file is None or self._file[0] != os.getpid():  # a handle must not cross a fork
            file = open_hdf5(self.path, PREPROCESS_AGAIN)
            self._file = os.getpid(), file, self._data_of(file)
        try:
            return read_frames(self._file[2], start, stop)
        except (OSError, RuntimeError) as error:
            raise InputError(f"{self.path}: {error}; delete the folder and preprocess again") from error

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_file": None}


def _load(path: Path, member: str | None = None) -> np.ndarray:
    return load_array(path, member, PREPROCESS_AGAIN)


def _check_layout(
    folder: Path, t_us: np.ndarray, labelled: np.ndarray, boxes: np.ndarray, first_row: np.ndarray
) -> None:
    """Raise ``InputError`` for arrays that cannot be told apart as frames and boxes."""
    problem = ""
    for name, rows in (("timestamps_us", t_us), ("repr_idx", labelled), ("label_idx", first_row)):
        if rows.ndim != 1 or rows.dtype.kind not in "iu":
            problem = problem or f"{name} is {rows.dtype} {rows.shape}, expected one dimension of integers"
    if boxes.ndim != 1 or not {"x", "y", "w", "h", "class_id"} <= set(boxes.dtype.names or ()):
        problem = problem or f"labels is {boxes.dtype} {boxes.shape}, expected boxes with x, y, w, h and class_id"
    elif not problem and len(first_row):
        if (np.diff(first_row.astype(np.int64)) < 0).any() or first_row[0] < 0 or first_row[-1] > len(boxes):
            problem = f"label_idx is not ascending from 0 to the {len(boxes)} boxes"
        elif len(labelled) != len(first_row):
            problem = f"there are {len(labelled)} labelled frames and {len(first_row)} rows of boxes"
    if problem:
        raise InputError(f"{folder}: {problem}; {PREPROCESS_AGAIN}")


def _what_is_there(folder: Path, wanted: Path) -> str:
    there = sorted(
        str(p.relative_to(folder)) for p in folder.glob("event_representations_v2/*/event_representations*.h5")
    )
    return (
        f"{folder}: no {wanted.relative_to(folder)} (found: {', '.join(there) or 'no representation'}); preprocess the "
        "recordings with the config's representation and window_us, or set these in the config to what is there"
    )


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
