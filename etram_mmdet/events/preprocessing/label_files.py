"""Find the label files of each recording in a folder, in all formats that are read."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from etram_mmdet.events.label_formats import LABEL_FORMATS, find_label_format
from etram_mmdet.events.label_formats.base import recording_names
from etram_mmdet.events.label_formats.clock import MAP_NAME, frame_times_beside
from etram_mmdet.utils.errors import InputError

ARRAY = "_bbox.npy"
_ARRAY_SUFFIX = ".npy"
_TEXT_SUFFIXES = tuple(
    suffix
    for format_ in LABEL_FORMATS.values()
    for suffix in format_.suffixes
    if suffix != _ARRAY_SUFFIX
)
_YOLO = LABEL_FORMATS["yolo"]
MAY_HOLD_SEVERAL = (".json", ".csv", ".tsv")


def name_of(path: Path) -> str:
    """Name of a recording in a dataset, from the path of its events or labels.

    Args:
        path: recording, label file, or folder of YOLO files.
    """
    # RVT's downloads have names such as NAME_td.dat.h5.
    stem = path.name if path.is_dir() else path.stem.removesuffix(".dat")
    return stem.removesuffix("_td").removesuffix("_bbox")


def expected_names(name: str) -> str:
    """Names of the files that may hold the labels of a recording, as text for messages.

    Args:
        name: name of the recording.
    """
    return (
        f"{name}{ARRAY}, {name} with {', '.join(_TEXT_SUFFIXES)}, or a folder {name} of YOLO files"
    )


def arrays_in(folders: Iterable[Path]) -> dict[str, list[Path]]:
    """Label arrays ``NAME_bbox.npy`` by the name of their recording; hidden files are left out.

    Args:
        folders: folders to search, without their subfolders.
    """
    return _by_name(path for folder in folders for path in folder.glob(f"[!.]*{ARRAY}"))


def others_in(folders: Iterable[Path], recordings: Iterable[Path]) -> dict[str, list[Path]]:
    """Possible label files in other formats, by the name of their recording.

    Maps of frames, hidden files and ``recordings`` are left out.

    Args:
        folders: folders to search, without their subfolders.
        recordings: paths of the recordings, which are no labels.
    """
    recordings = set(recordings)
    entries = (path for folder in folders for path in folder.iterdir() if path not in recordings)
    return _by_name(
        path for path in entries if not path.name.startswith(".") and _may_be_labels(path)
    )


def _by_name(paths: Iterable[Path]) -> dict[str, list[Path]]:
    files = defaultdict(list)
    for path in sorted(paths):
        files[name_of(path)].append(path)
    return files


def _may_be_labels(path: Path) -> bool:
    if path.is_dir():
        return _YOLO.has_labels(path)
    return path.suffix.lower() in _TEXT_SUFFIXES and not path.name.endswith(MAP_NAME)


def named_in(files: Iterable[Path], names: set[str]) -> tuple[dict[str, list[Path]], list[str]]:
    """Label files that hold several recordings, by the names of these recordings.

    Args:
        files: files that may hold several recordings.
        names: names of all known recordings.

    Returns:
        The files for each recording that is named, and a sentence for each file that names others
        or cannot be read.
    """
    found = defaultdict(list)
    problems = []
    for path in (path for path in files if path.suffix.lower() in MAY_HOLD_SEVERAL):
        try:
            texts = Counter(find_label_format(path).recordings(path))
            recordings = {text: _recording_of(path, text, names) for text in texts}
        except InputError as error:
            problems.append(str(error))
            continue
        for name in sorted(set(filter(None, recordings.values()))):
            found[name].append(path)
        others = [text for text, name in recordings.items() if name is None]
        if others:
            problems.append(
                f"{path}: {sum(texts[text] for text in others)} of {sum(texts.values())} images or "
                f"lines belong to no recording of this folder, the first is {others[0][:80]!r}; "
                "use file names such as RECORDING/frame_000012.png, or give the file the name of "
                "its only recording"
            )
    return found, problems


def _recording_of(path: Path, text: str, names: set[str]) -> str | None:
    found = [name for name in recording_names(text) if name in names]
    if len(found) > 1:
        several = " and ".join(found)
        raise InputError(
            f"{path}: {text[:80]!r} may belong to the recordings {several}; use file names such as "
            "RECORDING/frame_1.png"
        )
    return found[0] if found else None


def files_with(labels: Path, name: str, recording: Path) -> list[Path]:
    """All files that the labels of a recording depend on, ``labels`` first.

    Args:
        labels: label file, or folder of YOLO files.
        name: name of the recording.
        recording: path of the recording.

    Raises:
        InputError: when ``labels`` has no known format.
    """
    others = [labels.with_name(f"{name}_label_times.npy")]
    if not is_array(labels):
        others += [*find_label_format(labels).companions(labels), map_of(labels, name, recording)]
    return [path for path in (labels, *others) if path is not None and path.exists()]


def is_array(labels: Path) -> bool:
    """Whether labels are an array ``.npy``, the form that this project prefers.

    Args:
        labels: label file, or folder of YOLO files.
    """
    return labels.suffix == _ARRAY_SUFFIX


def map_of(labels: Path, name: str, recording: Path) -> Path | None:
    """The file that maps frames to times, beside the labels or the recording; ``None`` without one.

    Args:
        labels: label file, or folder of YOLO files.
        name: name of the recording.
        recording: path of the recording.
    """
    return frame_times_beside(labels, name) or frame_times_beside(recording, name)
