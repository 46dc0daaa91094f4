"""Reads the numbers of a data set from recordings or from preprocessed sequence folders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from etram_mmdet.analysis.dataset.census import Census, RecordingCensus
from etram_mmdet.analysis.dataset.of_folder import census_of_folder
from etram_mmdet.analysis.dataset.of_recording import census_of_source
from etram_mmdet.events.choices import SPLITS, LabelFiles
from etram_mmdet.events.class_sets import DEFAULT_CLASS_SET, chosen_classes, complete_metainfo
from etram_mmdet.events.preprocessing.settings import PreprocessSettings, checked_reading
from etram_mmdet.events.preprocessing.sources import find_sources
from etram_mmdet.utils.errors import InputError

Progress = Callable[..., Iterable]


def take_census(
    data_root: str | Path,
    class_set: str | Mapping = DEFAULT_CLASS_SET,
    settings: PreprocessSettings | None = None,
    *,
    metainfo: dict | None = None,
    label_files: LabelFiles = "auto",
    reading: Mapping | None = None,
    read_events: bool = True,
    progress: Progress = lambda recordings, total: recordings,
) -> Census:
    """Counts recordings, frames, boxes and events of a data folder.

    It reads the sequence folders in ``data_root`` if there are any, else the recordings.

    Args:
        data_root: folder with the splits ``train``, ``val`` and ``test``.
        class_set: classes, as :class:`ETraMDataset` takes them. Default: eTraM's.
        settings: how recordings become frames, and how many sensor pixels a network pixel is wide.
            Default: for recordings the defaults of tools/preprocess.py, for sequence folders the
            scale in the name of their tensors.
        metainfo: names and colours of classes, as :class:`ETraMDataset` takes them. Default: those
            of the class set.
        label_files: which of eTraM's label files are read: ``auto``, ``beside`` or ``eight_class``.
            Default: ``auto``.
        reading: fields of :class:`PreprocessSettings` that say how recordings and label files are
            read; unused if there are ``settings``. Default: none.
        read_events: whether to read events. If not, durations and event counts stay unknown.
            Default: yes.
        progress: wraps the list of recordings and gets their number as ``total``, such as ``tqdm``.
            Default: shows nothing.

    Raises:
        InputError: the folder is missing or none of its recordings can be used.
    """
    root = Path(data_root)
    classes = chosen_classes(class_set, metainfo)
    if not root.is_dir():
        raise InputError(
            f"{root}: no such data folder; check the path, or make a sample with "
            "tools/make_sample.py"
        )
    folders = [(split, folder) for split in SPLITS for folder in sequence_folders(root / split)]
    if folders:
        tasks = [partial(census_of_folder, *f, settings, classes, read_events) for f in folders]
        problems = []
    else:
        sources, problems = find_sources(root, label_files)
        settings = settings or PreprocessSettings(class_set=class_set, **(reading or {}))
        tasks = [partial(census_of_source, s, settings, classes, read_events) for s in sources]
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
    return Census(
        root, classes.name, tuple(names["classes"]), tuple(names["palette"]), recordings, problems
    )


def data_of_config(cfg: Mapping, path: str | Path) -> dict:
    """Returns the training data of a config as arguments of :func:`take_census`.

    Args:
        cfg: a complete config.
        path: path of the config, named in errors.

    Raises:
        InputError: the config has no training data, or several data sets.
    """
    data = cfg.get("train_dataloader", {}).get("dataset", {})
    if "dataset" in data or "datasets" in data:
        raise InputError(
            f"{path}: train_dataloader has several data sets ({data.get('type')}); name one of "
            "their folders instead"
        )
    if "data_root" not in data:
        raise InputError(
            f"{path}: has no train_dataloader.dataset.data_root; name a training config, or a "
            "folder"
        )
    defaults = PreprocessSettings()
    settings = PreprocessSettings(
        data.get("preset", defaults.preset),
        data.get("frames", defaults.frames),
        data.get("window_us", defaults.window_us),
        data.get("sensor_px"),
        dict(data.get("representation", defaults.representation)),
        class_set=data.get("class_set"),
        **checked_reading(
            {k: v for k, v in (data.get("reading") or {}).items() if k != "keep_implausible"}
        ),
    )
    return dict(
        data_root=data.data_root,
        class_set=data.get("class_set", DEFAULT_CLASS_SET),
        settings=settings,
        metainfo=data.get("metainfo"),
        label_files=data.get("label_files", "auto"),
    )


def sequence_folders(folder: Path) -> list[Path]:
    """Lists the preprocessed recordings of a split, sorted by name.

    Args:
        folder: folder of the split.
    """
    return sorted(f for f in folder.glob("[!.]*") if (f / "labels_v2").is_dir())


def _differing_shapes(root: Path, recordings: list[RecordingCensus]) -> list[str]:
    shapes = {r.frame_shape: f"{r.split}/{r.name}" for r in recordings if r.frame_shape}
    if len(shapes) <= 1:
        return []
    listed = ", ".join(f"{shape} ({name})" for shape, name in shapes.items())
    return [
        f"{root}: frames of the sequences differ in (channels, height, width): {listed}; put each "
        "shape into a folder of its own"
    ]
