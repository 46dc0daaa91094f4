"""From a recording's label file to the frames that a detector sees, with every box that is left out counted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from etram_mmdet.events.choices import FROM_START
from etram_mmdet.events.class_mapping import ClassSet
from etram_mmdet.events.formats.array_files import load_array
from etram_mmdet.events.labels import filter_boxes, load_label_times, load_named_boxes, small_boxes
from etram_mmdet.events.limits import MAX_QUIET_US
from etram_mmdet.events.preprocessing.frame_times import Frames, select_frames
from etram_mmdet.events.preprocessing.label_classes import class_set_of, sort_by_class
from etram_mmdet.events.preprocessing.plausibility import doubts_before_reading
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.events.preprocessing.sources import Source
from etram_mmdet.events.recording import Recording, in_microseconds
from etram_mmdet.utils.errors import InputError


class NoBoxLeft(InputError):
    """The filters leave out every box of a recording."""


class LabelledFrames(NamedTuple):
    """``boxes`` in use (``BBOX_DTYPE``, sensor pixels), the ``frames`` they belong to, and what was dropped by rule.

    ``ignored``: boxes in these frames that are too small to be learnt or to be counted as missed, or of class -1.
    ``labels`` are all boxes of the label file with a time and place, ``label_us`` (L,) all times that were labelled,
    and ``doubts`` what does not seem right about them by themselves. ``place_of`` says where a label time stands in its
    file, ``class_names`` what class ids are called, empty where nobody said it.
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


def find_frames(recording: Recording, source: Source, settings: PreprocessSettings) -> LabelledFrames:
    """Read and filter the labels of ``source`` and choose its frames; raises ``InputError``.

    A frame without boxes exists only where :func:`load_label_times` names its time.
    """
    labelled, names, times_us, num_outside = _read_labels(recording, source, settings)
    labels = labelled[np.isfinite([labelled[name] for name in "xywh"]).all(0)]
    all_label_us = np.union1d(labelled["t"], times_us)
    place_of = partial(_place_of, source, settings, _offset_us(recording, settings))
    doubts = doubts_before_reading(recording, labels, all_label_us, settings.box_format, place_of)
    hw = recording.height, recording.width
    rules = settings.box_rules if names is None else {**settings.box_rules, "max_class_id": None}
    visible, dropped = filter_boxes(labelled, *hw, is_train=source.split == "train", **rules)
    small = small_boxes(labelled, *hw, **rules)
    class_set = class_set_of(settings, source)
    sort = partial(sort_by_class, names=names, class_set=class_set, path=source.labels)
    boxes, to_ignore, of_classes = sort(visible, drop_unknown=settings.drop_unknown_classes)
    dropped |= of_classes
    label_us = np.union1d(visible["t"], times_us)
    if len(label_us) == 0:
        counts = ", ".join(f"{name} {count}" for name, count in dropped.items() if count)
        raise NoBoxLeft(
            f"{source.labels}: no box is left after filtering ({counts}) on a sensor of "
            f"{recording.width}x{recording.height}; {'; '.join(doubts) or 'check the boxes or take the recording away'}"
        )
    try:
        frames = select_frames(
            label_us, recording.t_first_us, settings.frames, settings.window_us, settings.rules.label_period_us
        )
    except InputError as error:
        raise InputError(f"{source.labels}: {'; '.join(doubts) or error}") from error
    is_used = np.isin(boxes["t"], frames.label_us)
    dropped["label_frames_not_used"] = len(label_us) - len(frames.label_us)
    dropped["boxes_in_unused_frames"] = int(np.count_nonzero(~is_used))
    if num_outside:
        dropped["boxes_outside_recording"] = num_outside
    small = sort(small, drop_unknown=True)
    ignored = np.concatenate([small.used, small.ignored, to_ignore])
    ignored = ignored[np.isin(ignored["t"], frames.label_us)]
    ignored = ignored[np.argsort(ignored["t"], kind="stable")]
    class_names = {} if class_set is None else _names_of_ids(class_set, names is not None)
    return LabelledFrames(boxes[is_used], frames, dropped, ignored, labels, all_label_us, doubts, place_of, class_names)


def refuse_quiet(recording: Recording, source: Source, found: LabelledFrames) -> None:
    """Refuse labels so far from the events that hours of empty frames would be made.

    Raises:
        InputError: one stands more than ``MAX_QUIET_US`` before the first event or after the last.
    """
    label_us = found.frames.label_us
    if np.diff(label_us, prepend=recording.t_first_us).max() <= MAX_QUIET_US and label_us[0] >= recording.t_first_us:
        return
    for time_us, quiet_us, where in (
        (label_us[0], recording.t_first_us - label_us[0], "before the first event"),
        (label_us[-1], label_us[-1] - recording.t_last_us, "after the last event"),
    ):
        if quiet_us > MAX_QUIET_US:
            raise InputError(
                f"{source.labels}: a label {quiet_us / 1e6:,.0f} s {where} ({found.place_of(time_us)}), expected at "
                f"most {MAX_QUIET_US / 1e6:,.0f} s; mend or remove it, or leave such labels out: --drop-labels-outside"
            )


def _names_of_ids(class_set: ClassSet, has_names: bool) -> dict[int, str]:
    """What stored class ids are called: labels that hold names are stored under the numbers of the classes."""
    return dict(enumerate(class_set.classes)) if has_names else class_set.class_names


def _offset_us(recording: Recording, settings: PreprocessSettings) -> int:
    """What has to be added to label times."""
    return recording.clock_start_us if settings.label_offset_us == FROM_START else settings.label_offset_us


def _place_of(source: Source, settings: PreprocessSettings, offset_us: int, time_us: int) -> str:
    """The row that gave a label its time, which is on the recording's clock, and the time as the file has it."""
    for path in (source.labels, source.labels.with_name(f"{source.name}_label_times.npy")):
        if path.is_file():
            rows = load_array(path)
            name = next((name for name in ("t", "ts") if name in (rows.dtype.names or ())), None)
            times = rows if name is None else rows[name]
            (found,) = np.nonzero(in_microseconds(times, settings.label_time_unit) + offset_us == time_us)
            if len(found):
                return f"row {found[0]} of {path.name}, t = {times[found[0]]}"
    return f"t = {time_us} us"


def _read_labels(
    recording: Recording, source: Source, settings: PreprocessSettings
) -> tuple[np.ndarray, tuple[str, ...] | None, np.ndarray, int]:
    """Boxes, class names (see :func:`load_named_boxes`), label times on the recording's clock, and how many boxes lay
    outside it, if these are left out."""
    boxes, names = load_named_boxes(source.labels, settings.label_time_unit, settings.box_format)
    times_us = load_label_times(source.labels, settings.label_time_unit)
    if len(boxes) == len(times_us) == 0:
        raise InputError(f"{source.labels}: holds no boxes; label the recording or take it out of the folder")
    offset_us = _offset_us(recording, settings)
    boxes["t"] += offset_us
    times_us = times_us + offset_us
    if not settings.drop_labels_outside:
        return boxes, names, times_us, 0
    first_us, last_us = recording.t_first_us, recording.t_last_us
    is_inside = (boxes["t"] >= first_us) & (boxes["t"] <= last_us)
    times_us = times_us[(times_us >= first_us) & (times_us <= last_us)]
    if len(times_us) == 0 and not is_inside.any():
        raise InputError(
            f"{source.labels}: no label lies between the first event ({first_us} us) and the last ({last_us} us); "
            "give both the same clock, see --label-offset-us"
        )
    return boxes[is_inside], names, times_us, int(np.count_nonzero(~is_inside))
