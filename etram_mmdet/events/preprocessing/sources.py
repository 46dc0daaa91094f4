"""Find the recordings of a dataset folder and the labels of each."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

from etram_mmdet.events.choices import SPLITS, LabelFiles
from etram_mmdet.events.formats import FORMATS
from etram_mmdet.events.formats.text_files import TextRecording
from etram_mmdet.events.preprocessing.label_files import (
    ARRAY,
    arrays_in,
    expected_names,
    files_with,
    name_of,
    named_in,
    others_in,
)
from etram_mmdet.utils.errors import InputError

_EIGHT_CLASS = "eight_class_annotations_"
_SUFFIXES = {suffix for format_ in FORMATS for suffix in format_.suffixes}


class Source(NamedTuple):
    """A recording and its labels.

    Attributes:
        split: ``train``, ``val`` or ``test``. In ``train``, boxes that are too wide are dropped.
        name: name of the recording.
        events: path of the recording.
        labels: path of the label file, or of a folder of YOLO files.
    """

    split: str
    name: str
    events: Path
    labels: Path

    @property
    def paths(self) -> list[Path]:
        """Files and folders that the sequence folder depends on; raises ``InputError``."""
        return [self.events, *files_with(self.labels, self.name, self.events)]

    @property
    def full_name(self) -> str:
        """Split and name, as ``SPLIT/NAME``."""
        return f"{self.split}/{self.name}"

    @property
    def num_bytes(self) -> int:
        """Size of the recording's file, by which the work is divided."""
        return self.events.stat().st_size

    @property
    def label_files(self) -> LabelFiles:
        """Which of eTraM's labels these are: ``eight_class`` or ``beside``."""
        return "eight_class" if self.labels.parent.name.startswith(_EIGHT_CLASS) else "beside"

    @property
    def is_shared(self) -> bool:
        """Whether the label file also holds other recordings, by their names."""
        return name_of(self.labels) != self.name


class _Unlabelled(NamedTuple):
    """A recording without labels of its own."""

    split: str
    name: str
    events: Path
    label_folder: Path


def find_sources(root: Path, labels: LabelFiles = "auto") -> tuple[list[Source], list[str]]:
    """Find the recordings of a dataset folder and their labels.

    A split without a folder is no problem: it has no recordings.

    Two layouts are known. Our own is ``root/{train,val,test}`` with ``NAME_td.SUFFIX`` (or
    ``NAME.SUFFIX``) and ``NAME_bbox.npy``. eTraM's download is ``root/HDF5/{train,val,test}_h5_N``,
    with grouped labels of three classes beside the recordings and labels of eight classes in
    ``root/class annotations/eight_class_annotations_SPLIT``.

    Without ``NAME_bbox.npy``, labels may have another format (see ``label_formats``): ``NAME.json``
    and so on, a folder ``NAME``, or a COCO or CSV file of any name, beside the recordings or in
    ``root``, that names the recordings.

    Args:
        root: the dataset folder.
        labels: which labels of eTraM's download are used: ``"beside"`` or ``"eight_class"``.
            Default: ``"auto"``, the eight classes if they are there.

    Returns:
        The recordings, and a sentence for each file that lacks its recording or labels.

    Raises:
        InputError: when there is no recording with labels.
    """
    sources = []
    unlabelled = []
    problems = []
    for split in SPLITS:
        event_folders, label_folders = _folders(root, split, labels)
        if event_folders:
            found, without, more_problems = _pair(split, event_folders, label_folders)
            sources += found
            unlabelled += without
            problems += more_problems
    found, more_problems = _pair_shared(root, sources, unlabelled)
    sources = sorted(
        [*sources, *found], key=lambda source: (SPLITS.index(source.split), source.name)
    )
    problems += more_problems
    if not sources:
        found = "\n".join(problems)
        flat = root.is_dir() and any(map(is_recording, root.iterdir()))
        advice = "check the path, or make a small dataset with tools/make_sample.py"
        if flat:
            advice = (
                f"recordings lie in {root} itself: move them and their labels into "
                f"{root / 'train'}, some into val"
            )
        raise InputError(
            f"{root}: no recordings NAME_td.h5 with labels NAME_bbox.npy in {', '.join(SPLITS)}; "
            f"{advice}\n{found}".rstrip()
        )
    return sources, problems


def has_split(root: Path, split: str) -> bool:
    """Whether a folder of recordings or of sequence folders holds anything for a split.

    Args:
        root: the dataset folder.
        split: ``train``, ``val`` or ``test``.
    """
    folders, _ = _folders(root, split, "beside")
    return any(not path.name.startswith(".") for folder in folders for path in folder.iterdir())


