"""One recording as a dataset sees it: frames in order, and boxes on some of them."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np

from etram_mmdet.datasets.sequence_layout import check_kind, load_layout
from etram_mmdet.events.class_mapping import IGNORED_ID, LEFT_OUT, ClassSet, signed_ids
from etram_mmdet.events.labels import BBOX_DTYPE
from etram_mmdet.events.preprocessing.checksums import check_files
from etram_mmdet.events.preprocessing.frame_store import FrameFile
from etram_mmdet.events.preprocessing.frame_times import STEP_US, start_us
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
from etram_mmdet.utils.shared_arrays import SharedArrays


class RecordingFrames(ABC):
    """Frames and boxes of one recording.

    ``labelled`` are the ascending indices of the frames that were labelled, also of those without a
    box. ``t_us`` are the times at which frames end. ``step_us`` is the usual time from one frame to
    the next. ``left_out`` is the number of boxes per class that ``class_set`` leaves out.
    ``box_counts`` is the number of boxes per class on labelled frames, counted once, here.

    Every number of a frame or box lies in one of ``arrays``, in a type as small as its values
    allow, and none is a Python object. Loading processes share these arrays
    (``utils.shared_arrays``).

    Args:
        name: name of the recording.
        shape: (C, H, W) of a frame.
        dtype: type of a pixel.
        scale: sensor pixels per network pixel.
        t_us: (F,) times at which the frames end, in microseconds.
        labelled: (L,) ascending indices of the labelled frames.
        boxes: (N,) boxes in sensor pixels, in time order.
        first_row: (L,) row of ``boxes`` at which each labelled frame begins.
        class_set: meaning of the class ids. A class id that it does not know is an error.
        label_file: path of the labels, for error messages.
        ignored: boxes that evaluation ignores, at the times of labelled frames. Those of
            classes that ``class_set`` does not know are left out. Default: none.
        start_us: time at which the recording begins on its clock. Default: 0.
        id_names: names of the class ids, if they are known. Default: not known.
        sensor_px: width and height of the sensor. Default: those of a frame times ``scale``.
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
        id_names: Mapping[int, str] | None = None,
        sensor_px: tuple[int, int] | None = None,
    ) -> None:
        self.name = name
        self.dtype = dtype
        self.scale = scale
        self.start_us = start_us
        self.num_frames = len(t_us)
        self.step_us = round(float(np.median(np.diff(t_us)))) if len(t_us) > 1 else STEP_US
        self.channels = shape[0]
        self.hw = tuple(shape[1:])
        self.sensor_px = sensor_px or (self.hw[1] * scale, self.hw[0] * scale)
        labels = class_labels(boxes["class_id"], class_set, label_file, id_names)
        is_kept = labels != LEFT_OUT
        self.left_out = _counts_by_name(
            boxes["class_id"][~is_kept], id_names or class_set.class_names
        )
        bboxes = self._network_xyxy(boxes)
        is_kept &= ~is_flat(bboxes)
        is_kept[: first_row[0] if len(first_row) else None] = False
        kept_before = np.append(0, np.cumsum(is_kept))
        self.arrays = SharedArrays(
            dict(
                t_us=t_us,
                labelled=labelled.astype(np.int64),
                first_row=kept_before[np.append(first_row.astype(np.int64), len(boxes))],
                bboxes=bboxes[is_kept],
                labels=_small(labels[is_kept]),
                tracks=_small(_track_ids(boxes[is_kept])),
                **self._ignored_boxes(ignored, class_set, id_names),
            )
        )
        self.box_counts = np.bincount(labels[is_kept], minlength=len(class_set.classes))

    @property
    def t_us(self) -> np.ndarray:
        """Times at which the frames end, in microseconds: int64 (F,)."""
        return self.arrays["t_us"]

    @property
    def labelled(self) -> np.ndarray:
        """Ascending indices of the labelled frames: int64 (L,)."""
        return self.arrays["labelled"]

    @abstractmethod
    def read(self, start: int, stop: int) -> np.ndarray:
        """Frames ``start`` to ``stop`` (exclusive): (n, C, H, W) of ``dtype``."""

    def _network_xyxy(self, boxes: np.ndarray) -> np.ndarray:
        """Corners in network pixels, limited as in RVT's loader.

        The limit is the last pixel of the sensor first, then the last pixel of the network's frame.
        """
        corners = np.stack(
            [boxes["x"], boxes["y"], boxes["x"] + boxes["w"], boxes["y"] + boxes["h"]], 1
        )
        limit = np.array([self.hw[1], self.hw[0]] * 2, np.float32)
        corners = np.clip(corners.astype(np.float32), 0, limit * self.scale - 1) / self.scale
        return np.minimum(corners, limit - 1)

    def boxes_of(self, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """Boxes float32 (n, 4) xyxy in network pixels and labels int64 (n,) of a frame."""
        rows = self._rows_of(frame)
        return self.arrays["bboxes"][rows].copy(), self.arrays["labels"][rows].astype(np.int64)

    def boxes_before(self, frames: np.ndarray) -> np.ndarray:
        """Number of boxes per class before each frame, or after the last: int64 (n, K).

        Args:
            frames: (n,) indices of frames, from 0 to the number of frames.
        """
        rows = self.arrays["first_row"][np.searchsorted(self.labelled, frames)]
        return np.stack(
            [
                np.searchsorted(np.flatnonzero(self.arrays["labels"] == k), rows)
                for k in range(len(self.box_counts))
            ],
            1,
        )

    def is_labelled(self, frames: Sequence[int]) -> np.ndarray:
        """Whether each frame was labelled: (n,) bool.

        Args:
            frames: indices of frames; -1 is no frame.
        """
        places = np.searchsorted(self.labelled, frames)
        return np.append(self.labelled, -2)[places] == frames

    def ignored_of(self, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """Boxes and labels that evaluation ignores, as ``boxes_of`` gives them.

        They are neither ground truth, nor is a detection of one of them a false alarm.
        """
        rows = slice(0)
        if self.is_labelled([frame])[0]:
            t_us = self.t_us[frame]
            rows = slice(*np.searchsorted(self.arrays["ignored_us"], [t_us, t_us + 1]))
        bboxes, labels = self.arrays["ignored_bboxes"], self.arrays["ignored_labels"]
        return bboxes[rows].copy(), labels[rows].copy()

    def _ignored_boxes(
        self, boxes: np.ndarray | None, class_set: ClassSet, id_names: Mapping[int, str] | None
    ) -> dict[str, np.ndarray]:
        """Times (n,) in order, boxes (n, 4) in network pixels and labels (n,)."""
        boxes = np.empty(0, BBOX_DTYPE) if boxes is None else boxes
        is_of_all = signed_ids(boxes["class_id"]) == IGNORED_ID
        of_all = np.repeat(boxes[is_of_all], len(class_set.classes))
        labels = class_set.labels_of(boxes["class_id"], id_names, refuse_unknown=False)
        labels = np.append(
            labels[~is_of_all], np.tile(np.arange(len(class_set.classes)), is_of_all.sum())
        )
        boxes = np.append(boxes[~is_of_all], of_all)
        order = np.argsort(boxes["t"], kind="stable")
        boxes, labels = boxes[order], labels[order]
        bboxes = self._network_xyxy(boxes)
        solid = (labels != LEFT_OUT) & ~is_flat(bboxes)
        return dict(
            ignored_us=boxes["t"][solid],
            ignored_bboxes=bboxes[solid],
            ignored_labels=labels[solid],
        )

    def tracks_of(self, frame: int) -> np.ndarray:
        """Track ids int64 (n,) of the boxes of a frame; 0 where the label file has none."""
        return self.arrays["tracks"][self._rows_of(frame)].astype(np.int64)

    def all_boxes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Frame (n,), box, label and track of every box of the recording, in order of frames."""
        frames = np.repeat(self.labelled, np.diff(self.arrays["first_row"]))
        numbers = (self.arrays[name].astype(np.int64) for name in ("labels", "tracks"))
        return frames, self.arrays["bboxes"].copy(), *numbers

    def renamed(self, name: str) -> RecordingFrames:
        """The same recording under another name."""
        other = copy.copy(self)
        other.name = name
        return other

    def _rows_of(self, frame: int) -> slice:
        k = int(np.searchsorted(self.labelled, frame))
        if k == len(self.labelled) or self.labelled[k] != frame:
            return slice(0)
        return slice(*self.arrays["first_row"][k : k + 2])


def _small(values: np.ndarray) -> np.ndarray:
    """The same whole numbers in the smallest signed type that holds them."""
    low, high = values.min(initial=0), values.max(initial=0)
    fitting = [
        dtype
        for dtype in (np.int8, np.int16, np.int32)
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max
    ]
    return values.astype(fitting[0]) if fitting else values


def is_flat(bboxes: np.ndarray) -> np.ndarray:
    """Whether each box has no width or no height: (n,) bool.

    Args:
        bboxes: (n, 4) boxes x1 y1 x2 y2.
    """
    return (bboxes[:, 2:] <= bboxes[:, :2]).any(1)


def _counts_by_name(class_ids: np.ndarray, id_names: Mapping[int, str]) -> Counter:
    ids, counts = np.unique(class_ids, return_counts=True)
    return Counter({id_names.get(int(i), str(i)): int(n) for i, n in zip(ids, counts, strict=True)})


def _track_ids(boxes: np.ndarray) -> np.ndarray:
    """Track ids (n,), 0 in a label file without them.

    Label files that RVT preprocessed may lack the column, which RVT's own loader never reads.
    """
    if "track_id" not in boxes.dtype.names:
        return np.zeros(len(boxes), np.int64)
    return boxes["track_id"].astype(np.int64)


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
        facts = {}
        if (folder / MANIFEST).is_file():  # RVT's own folders have none; RVT takes 0 as their start
            manifest = read_manifest(folder)
            check_files(folder, manifest, read)
            facts = dict(
                sensor_px=(manifest["width"], manifest["height"]),
                start_us=start_us(manifest["t_first_us"]),
                id_names=class_names_in(manifest),
            )
        labels = folder / "labels_v2" / "labels.npz"
        super().__init__(
            folder.name,
            tuple(shape),
            dtype,
            built.scale,
            **arrays,
            class_set=class_set,
            label_file=labels,
            ignored=read_ignored(folder, read),
            **facts,
        )

    def read(self, start: int, stop: int) -> np.ndarray:
        """Frames ``start`` to ``stop`` (exclusive): (n, C, H, W)."""
        return OPEN_FILES.of(self, partial(FrameFile, self.path)).read(start, stop)


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


def class_labels(
    class_ids: np.ndarray,
    class_set: ClassSet,
    path: Path,
    id_names: Mapping[int, str] | None = None,
) -> np.ndarray:
    """Labels (n,) of class ids, as :meth:`ClassSet.labels_of` gives them.

    Args:
        class_ids: (n,) ids in the label file.
        class_set: meaning of the ids.
        path: label file, for the error message.
        id_names: names of the ids, if they are known. Default: not known.

    Raises:
        InputError: when ``class_set`` does not know an id; the message names ``path``.
    """
    try:
        return class_set.labels_of(class_ids, id_names)
    except InputError as error:
        advice = "set class_set in the config to the one that the label files follow"
        if id_names:
            advice += ", or give the folder's ids other names: tools/preprocess.py --class-set"
        raise InputError(f"{path}: {error}; {advice}") from error
