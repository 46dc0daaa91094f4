"""Read the numbers of a data set from recordings or from preprocessed sequence folders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from etram_mmdet.analysis.dataset.census import BoxSizes, Census, RecordingCensus
from etram_mmdet.datasets.recording_frames import class_labels
from etram_mmdet.datasets.sequence_layout import check_kind, load_boxes_of, load_integers, load_layout
from etram_mmdet.events.choices import SPLITS, LabelFiles
from etram_mmdet.events.class_mapping import LEFT_OUT, ClassSet
from etram_mmdet.events.class_sets import DEFAULT_CLASS_SET, chosen_classes, complete_metainfo
from etram_mmdet.events.formats import Recording, open_recording
from etram_mmdet.events.preprocessing.box_activity import BoxActivity
from etram_mmdet.events.preprocessing.checksums import check_files
from etram_mmdet.events.preprocessing.examination import Examination
from etram_mmdet.events.preprocessing.frame_store import FrameFile
from etram_mmdet.events.preprocessing.labelled_frames import LabelledFrames, find_frames
from etram_mmdet.events.preprocessing.plausibility import (
    WINDOW_US,
    Times,
    doubts_about_activity,
    doubts_about_times,
)
from etram_mmdet.events.preprocessing.sequence_folder import (
    MANIFEST,
    class_names_of,
    read_manifest,
    representation_path,
)
from etram_mmdet.events.preprocessing.settings import PreprocessSettings, checked_reading
from etram_mmdet.events.preprocessing.sources import Source, find_sources
from etram_mmdet.events.representations import build_representation
from etram_mmdet.utils.errors import InputError

Progress = Callable[..., Iterable]


def take_census(
    data_root: str | Path,
    class_set: str | Mapping = DEFAULT_CLASS_SET,
    settings: PreprocessSettings | None = None,
    *,
    metainfo: dict | None = None,
    label_files: LabelFiles = "auto",
    read_events: bool = True,
    progress: Progress = lambda recordings, total: recordings,
) -> Census:
    """Look through the sequence folders of ``data_root`` where it holds any, else through its recordings.

    ``settings`` decide how recordings become frames and how large a network pixel is; without them recordings are
    taken as tools/preprocess.py does, and of a sequence folder the name of its tensors tells. ``class_set`` and
    ``metainfo`` mean what they mean to :class:`ETraMDataset`. Without ``read_events`` durations and counts of events
    stay unknown.

    Raises:
        InputError: when there is no usable recording at all.
    """
    root = Path(data_root)
    classes = chosen_classes(class_set, metainfo)
    if not root.is_dir():
        raise InputError(f"{root}: no such data folder; check the path, or make a sample with tools/make_sample.py")
    folders = [(split, folder) for split in SPLITS for folder in _sequence_folders(root / split)]
    if folders:
        tasks = [partial(_of_folder, *f, settings, classes, read_events) for f in folders]
        problems = []
    else:
        sources, problems = find_sources(root, label_files)
        tasks = [
            partial(_of_source, s, settings or PreprocessSettings(class_set=class_set), classes, read_events)
            for s in sources
        ]
    recordings = []
    for task in progress(tasks, total=len(tasks)):
        try:
            recordings.append(task())
        except InputError as error:
            problems.append(str(error))
    if not recordings:
        raise InputError(f"{root}: no recording can be used\n" + "\n".join(problems))
    problems += [f"{r.split}/{r.name}: {doubt}" for r in recordings for doubt in r.doubts]
    problems += _differing_shapes(root, recordings)
    names = complete_metainfo(classes, metainfo)
    return Census(root, classes.name, tuple(names["classes"]), tuple(names["palette"]), recordings, problems)


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
        class_set=data.get("class_set"),
        **checked_reading({k: v for k, v in (data.get("reading") or {}).items() if k != "keep_implausible"}),
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


def _differing_shapes(root: Path, recordings: list[RecordingCensus]) -> list[str]:
    shapes = {r.frame_shape: f"{r.split}/{r.name}" for r in recordings if r.frame_shape}
    if len(shapes) <= 1:
        return []
    listed = ", ".join(f"{shape} ({name})" for shape, name in shapes.items())
    return [f"{root}: sequences differ in (channels, height, width): {listed}; separate them"]


def _of_source(source: Source, settings: PreprocessSettings, classes: ClassSet, read_events: bool) -> RecordingCensus:
    with open_recording(source.events, **settings.opening) as recording:
        found = find_frames(recording, source, settings)
        scale = build_representation(settings.representation, recording.height, recording.width).scale
        counts = dict(dropped=found.dropped, doubts=tuple(found.doubts))
        if read_events:
            counts = _count_events(recording, found, settings)
        return RecordingCensus(
            source.split,
            source.name,
            _in_network_pixels(found.boxes, scale, classes, source.labels, found.class_names),
            found.frames.label_us,
            size_px=(recording.width, recording.height),
            size_is_assumed=recording.size_is_assumed,
            **counts,
        )


def _count_events(recording: Recording, found: LabelledFrames, settings: PreprocessSettings) -> dict:
    """Go through the whole recording, window by window first, since windows are read in order."""
    examination = Examination(recording, found, settings)
    empty = 0
    for end_us in found.frames.label_us.tolist():
        events = recording.read(end_us - settings.window_us, end_us)
        empty += not len(events.t)
        examination.look(end_us, events)
    recording.read_rest()
    return dict(
        duration_s=(recording.t_last_us - recording.t_first_us) / 1e6,
        num_events=recording.num_events,
        frames_without_events=empty,
        dropped=recording.dropped | found.dropped,
        doubts=tuple(examination.doubts()),
    )


def _of_folder(
    split: str, folder: Path, settings: PreprocessSettings | None, classes: ClassSet, read_events: bool
) -> RecordingCensus:
    labels = folder / "labels_v2" / "labels.npz"
    scale = _scale(folder) if settings is None else build_representation(settings.representation, 2, 2).scale
    rows = load_boxes_of(labels)
    boxes = _in_network_pixels(rows, scale, classes, labels, class_names_of(folder))
    label_us = load_integers(labels.with_name("timestamps_us.npy"))
    shape, doubts = _look_at_frames(folder, rows, label_us, scale, settings) if read_events else (None, ())
    if not (folder / MANIFEST).is_file():  # RVT's own folders have none
        return RecordingCensus(split, folder.name, boxes, label_us, frame_shape=shape, doubts=doubts)
    manifest = read_manifest(folder)
    check_files(folder, manifest)
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
        frame_shape=shape,
        doubts=doubts,
    )


def _look_at_frames(
    folder: Path, boxes: np.ndarray, label_us: np.ndarray, scale: int, settings: PreprocessSettings | None
) -> tuple[tuple[int, ...] | None, tuple[str, ...]]:
    """Shape of the frames, and doubts about the labels; times before the first frame and after the last are unknown."""
    settings = settings or PreprocessSettings()
    usual = folder / representation_path(build_representation(settings.representation, 2, 2), settings.window_us)
    path = next(iter(sorted(folder.glob("event_representations_v2/*/event_representations*.h5"))), None)
    if path is None or not len(label_us):
        return None, ()
    with FrameFile(path) as frames:
        if path == usual:
            check_kind(path, frames.shape[1], frames.dtype, settings.representation)
        repr_us = load_layout(folder, path, frames.shape[0])["t_us"]
        examination = BoxActivity(boxes, label_us, frames.shape[2:], scale)
        for end_us in sorted(examination.frame_us & set(repr_us.tolist())):
            index = int(np.searchsorted(repr_us, end_us))
            examination.look(end_us, (frames.read(index, index + 1)[0] != 0).any(0))
    first_us = int(repr_us[0]) - WINDOW_US
    times = Times(np.unique(label_us), first_us, int(repr_us[-1]), first_us)
    return frames.shape[1:], (*doubts_about_times(times), *doubts_about_activity(examination, "xywh"))


def _scale(folder: Path) -> int:
    """Sensor pixels per network pixel, which the name of the tensors tells."""
    tensors = folder.glob("event_representations_v2/*/event_representations*.h5")
    scales = {2 if "_ds2_" in path.name else 1 for path in tensors}
    if len(scales) != 1:
        found = "both full and halved frames" if scales else "no event_representations_v2"
        raise InputError(f"{folder}: holds {found}, so the network's pixels are unknown; name a config instead")
    return scales.pop()


def _in_network_pixels(
    boxes: np.ndarray, scale: int, classes: ClassSet, path: Path, id_names: Mapping[int, str]
) -> BoxSizes:
    labels = class_labels(boxes["class_id"], classes, path, id_names)
    is_kept = labels != LEFT_OUT
    sizes = (boxes[name][is_kept].astype(np.float64) / scale for name in "wh")
    return BoxSizes(labels[is_kept], *sizes)
