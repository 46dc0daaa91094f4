"""Convert one labelled recording to a sequence folder: tensors, labels and their times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from etram_mmdet.events.formats import Recording, open_recording
from etram_mmdet.events.labels import count_cut
from etram_mmdet.events.limits import MAX_QUIET_US
from etram_mmdet.events.preprocessing.examination import Examination, check_plausible
from etram_mmdet.events.preprocessing.frame_times import Frames, labels_per_s
from etram_mmdet.events.preprocessing.labelled_frames import (
    LabelledFrames,
    find_frames,
    refuse_quiet,
)
from etram_mmdet.events.preprocessing.sequence_folder import (
    new_folder,
    read_manifest,
    representation_path,
    write_ignored,
    write_labels,
    write_manifest,
    write_representations,
)
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.events.preprocessing.source_changes import origin_of, state_of
from etram_mmdet.events.preprocessing.sources import Source
from etram_mmdet.events.representations import Representation, build_representation
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import os_errors


def preprocess_recording(
    source: Source, folder: Path, settings: PreprocessSettings, keep_implausible: bool = False
) -> dict:
    """Write the sequence folder of a recording and return its manifest.

    Nothing is left at ``folder`` unless it is complete; an existing folder is replaced.

    Args:
        source: the recording and its labels.
        folder: the sequence folder.
        settings: settings of the preprocessing.
        keep_implausible: whether labels that do not seem to fit the events are kept, with a note in
            the manifest. Default: False, then they are an error.

    Raises:
        InputError: when the recording or its labels cannot be used.
    """
    state = state_of(source)
    with open_recording(source.events, **settings.opening) as recording:
        found = find_frames(recording, source, settings)
        if not keep_implausible:
            check_plausible(source.labels, found.doubts)
        refuse_quiet(recording, source, found)
        frames = found.frames
        examination = Examination(recording, found, settings)
        with os_errors(folder, "written"), new_folder(folder) as new:
            representation = build_representation(
                settings.representation, recording.height, recording.width
            )
            num_events = np.zeros(len(frames.repr_us), np.int64)
            left_out = np.zeros_like(num_events)
            write_labels(new, found.boxes, frames.label_us)
            write_ignored(new, found.ignored)
            path = new / representation_path(representation, settings.window_us)
            tensors = _window_tensors(
                recording,
                representation,
                found,
                settings.window_us,
                num_events,
                left_out,
                examination,
            )
            write_representations(path, frames, representation, tensors, settings.codec)
            recording.read_rest()
            doubts = examination.doubts()
            if not keep_implausible:
                check_plausible(source.labels, doubts)
            _check_any_events(num_events[frames.repr_index], frames, recording)
            manifest = {
                "recording": source.name,
                "split": source.split,
                **origin_of(source, state),
                **asdict(settings),
                **_geometry(recording, representation, settings.window_us),
                **_contents(found, num_events, recording),
                "events_in_frames": int(num_events.sum()),
                "events_left_out_by_downsample": int(left_out.sum()),
                "dropped": recording.dropped | found.dropped,
                **({"implausible": doubts} if doubts else {}),
                **({"recording_notes": list(recording.notes)} if recording.notes else {}),
                **({"labels_found": found.found} if found.found else {}),
            }
            write_manifest(new, manifest)
    return read_manifest(folder)


def _window_tensors(
    recording: Recording,
    representation: Representation,
    found: LabelledFrames,
    window_us: int,
    num_events: np.ndarray,
    left_out: np.ndarray,
    examination: Examination,
) -> Iterator[np.ndarray]:
    """Yield one tensor per window, in two buffers by turns.

    Also fills ``num_events`` (R,) and ``left_out`` (R,), the events that have no place in the
    image, and passes the events to ``examination``.
    """
    buffers = [np.empty(representation.shape, representation.dtype) for _ in range(2)]
    last_us = recording.t_first_us
    for index, end_us in enumerate(found.frames.repr_us.tolist()):
        window = end_us - window_us, end_us
        events = recording.read(*window)
        num_events[index] = len(events.t)
        left_out[index] = representation.count_left_out(events)
        last_us = int(events.t[-1]) if len(events.t) else last_us
        if end_us - last_us > MAX_QUIET_US:
            _refuse_quiet_after(last_us, recording, found, end_us)
        examination.look(end_us, events)
        yield representation(events, window, out=buffers[index % 2])


def _refuse_quiet_after(
    last_us: int, recording: Recording, found: LabelledFrames, end_us: int
) -> None:
    next_us = found.frames.label_us[np.searchsorted(found.frames.label_us, end_us)]
    raise InputError(
        f"{recording.path}: no events for {MAX_QUIET_US / 1e6:,.0f} s after {last_us} us, but a "
        f"later label ({found.place_of(next_us)}); correct or remove such labels, or drop labels "
        "after the last event with --drop-labels-outside"
    )


def _check_any_events(num_events: np.ndarray, frames: Frames, recording: Recording) -> None:
    if not num_events.any():
        raise InputError(
            f"{recording.path}: no window before a label holds an event (events from "
            f"{recording.t_first_us} to {recording.t_last_us} us, labels from {frames.label_us[0]} "
            f"to {frames.label_us[-1]} us); use the same clock, in microseconds, for events and "
            "labels"
        )


def _geometry(recording: Recording, representation: Representation, window_us: int) -> dict:
    return {
        "width": recording.width,
        "height": recording.height,
        "sensor_size_is_assumed": recording.size_is_assumed,
        "representation_path": str(representation_path(representation, window_us)),
        "representation_shape": list(representation.shape),
    }


def _contents(found: LabelledFrames, num_events: np.ndarray, recording: Recording) -> dict:
    frames = found.frames
    ids, counts = np.unique(found.boxes["class_id"], return_counts=True)
    return {
        "num_events": recording.num_events,
        "t_first_us": recording.t_first_us,
        "t_last_us": recording.t_last_us,
        "stamps_corrected": recording.stamps_corrected,
        "frame_rule": frames.rule,
        "num_frames": len(frames.label_us),
        "frames_per_s": labels_per_s(frames.label_us),
        "num_representations": len(frames.repr_us),
        "frames_without_events": int(np.count_nonzero(num_events[frames.repr_index] == 0)),
        "boxes_cut": count_cut(found.labels, recording.width, recording.height),
        "boxes_per_class_id": {str(i): int(n) for i, n in zip(ids, counts, strict=True)},
        **(
            {"class_names": {str(i): name for i, name in found.class_names.items()}}
            if found.class_names
            else {}
        ),
    }
