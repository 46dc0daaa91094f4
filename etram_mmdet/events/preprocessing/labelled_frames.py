"""From a recording's label file to the frames that a detector sees, with every box that is left out counted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from etram_mmdet.events.class_sets import CLASS_SETS
from etram_mmdet.events.labels import check_class_ids, filter_boxes, load_boxes, load_label_times, small_boxes
from etram_mmdet.events.preprocessing.frame_times import Frames, select_frames
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.events.preprocessing.sources import Source
from etram_mmdet.events.recording import Recording
from etram_mmdet.utils.errors import InputError

_NUM_CLASS_IDS = max(len(class_set.file_to_class) for class_set in CLASS_SETS.values())


class LabelledFrames(NamedTuple):
    """``boxes`` in use (``BBOX_DTYPE``, sensor pixels), the ``frames`` they belong to, and what was dropped by rule.

    ``ignored``: boxes in these frames that are too small to be learnt or to be counted as missed.
    """

    boxes: np.ndarray
    frames: Frames
    dropped: dict[str, int]
    ignored: np.ndarray


def find_frames(recording: Recording, source: Source, settings: PreprocessSettings) -> LabelledFrames:
    """Read and filter the labels of ``source`` and choose its frames; raises ``InputError``.

    A frame without boxes exists only where :func:`load_label_times` names its time.
    """
    labelled = load_boxes(source.labels)
    times_us = load_label_times(source.labels)
    if len(labelled) == len(times_us) == 0:
        raise InputError(f"{source.labels}: holds no boxes; label the recording or take it out of the folder")
    boxes, dropped = filter_boxes(
        labelled,
        recording.height,
        recording.width,
        is_train=source.split == "train",
        max_class_id=settings.max_class_id,
    )
    check_class_ids(boxes, _NUM_CLASS_IDS, source.labels)
    label_us = np.union1d(boxes["t"], times_us)
    if len(label_us) == 0:
        counts = ", ".join(f"{name} {count}" for name, count in dropped.items() if count)
        raise InputError(
            f"{source.labels}: no box is left after filtering ({counts}) on a sensor of "
            f"{recording.width}x{recording.height}; check the boxes or take the recording out of the folder"
        )
    try:
        frames = select_frames(label_us, recording.t_first_us, settings.frames, settings.window_us)
    except InputError as error:
        raise InputError(f"{source.labels}: {error}") from error
    is_used = np.isin(boxes["t"], frames.label_us)
    dropped["label_frames_not_used"] = len(label_us) - len(frames.label_us)
    dropped["boxes_in_unused_frames"] = int(np.count_nonzero(~is_used))
    small = small_boxes(labelled, recording.height, recording.width, max_class_id=settings.max_class_id)
    ignored = small[np.isin(small["t"], frames.label_us)]
    return LabelledFrames(boxes[is_used], frames, dropped, ignored)
