"""End times of the windows of a stream."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from etram_mmdet.events.class_sets import DEFAULT_CLASS_SET, get_class_set
from etram_mmdet.events.preprocessing.frame_times import JITTER_US, clock_origin_us
from etram_mmdet.events.preprocessing.settings import PreprocessSettings, checked_reading
from etram_mmdet.events.recording import Recording
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.notices import say

# What reads labels needs h5py and more, which a camera does without.
if TYPE_CHECKING:
    from etram_mmdet.events.preprocessing.sources import Source


def start_on_grid(t_first_us: int, step_us: int) -> int:
    """The last whole step at or before the first event, in microseconds of the recording's clock.

    Args:
        t_first_us: time of the first event, in microseconds.
        step_us: microseconds from one window to the next; steps are counted from
            :func:`clock_origin_us`.
    """
    origin_us = clock_origin_us(t_first_us)
    return origin_us + (t_first_us - origin_us) // step_us * step_us


def check_step(times_us: np.ndarray, step_us: int, labels: str | Path) -> None:
    """Warn if frames follow each other at another step than in training.

    Args:
        times_us: (n,) times of the frames in microseconds.
        step_us: microseconds from one frame to the next in training.
        labels: label file or folder, for the warning.
    """
    found_us = float(np.median(np.diff(times_us))) if len(times_us) > 1 else step_us
    if abs(found_us - step_us) > JITTER_US:
        say(
            f"{labels}: frames come every {found_us / 1000:.3g} ms, but training used "
            f"{step_us / 1000:.3g} ms; if the recordings were preprocessed with another --frames "
            "rule, give the preprocessed folder instead of the label file",
            logging.WARNING,
        )


def evaluated_times(
    recording: Recording, labels: str | Path, data: Mapping, window_us: int
) -> np.ndarray:
    """End times of all frames that the network gets in an evaluation of a recording, in order.

    Args:
        recording: an open recording.
        labels: its label file, or the sequence folder that tools/preprocess.py made from it.
        data: config of the evaluated data set. ``clip_length`` is the number of warm-up frames. For
            a label file, ``preset``, ``frames`` and ``reading`` are used too; their defaults are
            those of tools/preprocess.py.
        window_us: microseconds of events in a frame.

    Returns:
        (n,) int64 microseconds of the recording's clock.

    Raises:
        InputError: the labels are invalid, or hold no labelled frame.
    """
    try:
        from etram_mmdet.datasets.clips import evaluation_segment
        from etram_mmdet.datasets.folder_sequence import FolderSequence
        from etram_mmdet.events.preprocessing.labelled_frames import find_frames
    except ImportError as error:
        raise InputError(
            f"reading labels needs the package {error.name}, which is not installed; leave the "
            "labels out, or install etram_mmdet[mmdet]"
        ) from error

    labels = Path(labels)
    if (labels / "labels_v2").is_dir():  # any other folder, such as YOLO's, is read as labels
        classes = get_class_set(data.get("class_set") or DEFAULT_CLASS_SET)
        sequence = FolderSequence(labels, dict(data["representation"]), window_us, classes)
        t_us = sequence.t_us
        labelled = sequence.labelled
    else:
        settings = preprocess_settings(data, window_us)
        frames = find_frames(recording, _source(recording, labels), settings).frames
        t_us = frames.repr_us
        labelled = frames.repr_index
    if not len(labelled):
        raise InputError(
            f"{labels}: holds no labelled frame, so there is nothing to evaluate; leave out "
            "--labels"
        )
    return t_us[evaluation_segment(0, labelled, len(t_us), data.get("clip_length", 5)).start :]


def preprocess_settings(data: Mapping, window_us: int) -> PreprocessSettings:
    """The settings by which an evaluated data set would preprocess a recording.

    Args:
        data: config of the data set, as for :func:`evaluated_times`.
        window_us: microseconds of events in a frame.

    Raises:
        InputError: a setting is unknown, or has an impossible value.
    """
    chosen = {key: data[key] for key in ("preset", "frames", "class_set") if key in data}
    reading = dict(data.get("reading", {}))
    reading.pop("keep_implausible", None)
    return PreprocessSettings(window_us=window_us, **chosen, **checked_reading(reading))


def _source(recording: Recording, labels: Path) -> Source:
    """Pair a recording with its label file, which may have any name.

    If a file that may hold labels of several recordings does not name this one, all its labels are
    used.
    """
    from etram_mmdet.events.preprocessing.label_files import MAY_HOLD_SEVERAL, name_of, named_in
    from etram_mmdet.events.preprocessing.sources import Source

    name = name_of(recording.path)
    if labels.suffix.lower() in MAY_HOLD_SEVERAL and not named_in([labels], {name})[0]:
        name = name_of(labels)
    return Source("test", name, recording.path, labels)
