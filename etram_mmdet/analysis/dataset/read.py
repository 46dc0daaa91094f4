"""Read the numbers of a data set from recordings or from preprocessed sequence folders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from etram_mmdet.analysis.dataset.census import BoxSizes, Census, RecordingCensus
from etram_mmdet.datasets.recording_frames import class_labels
from etram_mmdet.events.choices import SPLITS, LabelFiles
from etram_mmdet.events.class_sets import DEFAULT_CLASS_SET, ClassSet, get_class_set
from etram_mmdet.events.formats import Recording, open_recording
from etram_mmdet.events.formats.array_files import PREPROCESS_AGAIN, load_array
from etram_mmdet.events.preprocessing.labelled_frames import find_frames
from etram_mmdet.events.preprocessing.sequence_folder import MANIFEST, read_manifest
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.events.preprocessing.sources import Source, find_sources
from etram_mmdet.events.representations import build_representation
from etram_mmdet.utils.errors import InputError

Progress = Callable[..., Iterable]


def take_census(
    data_root: str | Path,
    class_set: str = DEFAULT_CLASS_SET,
    settings: PreprocessSettings | None = None,
    *,
    metainfo: dict | None = None,
    label_files: LabelFiles = "auto",
    read_events: bool = True,
    progress: Progress = lambda recordings, total: recordings,
) -> Census:
    """Look through the sequence folders of ``data_root`` where it holds any, else through its recordings.

    ``settings`` decide how recordings become frames and how large a network pixel is; without them recordings are
    taken as tools/preprocess.py does, and of a sequence folder the name of its tensors tells. ``metainfo`` overrides
    class names and palette. Without ``read_events`` durations and counts of events stay unknown.

    Raises:
        InputError: when there is no usable recording at all.
    """
    root = Path(data_root)
    classes = get_class_set(class_set)
    if not root.is_dir():
        raise InputError(f"{root}: no such data folder; check the path, or make a sample with tools/make_sample.py")
    folders = [(split, folder) for split in SPLITS for folder in _sequence_folders(root / split)]
    if folders:
        tasks = [partial(_of_folder, *f, settings, classes) for f in folders]
        problems = []
    else:
        sources, problems = find_sources(root, label_files)
        tasks = [partial(_of_source, s, settings or PreprocessSettings(), classes, read_events) for s in sources]
    recordings = []
    for task in progress(tasks, total=len(tasks)):
        try:
            recordings.append(task())
        except InputError as error:
            problems.append(str(error))
    if not recordings:
        raise InputError(f"{root}: no recording can be used\n" + "\n".join(problems))
    names = {**classes.metainfo, **(metainfo or {})}
    return Census(root, class_set, tuple(names["classes"]), tuple(names["palette"]), recordings, problems)


def data_of_config(cfg: Mapping, path: str | Path) -> dict:
    """The training data of a config as arguments of :func:`take_census`; ``path`` names it in errors.

    Raises:
        InputError: for a config that names no training data.
    """
    data = cfg.get("train_dataloader", {}).get("dataset", {})
    if "dataset" in data or "datasets" in data:
        raise InputError(
            f"{path}: train_dataloader has several data sets ({data.get('type')}); name one of their folders instead"
        )
    if "data_root" not in data:
        raise InputError(f"{path}: no train_dataloader.dataset.data_root; name a training config, or a folder")
    defaults = PreprocessSettings()
    settings = PreprocessSettings(
        data.get("preset", defaults.preset),
        data.get("frames", defaults.frames),
        data.get("window_us", defaults.window_us),
        data.get("sensor_px"),
        dict(data.get("representation", defaults.representation)),
    )
    return dict(
        data_root=data.data_root,
        class_set=data.get("class_set", DEFAULT_CLASS_SET),
        settings=settings,
        metainfo=data.get("metainfo"),
        label_files=data.get("label_files", "auto"),
    )


def _sequence_folders(folder: Path) -> list[Path]:
    return sorted(f for f in folder.glob("[!.]*") if (f / "labels_v2").is_dir())


def _of_source(source: Source, settings: PreprocessSettings, classes: ClassSet, read_events: bool) -> RecordingCensus:
    with open_recording(source.events, settings.sensor_px) as recording:
        boxes, frames, dropped, _ = find_frames(recording, source, settings)
        scale = build_representation(settings.representation, recording.height, recording.width).scale
        counts = dict(dropped=dropped)
        if read_events:
            counts = _count_events(recording, frames.label_us, settings.window_us)
            counts["dropped"] = recording.dropped | dropped
        return RecordingCensus(
            source.split,
            source.name,
            _in_network_pixels(boxes, scale, classes, source.labels),
            frames.label_us,
            size_px=(recording.width, recording.height),
            size_is_assumed=recording.size_is_assumed,
            **counts,
        )


def _count_events(recording: Recording, label_us: np.ndarray, window_us: int) -> dict:
    """Go through the whole recording, window by window first, since windows are read in order."""
    empty = sum(not len(recording.read(end_us - window_us, end_us).t) for end_us in label_us.tolist())
    recording.read_rest()
    return dict(
        duration_s=(recording.t_last_us - recording.t_first_us) / 1e6,
        num_events=recording.num_events,
        frames_without_events=empty,
    )


def _of_folder(split: str, folder: Path, settings: PreprocessSettings | None, classes: ClassSet) -> RecordingCensus:
    labels = folder / "labels_v2" / "labels.npz"
    scale = _scale(folder) if settings is None else build_representation(settings.representation, 2, 2).scale
    boxes = _in_network_pixels(load_array(labels, "labels", PREPROCESS_AGAIN), scale, classes, labels)
    label_us = load_array(labels.with_name("timestamps_us.npy"), advice=PREPROCESS_AGAIN)
    if not (folder / MANIFEST).is_file():  # RVT's own folders have none
        return RecordingCensus(split, folder.name, boxes, label_us)
    manifest = read_manifest(folder)
    return RecordingCensus(
        split,
        folder.name,
        boxes,
        label_us,
        size_px=(manifest["width"], manifest["height"]),
        size_is_assumed=manifest["sensor_size_is_assumed"],
        duration_s=(manifest["t_last_us"] - manifest["t_first_us"]) / 1e6,
        num_events=manifest["num_events"],
        frames_without_events=manifest["frames_without_events"],
        dropped=manifest["dropped"],
    )


def _scale(folder: Path) -> int:
    """Sensor pixels per network pixel, which the name of the tensors tells."""
    tensors = folder.glob("event_representations_v2/*/event_representations*.h5")
    scales = {2 if "_ds2_" in path.name else 1 for path in tensors}
    if len(scales) != 1:
        found = "both full and halved frames" if scales else "no event_representations_v2"
        raise InputError(f"{folder}: holds {found}, so the network's pixels are unknown; name a config instead")
    return scales.pop()


def _in_network_pixels(boxes: np.ndarray, scale: int, classes: ClassSet, path: Path) -> BoxSizes:
    labels = class_labels(boxes["class_id"], classes, path)
    return BoxSizes(labels, boxes["w"].astype(np.float64) / scale, boxes["h"].astype(np.float64) / scale)
