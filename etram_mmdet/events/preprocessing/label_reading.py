"""Read the labels of a recording in any format: on the recording's clock, in sensor pixels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from etram_mmdet.events.choices import FROM_START
from etram_mmdet.events.formats.array_files import load_array
from etram_mmdet.events.label_formats import Hints, LabelTable, find_label_format
from etram_mmdet.events.label_formats.clock import Clock, read_frame_times
from etram_mmdet.events.label_formats.convert import check_sizes, in_microseconds
from etram_mmdet.events.label_formats.label_table import interpolated, resized, to_boxes
from etram_mmdet.events.labels import load_label_times, load_named_boxes, to_top_left
from etram_mmdet.events.preprocessing.label_files import ARRAY, is_array, map_of
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.events.preprocessing.sources import Source
from etram_mmdet.events.recording import Recording
from etram_mmdet.events.time_units import in_microseconds as times_in_microseconds
from etram_mmdet.utils.errors import InputError


class Labels(NamedTuple):
    """Content of a label file.

    Attributes:
        boxes: boxes (N,) of ``BBOX_DTYPE``. If the file holds names, ``class_id`` is an index into
            ``names``.
        names: class names; ``None`` if the file holds ids.
        times_us: further times that were labelled, in microseconds.
        dropped: number of boxes that were left out, by reason.
        found: sentences about the file for the user.
        place_of: function that gives the place of a label time in its file, as text.
    """

    boxes: np.ndarray
    names: tuple[str, ...] | None
    times_us: np.ndarray
    dropped: dict[str, int]
    found: list[str]
    place_of: Callable[[int], str]


def read_labels(recording: Recording, source: Source, settings: PreprocessSettings) -> Labels:
    """Read the label file of a recording.

    Args:
        recording: the open recording.
        source: the recording and its label file.
        settings: settings of the preprocessing.

    Raises:
        InputError: when the file is damaged, holds no boxes, or needs a setting that is missing.
    """
    read = _from_array if is_array(source.labels) else _from_other_format
    boxes, names, times_us, dropped, found = read(recording, source, settings)
    times_us = np.union1d(
        times_us,
        load_label_times(
            source.labels.with_name(f"{source.name}{ARRAY}"), settings.label_time_unit
        ),
    )
    if len(boxes) == len(times_us) == 0:
        raise InputError(
            f"{source.labels}: holds no boxes; label the recording or remove it from the folder. "
            "If no road user is visible, write the times that were checked to "
            f"{source.name}_label_times.npy; the recording then serves as background"
        )
    offset_us = _offset_us(recording, settings)
    boxes["t"] += offset_us
    times_us = times_us + offset_us
    place_of = partial(_place_of, source, settings, offset_us)
    labels = Labels(boxes, names, times_us, dropped, found, place_of)
    return _inside(recording, source, labels) if settings.drop_labels_outside else labels


def _from_array(recording: Recording, source: Source, settings: PreprocessSettings) -> tuple:
    boxes, names = load_named_boxes(source.labels, settings.label_time_unit, settings.box_format)
    return boxes, names, np.empty(0, np.int64), {}, []


def _from_other_format(recording: Recording, source: Source, settings: PreprocessSettings) -> tuple:
    format_ = find_label_format(source.labels)
    name = source.name if source.is_shared else None
    table = format_.read(
        source.labels, Hints(size_px=(recording.width, recording.height), recording=name)
    )
    # The size of the labelled frames is more reliable than an assumed size of the sensor.
    if table.size_px and not settings.resize_labels and recording.take_sensor(*table.size_px):
        table.found.append("sensor size taken from the labelled frames")
    sensor_px = recording.width, recording.height
    if settings.resize_labels:
        table = resized(table, sensor_px)
    check_sizes(table, sensor_px, source.labels, "--resize-labels")
    try:
        table = _on_clock(table, source, settings)
    except InputError as error:
        raise InputError(f"{source.labels}: {error}") from error
    boxes, names = to_boxes(table)
    if not format_.has_fixed_boxes:
        boxes = to_top_left(boxes, settings.box_format)
    return (
        boxes,
        names,
        table.stamps.astype(np.int64),
        table.counts,
        [f"{format_.title}; {'; '.join(table.found)}"],
    )


def _on_clock(table: LabelTable, source: Source, settings: PreprocessSettings) -> LabelTable:
    """Labels in microseconds, with boxes between key frames if ``settings`` ask for them."""
    if table.unit == "frames":
        clock, text = _frame_clock(source, settings)
        table.found.append(text)
        grid = clock.times_between(*table.stamps[[0, -1]]) if len(table.stamps) else None
    else:  # "us" is the unit of arrays, and here only a default
        unit = table.unit if settings.label_time_unit == "us" else settings.label_time_unit
        clock, grid = Clock(unit or "us"), None
    table = in_microseconds(table, clock)
    return interpolated(table, grid) if settings.interpolate_labels else table


def _frame_clock(source: Source, settings: PreprocessSettings) -> tuple[Clock, str]:
    """Times of frames: from the map beside the labels or the recording, else from ``label_fps``."""
    path = map_of(source.labels, source.name, source.events)
    if path is not None:
        return Clock(
            "frames", frame_us=read_frame_times(path)
        ), "frames: times from a map, NAME_frames.csv"
    if settings.label_fps is None:
        raise InputError(
            f"its times are frame numbers; put {source.name}_frames.csv beside it (columns "
            "frame,t_us, as tools/export_frames.py writes it), or, if the video starts at time 0, "
            "give its frame rate with --label-fps N (and its start with --label-offset-us)"
        )
    return Clock(
        "frames", settings.label_fps
    ), f"frames: {settings.label_fps:g} a second, the first at 0"


def _offset_us(recording: Recording, settings: PreprocessSettings) -> int:
    """Microseconds to add to the label times."""
    return (
        recording.clock_start_us
        if settings.label_offset_us == FROM_START
        else settings.label_offset_us
    )


def _place_of(source: Source, settings: PreprocessSettings, offset_us: int, time_us: int) -> str:
    """Row of the file that holds a label time, and the time as the file has it.

    ``time_us`` is on the recording's clock.
    """
    arrays = [source.labels] if is_array(source.labels) else []
    for path in (*arrays, source.labels.with_name(f"{source.name}_label_times.npy")):
        if path.is_file():
            rows = load_array(path)
            name = next((name for name in ("t", "ts") if name in (rows.dtype.names or ())), None)
            times = rows if name is None else rows[name]
            (found,) = np.nonzero(
                times_in_microseconds(times, settings.label_time_unit) + offset_us == time_us
            )
            if len(found):
                return f"row {found[0]} of {path.name}, t = {times[found[0]]}"
    return f"t = {time_us} us"


def _inside(recording: Recording, source: Source, labels: Labels) -> Labels:
    """The labels from the first event to the last; the other boxes are left out and counted."""
    first_us, last_us = recording.t_first_us, recording.t_last_us
    boxes, times_us = labels.boxes, labels.times_us
    is_inside = (boxes["t"] >= first_us) & (boxes["t"] <= last_us)
    times_us = times_us[(times_us >= first_us) & (times_us <= last_us)]
    if len(times_us) == 0 and not is_inside.any():
        raise InputError(
            f"{source.labels}: no label lies between the first event ({first_us} us) and the last "
            f"({last_us} us); use the same clock for both, for example with --label-offset-us"
        )
    num_outside = int(np.count_nonzero(~is_inside))
    counts = {"boxes_outside_recording": num_outside} if num_outside else {}
    return labels._replace(
        boxes=boxes[is_inside], times_us=times_us, dropped=labels.dropped | counts
    )
