"""Finds the classes in the label files of a folder and suggests a class set for a config."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from etram_mmdet.analysis.dataset.read import sequence_folders
from etram_mmdet.events.choices import SPLITS
from etram_mmdet.events.class_mapping import id_or_name, signed_ids
from etram_mmdet.events.class_sets import DEFAULT_CLASS_SET
from etram_mmdet.events.formats import open_recording
from etram_mmdet.events.preprocessing.label_reading import read_labels
from etram_mmdet.events.preprocessing.sequence_folder import class_names_of
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.events.preprocessing.sources import Source, find_sources
from etram_mmdet.utils.errors import InputError

Key = int | str  # a name, or an id if the label files hold no names


def classes_in(sources: Iterable[Source], settings: PreprocessSettings) -> Counter[Key]:
    """Counts the boxes of each class in all label files.

    Args:
        sources: recordings with their label files.
        settings: how recordings and label files are read.

    Returns:
        Number of boxes by name, or by id if a label file holds no names. Names come in the order in
        which the files list them.

    Raises:
        InputError: no label file can be read.
    """
    found: Counter[Key] = Counter()
    problems = []
    for source in sources:
        try:
            with open_recording(source.events, **settings.opening) as recording:
                labels = read_labels(recording, source, settings)
        except InputError as error:
            problems.append(str(error))
            continue
        found.update(dict.fromkeys(labels.names or (), 0))
        ids, counts = np.unique(signed_ids(labels.boxes["class_id"]), return_counts=True)
        keys = [labels.names[i] if labels.names else i for i in ids.tolist()]
        found.update(dict(zip(keys, counts.tolist(), strict=True)))
    if problems and not found:
        raise InputError(problems[0])
    return found


def class_set_for(
    sources: Sequence[Source], settings: PreprocessSettings, words: Sequence[str]
) -> tuple[str | dict, list[str]]:
    """Chooses the class set of a config for recordings.

    eTraM's own folders with eight classes get eTraM's class set.

    Args:
        sources: recordings with their label files.
        settings: how recordings and label files are read.
        words: the user's classes, as :func:`suggest_class_set` takes them.

    Returns:
        The class set, and a list that holds one sentence if there are ids without names.

    Raises:
        InputError: no label file can be read, or ``words`` do not say which class an id is.
    """
    if not words and all(source.label_files == "eight_class" for source in sources):
        return DEFAULT_CLASS_SET, []
    found = classes_in(sources, settings)
    ids = sorted(key for key in found if isinstance(key, int))
    listed = ", ".join(f"{key} ({found[key]:,} boxes)" for key in ids)
    note = (
        f"the labels hold ids without names: {listed}; name them with --classes {ids[0]}=NAME ..."
        if ids
        else ""
    )
    return suggest_class_set(found, words), [note] if ids and not words else []


def class_set_in(root: Path) -> dict | None:
    """Returns the class set that the files of a folder name, ``None`` if they hold no names.

    Args:
        root: folder of sequence folders or of recordings with label files.

    Raises:
        InputError: the folder holds neither, or no label file can be read.
    """
    folders = [folder for split in SPLITS for folder in sequence_folders(root / split)]
    if folders:
        pairs = [pair for folder in folders for pair in class_names_of(folder).items()]
        # A name that is spelled in several ways keeps the first spelling.
        classes = {id_or_name(name): name for _, name in reversed(pairs)}
        order = dict.fromkeys(id_or_name(name) for _, name in pairs)
        return (
            dict(classes=tuple(classes[key] for key in order), mapping=dict(pairs))
            if pairs
            else None
        )
    found = classes_in(find_sources(root)[0], PreprocessSettings())
    return suggest_class_set(found) if _only_names(found) else None


def suggest_class_set(found: Mapping[Key, int], words: Sequence[str] = ()) -> dict:
    """Builds the ``class_set`` of a config, as :func:`get_class_set` takes it.

    Args:
        found: number of boxes by id or name, from :func:`classes_in`.
        words: the detector's classes in order, each ``NAME`` or ``KEY=NAME``; KEY is an id or name
            in the label files. Names without a KEY belong to the ids in ascending order. Default:
            the names in the files, or ``class_ID`` for ids without a name.

    Raises:
        InputError: ``words`` do not say which class each id is.
    """
    ids = sorted(key for key in found if isinstance(key, int))
    if not words:
        words = [
            f"{key}=class_{key}" if isinstance(key, int) else key
            for key in (*ids, *_only_names(found))
        ]
    pairs = [word.partition("=") for word in words]
    classes = tuple(dict.fromkeys(name if is_pair else key for key, is_pair, name in pairs))
    mapping = {id_or_name(key): name for key, is_pair, name in pairs if is_pair}
    if ids and not any(isinstance(key, int) for key in mapping):
        mapping |= dict(zip(_ids_of(classes, ids), classes, strict=True))
    if ids and (unknown := set(classes) - {*mapping.values(), *_only_names(found)}):
        name = next(name for name in classes if name in unknown)
        raise InputError(
            f"--classes {name}: no label has this name; write its id too, such as {ids[0]}={name}"
        )
    known = {id_or_name(key) for key in (*classes, *mapping)}
    leave_out = tuple(key for key in (*ids, *_only_names(found)) if id_or_name(key) not in known)
    if mapping == dict(enumerate(classes)):
        mapping = {}
    parts = dict(classes=classes, mapping=mapping, leave_out=leave_out)
    return {name: part for name, part in parts.items() if part}


def _only_names(found: Mapping[Key, int]) -> list[str]:
    return [key for key in found if isinstance(key, str)]


def _ids_of(classes: Sequence[str], ids: Sequence[int]) -> Sequence[int]:
    """Returns the id of each class, if the user wrote names only."""
    if 0 <= ids[0] and ids[-1] < len(classes):
        return range(len(classes))
    if len(ids) == len(classes):
        return ids
    raise InputError(
        f"--classes: {len(classes)} names ({', '.join(classes)}), but the label files hold the ids "
        f"{', '.join(map(str, ids))}; write the id of each: --classes {ids[0]}={classes[0]} ..."
    )
