"""One recording as a dataset sees it: frames in order, and boxes on some of them."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from functools import partial
from pathlib import Path

import numpy as np

from etram_mmdet.events.class_sets import ClassSet
from etram_mmdet.events.formats.array_files import PREPROCESS_AGAIN, load_array
from etram_mmdet.events.labels import BBOX_DTYPE, check_finite
from etram_mmdet.events.preprocessing.checksums import check_files
from etram_mmdet.events.preprocessing.frame_store import FrameFile
from etram_mmdet.events.preprocessing.frame_times import STEP_US
from etram_mmdet.events.preprocessing.sequence_folder import (
    MANIFEST,
    read_ignored,
    read_manifest,
    recording_start_us,
    representation_path,
)
from etram_mmdet.events.representations import build_representation
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.open_files import OPEN_FILES

_TOLERANCE_US = 25_000


class RecordingFrames(ABC):
    """Frames and boxes of one recording.

    ``boxes_of(i)`` are the boxes of frame i in network pixels: ``bboxes`` float32 (n, 4) xyxy and ``labels`` int64
    (n,); ``tracks_of(i)`` their track ids int64 (n,), 0 where a label file has none. ``labelled`` are the ascending
    indices of the frames that were labelled, also where they hold no box; ``t_us`` the times at which frames end.

    ``ignored_of(i)`` tells, as ``boxes_of`` does, boxes that evaluation neither counts nor holds against a detection.

    A source calls ``__init__`` with its ``boxes`` in sensor pixels, in time order, and the row at which each labelled
    frame begins; ``scale`` is sensor pixels per network pixel, ``label_file`` the place to name in errors, ``start_us``
    where the recording begins on its clock. ``ignored`` boxes stand at the times of labelled frames; those of a class
    that ``class_set`` does not know are left out. ``step_us`` is the usual time from one frame to the next.
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
        ignored: np.ndarray | None = None,
        start_us: int = 0,
    ) -> None:
        self.name = name
        self.dtype = dtype
        self.scale = scale
        self.t_us = t_us
        self.start_us = start_us
        self.num_frames = len(t_us)
        self.step_us = round(float(np.median(np.diff(t_us)))) if len(t_us) > 1 else STEP_US
        self.channels = shape[0]
        self.hw = tuple(shape[1:])
        self.labelled = labelled.astype(np.int64)
        self._labels = class_labels(boxes["class_id"], class_set, label_file)
        self._tracks = _track_ids(boxes)
        self._bboxes = self._network_xyxy(boxes)
        self._first_row = np.append(first_row.astype(np.int64), len(boxes))
        self._ignored = self._ignored_boxes(ignored, class_set)

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

    def ignored_of(self, frame: int) -> tuple[np.ndarray, np.ndarray]:
        times_us, bboxes, labels = self._ignored
        if frame not in self.labelled:
            return bboxes[:0], labels[:0]
        rows = slice(*np.searchsorted(times_us, [self.t_us[frame], self.t_us[frame] + 1]))
        return bboxes[rows], labels[rows]

    def _ignored_boxes(
        self, boxes: np.ndarray | None, class_set: ClassSet
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Times (n,) in order, boxes (n, 4) in network pixels and labels (n,)."""
        boxes = np.empty(0, BBOX_DTYPE) if boxes is None else boxes
        known = np.array(class_set.file_to_class, np.int64)
        boxes = boxes[boxes["class_id"] < len(known)]
        bboxes = self._network_xyxy(boxes)
        solid = ~is_flat(bboxes)
        return boxes["t"][solid], bboxes[solid], known[boxes["class_id"][solid].astype(np.int64)]

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
    """A preprocessed recording in RVT's layout; the HDF5 file is opened where it is read.

    Raises:
        InputError: when the folder lacks a file or a tensor, a box is NaN or infinite, or a class id is not in
            ``class_set``.
    """

    def __init__(self, folder: Path, representation: dict, window_us: int, class_set: ClassSet) -> None:
        scale = build_representation(representation, 2, 2).scale
        self.path = folder / representation_path(build_representation(representation, 2, 2), window_us)
        if not self.path.is_file():
            raise InputError(_what_is_there(folder, self.path))
        with FrameFile(self.path) as frames:
            num_tensors, *shape = frames.shape
            dtype = frames.dtype
        _check_kind(self.path, shape[0], dtype, representation)
        arrays = load_layout(folder, self.path, num_tensors)
        labels = folder / "labels_v2" / "labels.npz"
        known = dict(class_set=class_set, label_file=labels, start_us=recording_start_us(folder))
        super().__init__(folder.name, tuple(shape), dtype, scale, **arrays, **known, ignored=read_ignored(folder))
        if (folder / MANIFEST).is_file():  # RVT's own folders have none
            check_files(folder, read_manifest(folder))

    def read(self, start: int, stop: int) -> np.ndarray:
        return OPEN_FILES.of(self, partial(FrameFile, self.path)).read(start, stop)


def _check_kind(path: Path, channels: int, dtype: np.dtype, config: dict) -> None:
    """Raise ``InputError`` for frames that the representation of ``config`` cannot have made."""
    made = build_representation(config, 2, 2)
    if (channels, dtype) != (made.shape[0], made.dtype):
        raise InputError(
            f"{path}: frames of {channels} channels of {dtype}, but {config} makes {made.shape[0]} of "
            f"{np.dtype(made.dtype)}; set representation in the config to what the file holds, or {PREPROCESS_AGAIN}"
        )


def load_layout(folder: Path, path: Path, num_tensors: int) -> dict[str, np.ndarray]:
    """Which frames and boxes of a sequence folder belong together, as arguments of :class:`RecordingFrames`.

    Args:
        folder: in RVT's layout.
        path: its file of frames.
        num_tensors: how many that holds.

    Raises:
        InputError: where an array is missing or contradicts another, or a box is NaN or infinite.
    """
    labels = folder / "labels_v2" / "labels.npz"
    arrays = dict(
        t_us=_load(path.with_name("timestamps_us.npy")),
        labelled=_load(path.with_name("objframe_idx_2_repr_idx.npy")),
        boxes=_load(labels, "labels"),
        first_row=_load(labels, "objframe_idx_2_label_idx"),
    )
    _check_layout(folder, **arrays)
    check_finite(arrays["boxes"], labels, PREPROCESS_AGAIN)
    if num_tensors != len(arrays["t_us"]):
        raise InputError(
            f"{path}: {num_tensors} tensors, but timestamps_us has {len(arrays['t_us'])}; {PREPROCESS_AGAIN}"
        )
    _check_times(folder, **arrays)
    return arrays


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
        elif (np.diff(labelled.astype(np.int64)) <= 0).any() or labelled[0] < 0 or labelled[-1] >= len(t_us):
            problem = f"repr_idx is not strictly ascending within the {len(t_us)} frames"
    if problem:
        raise InputError(f"{folder}: {problem}; {PREPROCESS_AGAIN}")


def _check_times(
    folder: Path, t_us: np.ndarray, labelled: np.ndarray, boxes: np.ndarray, first_row: np.ndarray
) -> None:
    """Raise ``InputError`` where the labels' own times say that indices lead to other frames' boxes.

    Times may differ by half of the usual step between frames, in which a label would belong to another frame.
    """
    frame_us = t_us[labelled].astype(np.int64)
    tolerance_us = np.median(np.diff(t_us.astype(np.int64))) / 2 if len(t_us) > 1 else _TOLERANCE_US
    problem = ""
    times = folder / "labels_v2" / "timestamps_us.npy"
    if times.is_file():  # which only we and RVT's preprocessing compare with
        label_us = _load(times)
        if label_us.shape != frame_us.shape:
            problem = f"{len(label_us)} label times for {len(frame_us)} labelled frames"
        elif _furthest(label_us, frame_us) > tolerance_us:
            problem = f"labels_v2/timestamps_us.npy is up to {_furthest(label_us, frame_us):,} us off its frames"
    if "t" in boxes.dtype.names and len(first_row) and not problem:
        owner_us = np.repeat(frame_us, np.diff(np.append(first_row.astype(np.int64), len(boxes))))
        off_us = _furthest(boxes["t"][first_row[0] :], owner_us)
        if off_us > tolerance_us:
            problem = (
                f"boxes are up to {off_us:,} us off the frames that objframe_idx_2_label_idx gives them; it should "
                "hold the row at which each frame's boxes begin, in rows sorted by time"
            )
    if problem:
        raise InputError(f"{folder}: {problem}; write the folder as tools/preprocess.py does, or {PREPROCESS_AGAIN}")


def _furthest(a_us: np.ndarray, b_us: np.ndarray) -> int:
    return int(np.abs(a_us.astype(np.int64) - b_us.astype(np.int64)).max(initial=0))


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
