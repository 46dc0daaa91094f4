"""Whether boxes have sizes that the strides of a model fit."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
from mmengine.config import Config

from etram_mmdet.analysis.dataset.census import BoxSizes, Census
from etram_mmdet.models.building import build_detector

STRIDES = (8, 16, 32)  # of configs/baseline.py
FINE_STRIDES = (2, 4, 8)  # of configs/patch2.py
# Longest side of a box, in coarsest strides. FCOS gives a level boxes of up to 8 strides.
LARGEST_PER_STRIDE = 16
MOST_BEYOND = 0.10  # share of a split's boxes that may be smaller or larger than that


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


def shares_under(census: Census, stride: int) -> dict[str, float]:
    """Returns the share of boxes with a side shorter than a stride, by split.

    Args:
        census: numbers of the data set.
        stride: stride, in network pixels.
    """
    return {split: share_under(census.boxes(split), stride) for split in census.splits}


def need_finer(census: Census, strides: Sequence[int]) -> bool:
    """Returns whether a split has so many small boxes that a model needs finer strides.

    Both the config of tools/make_config.py and the warning of tools/inspect_data.py follow it.

    Args:
        census: numbers of the data set.
        strides: strides of the model, in network pixels.
    """
    return max(shares_under(census, min(strides)).values(), default=0.0) > MOST_BEYOND


def share_over(boxes: BoxSizes, strides: Sequence[int]) -> float:
    """Returns the share of boxes with a side longer than `LARGEST_PER_STRIDE` coarsest strides.

    Without boxes it is 0.

    Args:
        boxes: sizes of boxes, in network pixels.
        strides: strides of a model, in network pixels.
    """
    sides_px = np.maximum(boxes.widths_px, boxes.heights_px)
    return float(np.mean(sides_px > LARGEST_PER_STRIDE * max(strides))) if len(sides_px) else 0.0
