"""From a recording's label file to the frames that a detector sees, with every box that is left out counted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from etram_mmdet.events.class_sets import CLASS_SETS
from etram_mmdet.events.errors import InputError
from etram_mmdet.events.frames import Frames, select_frames
from etram_mmdet.events.labels import check_class_ids, filter_boxes, load_boxes
from etram_mmdet.events.recording import Recording
from etram_mmdet.events.settings import Settings
from etram_mmdet.events.sources import Source

_NUM_CLASS_IDS = max(len(class_set.file_to_class) for class_set in CLASS_SETS.values())


class LabelledFrames(NamedTuple):
    """``boxes`` in use (``BBOX_DTYPE``, sensor pixels), the ``frames`` they belong to, and what was dropped by rule."""

    boxes: np.ndarray
    frames: Frames
    dropped: dict[str, int]


def find_frames(recording: Recording, source: Source, settings: Settings) -> LabelledFrames:
    """Read and filter the labels of ``source`` and choose its frames; raises ``InputError``."""
    boxes = load_boxes(source.labels)
    if len(boxes) == 0:
        raise InputError(f"{source.labels}: holds no boxes; label the recording or take it out of the folder")
    boxes, dropped = _useful_boxes(boxes, recording, source, settings)
    label_us = np.unique(boxes["t"])
    try:
        frames = select_frames(label_us, recording.t_first_us, settings.frames, settings.window_us)
    except InputError as error:
        raise InputError(f"{source.labels}: {error}") from error
    is_used = np.isin(boxes["t"], frames.label_us)
    dropped["label_frames_not_used"] = len(label_us) - len(frames.label_us)
    dropped["boxes_in_unused_frames"] = int(np.count_nonzero(~is_used))
    return LabelledFrames(boxes[is_used], frames, dropped)


def _useful_boxes(
    boxes: np.ndarray, recording: Recording, source: Source, settings: Settings
) -> tuple[np.ndarray, dict[str, int]]:
    boxes, counts = filter_boxes(
        boxes,
        recording.height,
        recording.width,
        is_train=source.split == "train",
        max_class_id=settings.max_class_id,
    )
    check_class_ids(boxes, _NUM_CLASS_IDS, source.labels)
    if len(boxes) == 0:
        dropped = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
        raise InputError(
            f"{source.labels}: no box is left after filtering ({dropped}) on a sensor of "
            f"{recording.width}x{recording.height}; check the boxes or take the recording out of the folder"
        )
    return boxes, counts
