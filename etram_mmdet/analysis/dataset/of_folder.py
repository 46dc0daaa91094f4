"""The numbers of one preprocessed recording, read from its sequence folder."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from etram_mmdet.analysis.dataset.box_events import BoxEvents
from etram_mmdet.analysis.dataset.census import RecordingCensus
from etram_mmdet.analysis.dataset.class_boxes import ClassBoxes, added_up, some_of
from etram_mmdet.datasets.sequence_layout import (
    check_kind,
    load_boxes_of,
    load_integers,
    load_layout,
)
from etram_mmdet.events.class_mapping import ClassSet
from etram_mmdet.events.preprocessing.checksums import check_files
from etram_mmdet.events.preprocessing.frame_store import FrameFile
from etram_mmdet.events.preprocessing.plausibility.box_activity import BoxActivity
from etram_mmdet.events.preprocessing.plausibility.boxes import doubts_about_activity
from etram_mmdet.events.preprocessing.plausibility.times import WINDOW_US, Times, doubts_about_times
from etram_mmdet.events.preprocessing.sequence_folder import (
    MANIFEST,
    class_names_of,
    read_manifest,
    representation_path,
)
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.events.representations import build_representation
from etram_mmdet.utils.errors import InputError


def census_of_folder(
    split: str,
    folder: Path,
    settings: PreprocessSettings | None,
    classes: ClassSet,
    read_events: bool,
) -> RecordingCensus:
    """Reads the numbers of one sequence folder.

    Args:
        split: split of the recording: ``train``, ``val`` or ``test``.
        folder: sequence folder in RVT's layout.
        settings: settings that name its tensors. Default: those of the only tensors in the folder.
        classes: meaning of its class ids.
        read_events: whether to read some of its frames, for the events in boxes.

    Raises:
        InputError: files are missing, damaged or contradict each other.
    """
    labels = folder / "labels_v2" / "labels.npz"
    scale = (
        _scale(folder)
        if settings is None
        else build_representation(settings.representation, 2, 2).scale
    )
    # Folders that RVT itself made have no manifest.
    manifest = read_manifest(folder) if (folder / MANIFEST).is_file() else None
    rows = load_boxes_of(labels)
    boxes = ClassBoxes.of(rows, classes, labels, class_names_of(folder))
    label_us = load_integers(labels.with_name("timestamps_us.npy"))
    made_with = settings or PreprocessSettings(**_made_with(manifest))
    seen = _look_at_frames(folder, rows, boxes, label_us, scale, made_with) if read_events else {}
    downsample = build_representation(made_with.representation, 2, 2).downsample
    common = dict(left_out=boxes.left_out, downsample=downsample, **seen)
    if manifest is None:
        return RecordingCensus(split, folder.name, boxes.sizes(scale), label_us, **common)
    check_files(folder, manifest)
    return RecordingCensus(
        split,
        folder.name,
        boxes.sizes(scale),
        label_us,
        size_px=(manifest["width"], manifest["height"]),
        size_is_assumed=manifest["sensor_size_is_assumed"],
        duration_s=(manifest["t_last_us"] - manifest["t_first_us"]) / 1e6,
        num_events=manifest["num_events"],
        frames_without_events=manifest["frames_without_events"],
        events_in_frames=manifest.get("events_in_frames"),
        events_left_out=manifest.get("events_left_out_by_downsample"),
        dropped=manifest["dropped"],
        **common,
    )


def _made_with(manifest: dict | None) -> dict:
    """Returns the settings of a manifest that name the folder's tensors."""
    return {
        key: manifest[key] for key in ("representation", "window_us") if key in (manifest or {})
    }


def _look_at_frames(
    folder: Path,
    rows: np.ndarray,
    boxes: ClassBoxes,
    label_us: np.ndarray,
    scale: int,
    settings: PreprocessSettings,
) -> dict:
    """Returns the shape of the frames, events in the boxes of some, and doubts about the labels.

    A sequence folder does not say which times before its first and after its last frame were
    recorded.
    """
    usual = folder / representation_path(
        build_representation(settings.representation, 2, 2), settings.window_us
    )
    path = next(
        iter(sorted(folder.glob("event_representations_v2/*/event_representations*.h5"))), None
    )
    if path is None or not len(label_us):
        return {}
    with FrameFile(path) as frames:
        if path == usual:
            check_kind(path, frames.shape[1], frames.dtype, settings.representation)
        repr_us = load_layout(folder, path, frames.shape[0])["t_us"]
        shown = (
            build_representation(settings.representation, *frames.shape[2:])
            if path == usual
            else None
        )
        examination = BoxActivity(rows, label_us, frames.shape[2:], scale)
        looked_at = some_of(label_us)
        box_events = []
        for end_us in sorted((examination.frame_us | looked_at) & set(repr_us.tolist())):
            index = int(np.searchsorted(repr_us, end_us))
            frame = frames.read(index, index + 1)[0]
            if end_us in examination.frame_us:
                examination.look(end_us, (frame != 0).any(0))
            if end_us in looked_at:
                events = shown.off_on(frame).sum(0) if shown else (frame != 0).any(0)
                box_events.append(
                    boxes.events_at(end_us, events, scale, added_up(shown) if shown else 1)
                )
    first_us = int(repr_us[0]) - WINDOW_US
    times = Times(np.unique(label_us), first_us, int(repr_us[-1]), first_us)
    return dict(
        frame_shape=frames.shape[1:],
        box_events=BoxEvents.joined(box_events),
        doubts=(*doubts_about_times(times), *doubts_about_activity(examination, "xywh")),
    )


def _scale(folder: Path) -> int:
    """Returns the sensor pixels for a network pixel, which the name of the tensors holds."""
    tensors = folder.glob("event_representations_v2/*/event_representations*.h5")
    factors = (re.search(r"_ds(\d+)_", path.name) for path in tensors)
    scales = {int(factor[1]) if factor else 1 for factor in factors}
    if len(scales) != 1:
        found = "both full and halved frames" if scales else "no event_representations_v2"
        raise InputError(
            f"{folder}: holds {found}, so the size of a network pixel is unknown; name a config "
            "instead of the folder"
        )
    return scales.pop()
