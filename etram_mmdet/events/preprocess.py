"""Turn one labelled recording into a sequence folder (tensors, labels and the times of both)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

from etram_mmdet.events.class_sets import CLASS_SETS
from etram_mmdet.events.errors import InputError
from etram_mmdet.events.formats import Recording, open_recording
from etram_mmdet.events.frames import FrameRule, Frames, select_frames
from etram_mmdet.events.labels import check_class_ids, filter_boxes, load_boxes
from etram_mmdet.events.representations import Downsample, StackedHistogram
from etram_mmdet.events.sequence_folder import (
    new_folder,
    read_manifest,
    write_labels,
    write_manifest,
    write_representations,
)

Preset = Literal["etram", "gen4"]

_NUM_CLASS_IDS = max(len(class_set.file_to_class) for class_set in CLASS_SETS.values())


@dataclass(frozen=True)
class Settings:
    """Everything that decides what a sequence folder holds; ``etram`` keeps all class ids, ``gen4`` ids 0 to 2."""

    preset: Preset = "etram"
    frames: FrameRule = "auto"
    bins: int = 10
    window_us: int = 50_000
    count_cutoff: int = 10
    downsample: Downsample = "nearest"

    def __post_init__(self) -> None:
        for name, choices in (("preset", Preset), ("frames", FrameRule), ("downsample", Downsample)):
            if getattr(self, name) not in get_args(choices):
                raise InputError(f"{name} must be one of {', '.join(get_args(choices))}: got {getattr(self, name)!r}")
        for name in ("bins", "window_us", "count_cutoff"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1: got {getattr(self, name)}")

    @property
    def max_class_id(self) -> int | None:
        """Boxes with larger class ids are dropped before anything else."""
        return 2 if self.preset == "gen4" else None

    @property
    def representation_path(self) -> str:
        """Path of the tensors inside a sequence folder, named as RVT names it."""
        folder = f"stacked_histogram_dt={self.window_us / 1000:g}_nbins={self.bins}"
        suffix = "_ds2_nearest" if self.downsample == "nearest" else ""
        return f"event_representations_v2/{folder}/event_representations{suffix}.h5"

    def representation(self, height: int, width: int) -> StackedHistogram:
        """The representation for a sensor of this size in pixels."""
        return StackedHistogram(height, width, self.bins, self.count_cutoff, downsample=self.downsample)


class Source(NamedTuple):
    """The two files of one recording; ``split`` train also drops boxes that are too wide."""

    split: str
    name: str
    events: Path
    labels: Path

    @property
    def files(self) -> dict[str, int]:
        """Size in bytes by file name: enough to notice that one was exchanged."""
        return {path.name: path.stat().st_size for path in (self.events, self.labels)}


def preprocess_recording(source: Source, folder: Path, settings: Settings) -> dict:
    """Write the sequence folder of ``source`` at ``folder`` and return its manifest; raises ``InputError``.

    Nothing is left at ``folder`` unless it is complete; one that exists is replaced.
    """
    boxes = load_boxes(source.labels)
    if len(boxes) == 0:
        raise InputError(f"{source.labels}: holds no boxes; label the recording or take it out of the folder")
    with open_recording(source.events) as recording:
        boxes, counts = _useful_boxes(boxes, recording, source, settings)
        boxes, frames = _frames_of(boxes, recording, source, settings, counts)
        with new_folder(folder) as new:
            representation = settings.representation(recording.height, recording.width)
            num_events = np.zeros(len(frames.repr_us), np.int64)
            write_labels(new, boxes, frames.label_us)
            path = new / settings.representation_path
            tensors = _tensors(recording, representation, frames, settings.window_us, num_events)
            write_representations(path.parent, path.name, frames, representation.shape, tensors)
            _check_any_events(num_events[frames.repr_index], frames, recording)
            recording.read_rest()
            manifest = {
                "recording": source.name,
                "split": source.split,
                "source_files": source.files,
                **asdict(settings),
                **_geometry(recording, representation, settings),
                **_contents(boxes, frames, num_events, recording),
                "dropped": {"events_out_of_frame": recording.dropped_out_of_frame, **counts},
            }
            write_manifest(new, manifest)
    return read_manifest(folder)


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


def _frames_of(
    boxes: np.ndarray, recording: Recording, source: Source, settings: Settings, counts: dict[str, int]
) -> tuple[np.ndarray, Frames]:
    """The frames and their boxes; adds what the frame rule leaves out to ``counts``."""
    label_us = np.unique(boxes["t"])
    try:
        frames = select_frames(label_us, recording.t_first_us, settings.frames, settings.window_us)
    except InputError as error:
        raise InputError(f"{source.labels}: {error}") from error
    is_used = np.isin(boxes["t"], frames.label_us)
    counts["label_frames_not_used"] = len(label_us) - len(frames.label_us)
    counts["boxes_in_unused_frames"] = int(np.count_nonzero(~is_used))
    return boxes[is_used], frames


def _tensors(
    recording: Recording, representation: StackedHistogram, frames: Frames, window_us: int, num_events: np.ndarray
) -> Iterator[np.ndarray]:
    """One tensor per window, each time in the same buffer; fills ``num_events`` (R,)."""
    buffer = np.empty(representation.shape, np.uint8)
    for index, end_us in enumerate(frames.repr_us.tolist()):
        events = recording.read(end_us - window_us, end_us)
        num_events[index] = len(events.t)
        yield representation(events, out=buffer)


def _check_any_events(num_events: np.ndarray, frames: Frames, recording: Recording) -> None:
    if not num_events.any():
        raise InputError(
            f"{recording.path}: no event before any label (events from {recording.t_first_us} to "
            f"{recording.t_last_us} us, labels from {frames.label_us[0]} to {frames.label_us[-1]} us); "
            "give both the same clock in microseconds"
        )


def _geometry(recording: Recording, representation: StackedHistogram, settings: Settings) -> dict:
    return {
        "width": recording.width,
        "height": recording.height,
        "sensor_size_is_assumed": recording.size_is_assumed,
        "representation_path": settings.representation_path,
        "representation_shape": list(representation.shape),
    }


def _contents(boxes: np.ndarray, frames: Frames, num_events: np.ndarray, recording: Recording) -> dict:
    ids, counts = np.unique(boxes["class_id"], return_counts=True)
    return {
        "num_events": recording.num_events,
        "t_first_us": recording.t_first_us,
        "t_last_us": recording.t_last_us,
        "stamps_corrected": recording.stamps_corrected,
        "frame_rule": frames.rule,
        "num_frames": len(frames.label_us),
        "num_representations": len(frames.repr_us),
        "frames_without_events": int(np.count_nonzero(num_events[frames.repr_index] == 0)),
        "boxes_per_class_id": {str(i): int(n) for i, n in zip(ids, counts, strict=True)},
    }
