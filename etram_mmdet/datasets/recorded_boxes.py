"""Boxes of a recording in network pixels, with the labels of a class set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from etram_mmdet.events.class_mapping import IGNORED_ID, LEFT_OUT, ClassSet, signed_ids
from etram_mmdet.events.labels import BBOX_DTYPE
from etram_mmdet.utils.errors import InputError


def is_flat(bboxes: np.ndarray) -> np.ndarray:
    """Whether each box has no width or no height: (n,) bool.

    Args:
        bboxes: (n, 4) boxes x1 y1 x2 y2.
    """
    return (bboxes[:, 2:] <= bboxes[:, :2]).any(1)


def class_labels(
    class_ids: np.ndarray,
    class_set: ClassSet,
    path: Path,
    id_names: Mapping[int, str] | None = None,
) -> np.ndarray:
    """Labels (n,) of class ids, as :meth:`ClassSet.labels_of` gives them.

    Args:
        class_ids: (n,) ids in the label file.
        class_set: meaning of the ids.
        path: label file, for the error message.
        id_names: names of the ids, if they are known. Default: not known.

    Raises:
        InputError: when ``class_set`` does not know an id; the message names ``path``.
    """
    try:
        return class_set.labels_of(class_ids, id_names)
    except InputError as error:
        advice = "set class_set in the config to the one that the label files follow"
        if id_names:
            advice += ", or give the folder's ids other names: tools/preprocess.py --class-set"
        raise InputError(f"{path}: {error}; {advice}") from error


def counts_by_name(class_ids: np.ndarray, id_names: Mapping[int, str]) -> Counter:
    """Number of boxes by the name of their class.

    Args:
        class_ids: (n,) ids in the label file.
        id_names: names of the ids; an id without one stays a number.
    """
    ids, counts = np.unique(class_ids, return_counts=True)
    return Counter({id_names.get(int(i), str(i)): int(n) for i, n in zip(ids, counts, strict=True)})


def track_ids(boxes: np.ndarray) -> np.ndarray:
    """Track ids (n,), 0 in a label file without them.

    Label files that RVT preprocessed may lack the column, which RVT's own loader never reads.

    Args:
        boxes: boxes (n,) of a label file.
    """
    if "track_id" not in boxes.dtype.names:
        return np.zeros(len(boxes), np.int64)
    return boxes["track_id"].astype(np.int64)


def network_xyxy(boxes: np.ndarray, hw: tuple[int, int], scale: int) -> np.ndarray:
    """Corners in network pixels, limited as in RVT's loader.

    The limit is the last pixel of the sensor first, then the last pixel of the network's frame.

    Args:
        boxes: boxes (n,) in sensor pixels.
        hw: height and width of a frame, in network pixels.
        scale: sensor pixels per network pixel.
    """
    corners = np.stack(
        [boxes["x"], boxes["y"], boxes["x"] + boxes["w"], boxes["y"] + boxes["h"]], 1
    )
    limit = np.array([hw[1], hw[0]] * 2, np.float32)
    corners = np.clip(corners.astype(np.float32), 0, limit * scale - 1) / scale
    return np.minimum(corners, limit - 1)


def ignored_boxes(
    boxes: np.ndarray | None,
    hw: tuple[int, int],
    scale: int,
    class_set: ClassSet,
    id_names: Mapping[int, str] | None,
) -> dict[str, np.ndarray]:
    """Times (n,) in order, boxes (n, 4) in network pixels and labels (n,) that are ignored.

    A box that is ignored for every class appears once for each.

    Args:
        boxes: boxes in sensor pixels; ``None`` for none.
        hw: height and width of a frame, in network pixels.
        scale: sensor pixels per network pixel.
        class_set: meaning of the class ids; boxes of unknown ids are left out.
        id_names: names of the ids, if they are known.
    """
    boxes = np.empty(0, BBOX_DTYPE) if boxes is None else boxes
    is_of_all = signed_ids(boxes["class_id"]) == IGNORED_ID
    of_all = np.repeat(boxes[is_of_all], len(class_set.classes))
    labels = class_set.labels_of(boxes["class_id"], id_names, refuse_unknown=False)
    labels = np.append(
        labels[~is_of_all], np.tile(np.arange(len(class_set.classes)), is_of_all.sum())
    )
    boxes = np.append(boxes[~is_of_all], of_all)
    order = np.argsort(boxes["t"], kind="stable")
    boxes, labels = boxes[order], labels[order]
    bboxes = network_xyxy(boxes, hw, scale)
    solid = (labels != LEFT_OUT) & ~is_flat(bboxes)
    return dict(
        ignored_us=boxes["t"][solid],
        ignored_bboxes=bboxes[solid],
        ignored_labels=labels[solid],
    )