def _folders(root: Path, split: str, labels: LabelFiles) -> tuple[list[Path], list[Path]]:
    """Folders of a split's recordings, and folders of their labels."""
    eight = root / "class annotations" / f"{_EIGHT_CLASS}{split}"
    if (root / split).is_dir():
        events = [root / split]
    else:
        events = sorted(
            p for p in [*root.glob(f"HDF5/{split}_h5_*"), *root.glob(f"{split}_h5_*")] if p.is_dir()
        )
    if labels == "eight_class" and events and not eight.is_dir():
        raise InputError(
            f"{eight}: no such folder; download eTraM's class annotations, or use --labels beside"
        )
    return events, [eight] if eight.is_dir() and labels != "beside" else events


def _pair(
    split: str, event_folders: list[Path], label_folders: list[Path]
) -> tuple[list[Source], list[_Unlabelled], list[str]]:
    events = _recordings(event_folders)
    arrays = arrays_in(label_folders)
    others = others_in(label_folders, (path for paths in events.values() for path in paths))
    sources = []
    unlabelled = []
    problems = []
    for name in sorted(events.keys() | arrays.keys()):
        recordings = events.get(name, [])
        label_files = arrays.get(name) or others.get(name, [])
        if len(recordings) == len(label_files) == 1:
            sources.append(Source(split, name, recordings[0], label_files[0]))
        elif len(recordings) == 1 and not label_files:
            unlabelled.append(_Unlabelled(split, name, recordings[0], label_folders[0]))
        elif not recordings:
            problems.append(
                f"{label_files[0]}: no recording {name}_td.h5 beside it; put it there or remove "
                "the labels"
            )
        else:
            files = recordings if len(recordings) > 1 else label_files
            problems.append(_too_many(files, name))
    return sources, unlabelled, problems


def _pair_shared(
    root: Path, labelled: list[Source], unlabelled: list[_Unlabelled]
) -> tuple[list[Source], list[str]]:
    """Recordings whose labels are in a file that names several recordings.

    The file lies in the folder of their split or in ``root``.
    """
    if not unlabelled:
        return [], []
    names = {source.name for source in (*labelled, *unlabelled)}
    folders = {root} | {source.label_folder for source in unlabelled}
    candidates = others_in(folders, ())
    shared, problems = named_in(
        (path for name in candidates.keys() - names for path in candidates[name]), names
    )
    counts = Counter(source.name for source in unlabelled)
    sources = []
    for split, name, events, folder in unlabelled:
        found = [path for path in shared.get(name, []) if path.parent == folder] or shared.get(
            name, []
        )
        found = [path for path in found if path.parent in (folder, root)]
        if len(found) == 1 and (found[0].parent == folder or counts[name] == 1):
            sources.append(Source(split, name, events, found[0]))
        elif len(found) == 1:
            problems.append(
                f"{found[0]}: {name} is a recording of several splits; put a label file into the "
                "folder of each split"
            )
        elif found:
            problems.append(_too_many(found, name))
        else:
            beside = "beside it" if folder == events.parent else f"in {folder}"
            problems.append(
                f"{events}: no labels {name}{ARRAY} {beside}; put {expected_names(name)} there, or "
                "remove the recording"
            )
    return sources, problems


def _too_many(files: list[Path], name: str) -> str:
    listed = ", ".join(map(str, files))
    return (
        f"{listed}: {len(files)} files belong to recording {name}, expected one; keep one of them"
    )


def _recordings(folders: list[Path]) -> dict[str, list[Path]]:
    """Recordings by name.

    Hidden files are left out: unfinished downloads, or files that macOS leaves on other drives.
    """
    files = defaultdict(list)
    for path in sorted(
        path for folder in folders for path in folder.iterdir() if is_recording(path)
    ):
        files[name_of(path)].append(path)
    return files


def is_recording(path: Path) -> bool:
    """Whether a file is a recording, by its name.

    Hidden files are not: they are unfinished, or files that macOS leaves on other drives. Text
    files may hold anything, so only those named ``NAME_td`` count.

    Args:
        path: the file.
    """
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES or path.name.startswith(".") or not path.is_file():
        return False
    is_named = suffix not in TextRecording.suffixes or path.stem.endswith("_td")
    return is_named and not path.stem.endswith(("_bbox", "_label_times"))


def sources_by_size(src: Path, labels: LabelFiles) -> tuple[list[Source], list[str]]:
    """Recordings of a dataset folder, and problems.

    The largest come first, so that no long one is left over for one worker at the end.

    Args:
        src: the dataset folder.
        labels: see :func:`find_sources`.

    Raises:
        InputError: when the folder holds no recording with labels.
    """
    sources, problems = find_sources(src, labels)
    return sorted(sources, key=lambda s: (-s.num_bytes, s.split, s.name)), problems


def missing_splits(src: Path, sources: list[Source]) -> list[str]:
    """One sentence about the splits without recordings, if there are any.

    Args:
        src: the dataset folder.
        sources: its recordings.
    """
    missing = [split for split in SPLITS if split not in {source.split for source in sources}]
    return [f"{src}: no recordings for {' and '.join(missing)}"] if missing else []
