"""Which files of a dataset folder belong together: a recording and the labels beside it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from etram_mmdet.events.choices import SPLITS, LabelFiles
from etram_mmdet.events.formats import FORMATS
from etram_mmdet.events.formats.text_files import TextRecording
from etram_mmdet.utils.errors import InputError

_SUFFIXES = {suffix for format_ in FORMATS for suffix in format_.suffixes}


class Source(NamedTuple):
    """The two files of one recording; ``split`` train also drops boxes that are too wide."""

    split: str
    name: str
    events: Path
    labels: Path

    @property
    def paths(self) -> list[Path]:
        """The files that decide what the recording becomes, that of label times where there is one."""
        times = self.labels.with_name(f"{self.name}_label_times.npy")
        return [path for path in (self.events, self.labels, times) if path.is_file()]

    @property
    def label_files(self) -> LabelFiles:
        """Which of eTraM's labels these are."""
        return "beside" if self.labels.parent == self.events.parent else "eight_class"


def find_sources(root: Path, labels: LabelFiles = "auto") -> tuple[list[Source], list[str]]:
    """The recordings of a dataset folder, and a sentence for everything that is missing beside them.

    A split without a folder is no fault: it has no recordings.

    Two layouts are known. Ours: ``root/{train,val,test}`` with ``NAME_td.SUFFIX`` (or ``NAME.SUFFIX``) and
    ``NAME_bbox.npy``. eTraM's download: ``root/HDF5/{train,val,test}_h5_N``, grouped labels of three classes beside the
    recordings and those of eight in ``root/class annotations/eight_class_annotations_SPLIT``; ``labels`` chooses
    between them, ``"auto"`` prefers the eight classes.
    """
    sources = []
    problems = []
    for split in SPLITS:
        event_folders, label_folders = _folders(root, split, labels)
        if not event_folders:
            continue
        found, more_problems = _pair(split, event_folders, label_folders)
        sources += found
        problems += more_problems
    if not sources:
        found = "\n".join(problems)
        raise InputError(
            f"{root}: no recordings NAME_td.h5 with labels NAME_bbox.npy in {', '.join(SPLITS)}; "
            f"check the path, or make a small dataset with tools/make_sample.py\n{found}".rstrip()
        )
    return sources, problems


def _folders(root: Path, split: str, labels: LabelFiles) -> tuple[list[Path], list[Path]]:
    """Where the recordings of a split lie, and where their labels."""
    eight = root / "class annotations" / f"eight_class_annotations_{split}"
    if (root / split).is_dir():
        events = [root / split]
    else:
        events = sorted(p for p in [*root.glob(f"HDF5/{split}_h5_*"), *root.glob(f"{split}_h5_*")] if p.is_dir())
    if labels == "eight_class" and events and not eight.is_dir():
        raise InputError(f"{eight}: no such folder; download eTraM's class annotations, or use --labels beside")
    return events, [eight] if eight.is_dir() and labels != "beside" else events


def _pair(split: str, event_folders: list[Path], label_folders: list[Path]) -> tuple[list[Source], list[str]]:
    events = _by_name(p for folder in event_folders for p in folder.iterdir() if _is_recording(p))
    labels = _by_name(p for folder in label_folders for p in folder.glob("[!.]*_bbox.npy"))
    beside = "beside it" if label_folders == event_folders else f"in {label_folders[0]}"
    sources = []
    problems = []
    for name in sorted(events.keys() | labels.keys()):
        recordings = events.get(name, [])
        label_files = labels.get(name, [])
        if len(recordings) == len(label_files) == 1:
            sources.append(Source(split, name, recordings[0], label_files[0]))
        elif not label_files:
            advice = "put them there or take the recording away"
            problems.append(f"{recordings[0]}: no labels {name}_bbox.npy {beside}; {advice}")
        elif not recordings:
            problems.append(
                f"{label_files[0]}: no recording {name}_td.h5 beside it; put it there or take the labels away"
            )
        else:
            files = recordings if len(recordings) > 1 else label_files
            listed = ", ".join(map(str, files))
            problems.append(f"{listed}: {len(files)} files for the one recording {name}; keep one of them")
    return sources, problems


def _by_name(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """Hidden files stay out: they are parts of files that somebody still writes, or a Mac's notes."""
    files = defaultdict(list)
    for path in sorted(path for path in paths if not path.name.startswith(".")):
        files[name_of(path)].append(path)
    return files


def name_of(path: Path) -> str:
    """What recordings and their labels are called in data sets."""
    stem = path.stem.removesuffix(".dat")  # RVT's downloads of Gen1 are called NAME_td.dat.h5
    return stem.removesuffix("_td").removesuffix("_bbox")


def _is_recording(path: Path) -> bool:
    """Hidden files are those that somebody else writes now, or what macOS leaves on other drives.

    Of text files, which may hold anything, only those named ``NAME_td`` count.
    """
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES or path.name.startswith(".") or not path.is_file():
        return False
    is_named = suffix not in TextRecording.suffixes or path.stem.endswith("_td")
    return is_named and not path.stem.endswith(("_bbox", "_label_times"))
