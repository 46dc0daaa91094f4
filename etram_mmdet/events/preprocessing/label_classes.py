"""Sort the boxes of a label file by class: used, left out, ignored, or the file is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from etram_mmdet.events.class_mapping import IGNORED_ID, ClassSet, signed_ids
from etram_mmdet.events.class_sets import CLASS_SETS, get_class_set
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.events.preprocessing.sources import Source
from etram_mmdet.utils.errors import InputError

_OF_EIGHT_CLASSES = "etram8"
_OF_PRESET = {"gen1": "gen1", "gen4": "1mpx"}
_LEFT_OUT = "boxes_left_out:"
_TO_IGNORE = "boxes_to_ignore"
_UNKNOWN = "boxes_unknown_class:"
# Reasons, or starts of reasons, for boxes that the user chose to leave out.
BY_CLASS = (_LEFT_OUT, _TO_IGNORE, _UNKNOWN)
_NUM_KNOWN_IDS = max(len(class_set.class_names) for class_set in CLASS_SETS.values())


class SortedBoxes(NamedTuple):
    """Boxes of a label file, sorted by class.

    Attributes:
        used: boxes of the detector's classes.
        ignored: boxes of class -1, which evaluation ignores.
        dropped: number of other boxes by reason.
    """

    used: np.ndarray
    ignored: np.ndarray
    dropped: dict[str, int]


def class_set_of(settings: PreprocessSettings, source: Source) -> ClassSet | None:
    """Class set for the ids in a label file; ``None`` if the names of the ids are unknown.

    It is the class set of ``settings``. Without one, eTraM's folders of eight classes get
    ``etram8``, and files read with the presets ``gen1`` and ``gen4`` get ``gen1`` and ``1mpx``.

    Args:
        settings: settings of the preprocessing.
        source: the recording and its labels.
    """
    if settings.class_set is not None:
        return get_class_set(settings.class_set)
    name = (
        _OF_EIGHT_CLASSES
        if source.label_files == "eight_class"
        else _OF_PRESET.get(settings.preset)
    )
    return None if name is None else CLASS_SETS[name]


def as_asked(manifest: dict, settings: PreprocessSettings, source: Source) -> dict:
    """Manifest of a finished folder with today's class settings, if these change no box.

    A folder that was made without a class set gets the names of the requested one, unless it holds
    boxes that this set leaves out or does not know. If no class was unknown,
    ``drop_unknown_classes`` makes no difference and is taken over.

    Args:
        manifest: content of the folder's ``sequence.json``.
        settings: requested settings.
        source: the recording and its labels.
    """
    changes = {}
    drops = settings.drop_unknown_classes
    if drops != manifest.get("drop_unknown_classes", False) and not any(
        map(_is_unknown, manifest["dropped"])
    ):
        changes["drop_unknown_classes"] = drops
    if settings.class_set is not None and manifest.get("class_set") is None:
        class_set = class_set_of(settings, source)
        ids = [int(key) for key in manifest.get("boxes_per_class_id", {})]
        if all(class_set.knows(i) and class_set.class_of(i) is not None for i in ids):
            changes["class_set"] = settings.class_set
            changes["class_names"] = {str(i): name for i, name in class_set.class_names.items()}
    return manifest | changes


def _is_unknown(rule: str) -> bool:
    return rule == _TO_IGNORE or rule.startswith(_UNKNOWN)


def sort_by_class(
    boxes: np.ndarray,
    names: Sequence[str] | None,
    class_set: ClassSet | None,
    path: Path,
    drop_unknown: bool,
) -> SortedBoxes:
    """Sort boxes into used, ignored and dropped ones by their class.

    Args:
        boxes: boxes (n,) of ``BBOX_DTYPE``. If there are ``names``, ``class_id`` is an index into
            them, and used boxes get ids of ``class_set``.
        names: class names of a label file that holds names; ``None`` if it holds ids.
        class_set: meaning of the ids or names. ``None``: ids that some built-in set knows are used.
        path: the label file, for messages.
        drop_unknown: whether to drop boxes of unknown classes and to ignore those of class -1.

    Raises:
        InputError: when a class is unknown or -1 and ``drop_unknown`` is False, or when there are
            names and no class set.
    """
    if names is not None and class_set is None:
        raise InputError(
            f"{path}: holds class names ({', '.join(names[:5])}), which need a class set: pass "
            "--class-set NAME or FILE.json, or class_set to RawEventDataset (docs/classes.md)"
        )
    ids, places, counts = np.unique(
        signed_ids(boxes["class_id"]), return_inverse=True, return_counts=True
    )
    keys = [int(i) if names is None else names[i] for i in ids]
    classes = [_class_of(key, class_set) for key in keys]
    unknown = [
        (key, n) for key, n, c in zip(keys, counts, classes, strict=True) if isinstance(c, str)
    ]
    if unknown and not drop_unknown:
        _refuse_unknown(unknown, class_set, path)
    dropped = {
        c or f"{_LEFT_OUT}{class_set.class_names.get(key, key)}": int(n)
        for key, n, c in zip(keys, counts, classes, strict=True)
        if not isinstance(c, int)
    }
    is_used = np.array([isinstance(c, int) for c in classes], bool)[places]
    is_ignored = np.array([c == _TO_IGNORE for c in classes], bool)[places]
    used = boxes[is_used]
    if names is not None:
        used["class_id"] = np.array([c if isinstance(c, int) else 0 for c in classes], np.uint32)[
            places
        ][is_used]
    return SortedBoxes(used, boxes[is_ignored], dropped)


def _class_of(key: int | str, class_set: ClassSet | None) -> int | str | None:
    """Class of an id or name: ``None`` if left out, the reason as text if unknown."""
    if class_set is not None and class_set.knows(key):
        return class_set.class_of(key)
    if class_set is None and 0 <= key < _NUM_KNOWN_IDS:
        return key
    return _TO_IGNORE if key == IGNORED_ID else f"{_UNKNOWN}{key}"


def _refuse_unknown(
    unknown: list[tuple[int | str, int]], class_set: ClassSet | None, path: Path
) -> None:
    listed = ", ".join(f"{key!r}" for key, _ in unknown[:5])
    counts = ", ".join(f"{key!r}: {n} boxes" for key, n in unknown[:5])
    more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
    what = "ids" if all(isinstance(key, int) for key, _ in unknown) else "names"
    expected = (
        f"0 to {_NUM_KNOWN_IDS - 1}"
        if class_set is None
        else f"{class_set.known} of {class_set.name!r}"
    )
    raise InputError(
        f"{path}: unknown class {what} {listed}{more}, expected {expected} ({counts}{more}); map "
        "them to classes with --class-set (NAME or FILE.json, docs/classes.md), or drop their "
        "boxes with --drop-unknown-classes (evaluation then ignores boxes of class -1)"
    )
