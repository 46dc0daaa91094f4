"""Boxes and detections of 60 frames at half resolution, in Prophesee's form."""

from __future__ import annotations

import numpy as np

from tests.reference.formula import integers, order
from tests.reference.raw_recording import PADDED_BBOX

HW = (384, 640)
FRAMES = 60
BOXES_PER_FRAME = 6
DETECTIONS_PER_BOX = 2
DETECTIONS_ELSEWHERE = 8  # per frame
NUM_CLASSES = 3


def true_boxes() -> np.ndarray:
    """Some come too early, some are too small, and every seventh frame has none."""
    boxes = _boxes("true", FRAMES, BOXES_PER_FRAME)
    return boxes[boxes["t"] // 100_000 % 7 != 0]


def detections() -> np.ndarray:
    """Detections: two near every box, and others elsewhere.

    One in five has another class. No two have the same confidence.
    """
    near = np.repeat(_boxes("true", FRAMES, BOXES_PER_FRAME), DETECTIONS_PER_BOX)
    count = len(near)
    for name in "xywh":
        near[name] += integers(f"moved {name}", count, -20, 21) / 8
    is_other = integers("other class", count, 0, 5) == 0
    near["class_id"] = np.where(
        is_other, integers("which class", count, 0, NUM_CLASSES), near["class_id"]
    )
    found = np.concatenate([near, _boxes("elsewhere", FRAMES, DETECTIONS_ELSEWHERE)])
    rank = order("confidence", len(found))
    rank[:count] += len(found) // 3  # those near a box tend to be surer
    found["class_confidence"] = (rank * 2 + (np.arange(len(found)) < count)) / 2**12
    return found[np.argsort(found["t"], kind="stable")]


def _boxes(name: str, frames: int, per_frame: int) -> np.ndarray:
    count = frames * per_frame
    boxes = np.zeros(count, PADDED_BBOX)
    boxes["t"] = 100_000 * (1 + np.repeat(np.arange(frames), per_frame))
    for side in "wh":  # small, medium and large ones, and long ones
        factor = 2 ** integers(f"{name} factor of {side}", count, 0, 4)
        boxes[side] = factor * integers(f"{name} {side}", count, 60, 160) / 8
    boxes["x"] = integers(f"{name} x", count, 0, 8 * 480) / 8
    boxes["y"] = integers(f"{name} y", count, 0, 8 * 224) / 8
    boxes["class_id"] = integers(f"{name} class", count, 0, NUM_CLASSES)
    boxes["class_confidence"] = 1
    return boxes
