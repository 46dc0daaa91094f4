"""One recording as a dataset sees it: frames in order, and boxes on some of them."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from etram_mmdet.datasets.recorded_boxes import (
    class_labels,
    counts_by_name,
    ignored_boxes,
    is_flat,
    network_xyxy,
    track_ids,
)
from etram_mmdet.events.class_mapping import LEFT_OUT, ClassSet
from etram_mmdet.events.preprocessing.frame_times import STEP_US
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
        self.left_out = counts_by_name(
            boxes["class_id"][~is_kept], id_names or class_set.class_names
        )
        bboxes = network_xyxy(boxes, self.hw, scale)
        is_kept &= ~is_flat(bboxes)
        is_kept[: first_row[0] if len(first_row) else None] = False
        kept_before = np.append(0, np.cumsum(is_kept))
        self.arrays = SharedArrays(
            dict(
                t_us=t_us,
                labelled=labelled.astype(np.int64),
                first_row=kept_before[np.append(first_row.astype(np.int64), len(boxes))],
                bboxes=bboxes[is_kept],
                labels=_smallest_type(labels[is_kept]),
                tracks=_smallest_type(track_ids(boxes[is_kept])),
                **ignored_boxes(ignored, self.hw, scale, class_set, id_names),
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


def _smallest_type(values: np.ndarray) -> np.ndarray:
    """The same whole numbers in the smallest signed type that holds them."""
    low, high = values.min(initial=0), values.max(initial=0)
    fitting = [
        dtype
        for dtype in (np.int8, np.int16, np.int32)
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max
    ]
    return values.astype(fitting[0]) if fitting else values
