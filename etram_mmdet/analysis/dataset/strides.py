"""Whether boxes have sizes that the strides of a model fit."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
from mmengine.config import Config

from etram_mmdet.analysis.dataset.census import BoxSizes
from etram_mmdet.models.building import build_detector

STRIDES = (8, 16, 32)  # of configs/baseline.py
FINE_STRIDES = (2, 4, 8)  # of configs/patch2.py
# Longest side of a box, in coarsest strides. FCOS gives a level boxes of up to 8 strides.
LARGEST_PER_STRIDE = 16


def strides_of(cfg: Config) -> tuple[int, ...]:
    """Returns the strides of a config's model, in network pixels. The model is built to find them.

    Args:
        cfg: a complete config; it is not changed.

    Raises:
        InputError: the model cannot be built.
    """
    return tuple(map(int, build_detector(copy.deepcopy(cfg)).bbox_head.strides))


def share_under(boxes: BoxSizes, stride: int) -> float:
    """Returns the share of boxes with a side shorter than a stride, 0 without boxes.

    No cell of that map is sure to lie inside such a box.

    Args:
        boxes: sizes of boxes, in network pixels.
        stride: stride, in network pixels.
    """
    sides_px = np.minimum(boxes.widths_px, boxes.heights_px)
    return float(np.mean(sides_px < stride)) if len(sides_px) else 0.0


def share_over(boxes: BoxSizes, strides: Sequence[int]) -> float:
    """Returns the share of boxes with a side longer than `LARGEST_PER_STRIDE` coarsest strides.

    Without boxes it is 0.

    Args:
        boxes: sizes of boxes, in network pixels.
        strides: strides of a model, in network pixels.
    """
    sides_px = np.maximum(boxes.widths_px, boxes.heights_px)
    return float(np.mean(sides_px > LARGEST_PER_STRIDE * max(strides))) if len(sides_px) else 0.0
