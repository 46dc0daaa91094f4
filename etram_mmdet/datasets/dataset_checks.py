"""Which recordings a data set uses, whether they fit each other, and what it warns of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmengine.logging import print_log

from etram_mmdet.datasets.recording_frames import RecordingFrames
from etram_mmdet.events.class_mapping import ClassSet
from etram_mmdet.events.labels import MIN_SIDE_PX
from etram_mmdet.events.preprocessing.sequence_folder import forgotten_boxes
from etram_mmdet.utils.errors import InputError


def chosen_recordings(
    sequences: list[RecordingFrames], indices: int | Sequence[int] | None, folder: Path
) -> list[RecordingFrames]:
    """The recordings that the key ``indices`` of a data set names.

    Args:
        sequences: the recordings with labels, in order of their names.
        indices: as in :class:`ETraMDataset`; None for all recordings.
        folder: folder of the recordings, for messages.

    Raises:
        InputError: when there are not as many recordings, or one is named twice.
    """
    if indices is None or not sequences:
        return sequences
    numbers = range(len(sequences))
    if isinstance(indices, int):
        chosen = numbers[:indices] if indices > 0 else numbers[indices:]
        is_right = 0 < abs(indices) == len(chosen)
    else:
        chosen = indices
        is_right = 0 < len(chosen) == len(set(chosen) & set(numbers))
    if not is_right:
        raise InputError(
            f"{folder}: indices={indices}, but there are {len(numbers)} recordings with labels; "
            "give the number of recordings, or a list of different numbers from 0 to "
            f"{numbers[-1]}"
        )
    print_log(
        f"{folder}: uses {len(chosen)} of {len(numbers)} recordings, chosen by the key indices",
        "current",
    )
    return [sequences[number] for number in chosen]


def check_shapes(sequences: list[RecordingFrames], folder: Path) -> None:
    """Check that there are recordings and that their frames have one shape.

    Args:
        sequences: the recordings with labels.
        folder: their folder, for messages.

    Raises:
        InputError: when there is none, or their shapes differ.
    """
    if not sequences:
        raise InputError(
            f"{folder}: no sequence has a labelled frame; preprocess recordings with labels"
        )
    shapes = {(s.channels, *s.hw): s.name for s in sequences}
    if len(shapes) > 1:
        listed = ", ".join(f"{shape} ({name})" for shape, name in shapes.items())
        raise InputError(
            f"{folder}: sequences differ in (channels, height, width): {listed}; put them into "
            "separate folders"
        )


def padding(sequences: list[RecordingFrames], clip_length: int) -> str | None:
    """Warning that no recording is as long as a clip; None if one is.

    Args:
        sequences: the recordings.
        clip_length: frames of a clip.
    """
    longest = max(s.num_frames for s in sequences)
    if clip_length <= longest:
        return None
    return (
        f"clip_length={clip_length}, but its longest recording has {longest} frames: every clip is "
        "filled up with empty frames; set --cfg-options "
        f"train_dataloader.dataset.clip_length={longest}"
    )


def other_order(classes: ClassSet, class_set: ClassSet) -> str | None:
    """Warning that ``metainfo`` lists the first classes of a set in another order; None if not.

    Args:
        classes: the classes that a data set uses.
        class_set: the class set that they were chosen from.
    """
    chosen = classes.classes
    first = class_set.classes[: len(chosen)]
    if chosen == first or sorted(chosen) != sorted(first):
        return None
    return (
        f"metainfo chooses {', '.join(chosen)} of class_set {classes.name!r} by name; earlier "
        f"versions read them as the names of ids 0 to {len(chosen) - 1} in this order. For that, "
        f"set class_set=dict(classes={chosen})"
    )


def boxes_forgotten(folders: list[Path]) -> str | None:
    """Warning that an old version left out small boxes of some folders; None if it did not.

    Args:
        folders: sequence folders of one split.
    """
    forgotten = sum(map(forgotten_boxes, folders))
    if not forgotten:
        return None
    return (
        f"was preprocessed by a version that left out boxes under {MIN_SIDE_PX} px, up to "
        f"{forgotten} of them: detections of such objects count as false alarms. Run "
        "tools/preprocess.py with --overwrite, so that they are ignored"
    )
