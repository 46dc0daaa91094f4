"""Changes to the boxes of many frames at once, since NumPy is slow on few numbers at a time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from etram_mmdet.evaluation.results import Boxes

_COLUMNS = ("bboxes_xyxy", "labels", "scores", "ids", "class_scores")


def joined(boxes_of_frame: Sequence[Boxes], column: str = "bboxes_xyxy") -> np.ndarray:
    """One column of the boxes of all frames: (N, ...) for N boxes.

    Args:
        boxes_of_frame: boxes of each frame; at least one frame.
        column: name of the column. Default: the corners.
    """
    return np.concatenate([getattr(boxes, column) for boxes in boxes_of_frame])


def split(values: np.ndarray, counts: Sequence[int]) -> list[np.ndarray]:
    """Cut an array into the parts of each frame, without a copy.

    Args:
        values: (N, ...) values of all frames.
        counts: number of values of each frame, N together.
    """
    ends = np.cumsum(counts).tolist()
    return [values[start:stop] for start, stop in pairwise([0, *ends])]


def per_box(of_frame: np.ndarray, boxes_of_frame: Sequence[Boxes]) -> np.ndarray:
    """Repeat a value of each frame for every box of the frame: (N, ...).

    Args:
        of_frame: (F, ...) value of each frame.
        boxes_of_frame: boxes of the F frames.
    """
    return np.repeat(of_frame, [len(boxes) for boxes in boxes_of_frame], axis=0)


def clipped(boxes_of_frame: Sequence[Boxes], hw_of_frame: Sequence[tuple[int, int]]) -> list[Boxes]:
    """Clip the boxes of each frame to it, as `Boxes.clipped` does.

    Args:
        boxes_of_frame: boxes of each frame.
        hw_of_frame: height and width of each frame, in pixels of its boxes.
    """
    if not boxes_of_frame:
        return []
    corners = joined(boxes_of_frame)
    last = np.array(hw_of_frame, corners.dtype)[:, [1, 0, 1, 0]] - 1
    cut = np.clip(corners, 0, per_box(last, boxes_of_frame))
    parts = split(cut, [len(boxes) for boxes in boxes_of_frame])
    return [
        boxes.replaced(bboxes_xyxy=part) for boxes, part in zip(boxes_of_frame, parts, strict=True)
    ]


def filtered(boxes_of_frame: Sequence[Boxes], keep: np.ndarray) -> list[Boxes]:
    """Select boxes of each frame.

    Args:
        boxes_of_frame: boxes of each frame; each column is there in all frames or in none, or
            frames are filtered one by one.
        keep: (N,) bool, whether each box of all frames stays.
    """
    lengths = [len(boxes) for boxes in boxes_of_frame]
    columns = {name: [getattr(boxes, name) for boxes in boxes_of_frame] for name in _COLUMNS}
    missing = {name: sum(v is None for v in values) for name, values in columns.items()}
    if any(0 < count < len(lengths) for count in missing.values()):
        masks = split(keep, lengths)
        return [boxes[mask] for boxes, mask in zip(boxes_of_frame, masks, strict=True)]
    names = [name for name, count in missing.items() if not count]
    kept_before = np.append(0, np.cumsum(keep))
    counts = np.diff(kept_before[np.append(0, np.cumsum(lengths))])
    parts = zip(*(split(np.concatenate(columns[n])[keep], counts) for n in names), strict=True)
    return [
        boxes.replaced(**dict(zip(names, of_frame, strict=True)))
        for boxes, of_frame in zip(boxes_of_frame, parts, strict=True)
    ]
