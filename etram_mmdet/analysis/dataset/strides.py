"""Whether boxes are of sizes that the strides of a model fit."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
from mmengine.config import Config

from etram_mmdet.analysis.dataset.census import BoxSizes
from etram_mmdet.models.building import build_detector

STRIDES = (8, 16, 32)  # of configs/baseline.py
FINE_STRIDES = (2, 4, 8)  # of configs/patch2.py
LARGEST_PER_STRIDE = 16  # sides of a box in coarsest strides; FCOS gives a level boxes of up to 8


def strides_of(cfg: Config) -> tuple[int, ...]:
    """Those of the model of a whole config, which is built for it; raises ``InputError``."""
    return tuple(map(int, build_detector(copy.deepcopy(cfg)).bbox_head.strides))


def share_under(boxes: BoxSizes, stride: int) -> float:
    """Share of boxes with a side shorter than ``stride`` pixels: no cell of the map lies inside for sure."""
    sides_px = np.minimum(boxes.widths_px, boxes.heights_px)
    return float(np.mean(sides_px < stride)) if len(sides_px) else 0.0


def share_over(boxes: BoxSizes, strides: Sequence[int]) -> float:
    """Share of boxes with a side longer than `LARGEST_PER_STRIDE` cells of the coarsest map."""
    sides_px = np.maximum(boxes.widths_px, boxes.heights_px)
    return float(np.mean(sides_px > LARGEST_PER_STRIDE * max(strides))) if len(sides_px) else 0.0
