"""Read a recording's labels and choose its frames; every box that is left out is counted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from etram_mmdet.events.class_mapping import ClassSet
from etram_mmdet.events.labels import filter_boxes, small_boxes
from etram_mmdet.events.limits import MAX_QUIET_US
from etram_mmdet.events.preprocessing.frame_times import Frames, select_frames
from etram_mmdet.events.preprocessing.label_classes import class_set_of, sort_by_class
from etram_mmdet.events.preprocessing.label_reading import read_labels
from etram_mmdet.events.preprocessing.plausibility import doubts_before_reading
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.events.preprocessing.sources import Source
from etram_mmdet.events.recording import Recording
from etram_mmdet.utils.errors import InputError


class NoBoxLeft(InputError):
    """Raised when the filters leave out every box of a recording."""


class LabelledFrames(NamedTuple):
    """Labels of a recording and the frames that a detector sees.

    Attributes:
        boxes: boxes in use (``BBOX_DTYPE``, sensor pixels).
        frames: frames to which the boxes belong.
        dropped: number of dropped boxes by rule.
        ignored: boxes in these frames that evaluation ignores: too small, or of class -1.
        labels: all boxes of the label file with finite numbers.
        label_us: all times that were labelled (L,), in microseconds.
        doubts: sentences about the labels that do not seem right by themselves.
        place_of: function that gives the place of a label time in its file, as text.
        class_names: names of the class ids; empty if they are unknown.
        found: sentences about a label file in another format, for the user.
    """

    boxes: np.ndarray
    frames: Frames
    dropped: dict[str, int]
    ignored: np.ndarray
    labels: np.ndarray
    label_us: np.ndarray
    doubts: list[str]
    place_of: Callable[[int], str]
    class_names: dict[int, str]
    found: list[str]


def find_frames(
    recording: Recording, source: Source, settings: PreprocessSettings
) -> LabelledFrames:
    """Read and filter the labels of a recording and choose its frames.

    A frame without boxes exists only if the label file or :func:`load_label_times` names its time.

    Args:
        recording: the open recording.
        source: the recording and its label file.
        settings: settings of the preprocessing.

    Raises:
        NoBoxLeft: when no labelled time is left after the filters.
        InputError: when the labels cannot be read, or no frame can be chosen.
    """
    read = read_labels(recording, source, settings)
    labelled, names, times_us, place_of = read.boxes, read.names, read.times_us, read.place_of
    labels = labelled[np.isfinite([labelled[name] for name in "xywh"]).all(0)]
    all_label_us = np.union1d(labelled["t"], times_us)
    doubts = doubts_before_reading(recording, labels, all_label_us, settings.box_format, place_of)
    hw = recording.height, recording.width
    rules = settings.box_rules if names is None else {**settings.box_rules, "max_class_id": None}
    visible, dropped = filter_boxes(labelled, *hw, is_train=source.split == "train", **rules)
    small = small_boxes(labelled, *hw, **rules)
    class_set = class_set_of(settings, source)
    sort = partial(sort_by_class, names=names, class_set=class_set, path=source.labels)
    boxes, to_ignore, of_classes = sort(visible, drop_unknown=settings.drop_unknown_classes)
    for reason, count in [*of_classes.items(), *read.dropped.items()]:
        dropped[reason] = dropped.get(reason, 0) + count
    label_us = np.union1d(visible["t"], times_us)
    if len(label_us) == 0:
        counts = ", ".join(f"{name} {count}" for name, count in dropped.items() if count)
        advice = "check the boxes, or remove the recording from the folder"
        raise NoBoxLeft(
            f"{source.labels}: no box is left after filtering ({counts}) on a sensor of "
            f"{recording.width}x{recording.height}; {'; '.join(doubts) or advice}"
        )
    try:
        frames = select_frames(
            label_us,
            recording.t_first_us,
            settings.frames,
            settings.window_us,
            settings.rules.label_period_us,
        )
    except InputError as error:
        raise InputError(f"{source.labels}: {'; '.join(doubts) or error}") from error
    is_used = np.isin(boxes["t"], frames.label_us)
    dropped["label_frames_not_used"] = len(label_us) - len(frames.label_us)
    dropped["boxes_in_unused_frames"] = int(np.count_nonzero(~is_used))
    small = sort(small, drop_unknown=True)
    ignored = np.concatenate([small.used, small.ignored, to_ignore])
    ignored = ignored[np.isin(ignored["t"], frames.label_us)]
    ignored = ignored[np.argsort(ignored["t"], kind="stable")]
    class_names = {} if class_set is None else _names_of_ids(class_set, names is not None)
    return LabelledFrames(
        boxes[is_used],
        frames,
        dropped,
        ignored,
        labels,
        all_label_us,
        doubts,
        place_of,
        class_names,
        read.found,
    )


def refuse_quiet(recording: Recording, source: Source, found: LabelledFrames) -> None:
    """Refuse labels so far from the events that hours of empty frames would be made.

    Args:
        recording: the open recording.
        source: the recording and its label file.
        found: its labels and frames.

    Raises:
        InputError: when a label lies more than ``MAX_QUIET_US`` before the first event or after
            the last.
    """
    label_us = found.frames.label_us
    if (
        np.diff(label_us, prepend=recording.t_first_us).max() <= MAX_QUIET_US
        and label_us[0] >= recording.t_first_us
    ):
        return
    for time_us, quiet_us, where in (
        (label_us[0], recording.t_first_us - label_us[0], "before the first event"),
        (label_us[-1], label_us[-1] - recording.t_last_us, "after the last event"),
    ):
        if quiet_us > MAX_QUIET_US:
            raise InputError(
                f"{source.labels}: a label lies {quiet_us / 1e6:,.0f} s {where} "
                f"({found.place_of(time_us)}), expected at most {MAX_QUIET_US / 1e6:,.0f} s; "
                "correct or remove it, or drop such labels with --drop-labels-outside"
            )


def _names_of_ids(class_set: ClassSet, has_names: bool) -> dict[int, str]:
    """Names of the stored class ids.

    Labels that hold names are stored under the numbers of the classes.
    """
    return dict(enumerate(class_set.classes)) if has_names else class_set.class_names
