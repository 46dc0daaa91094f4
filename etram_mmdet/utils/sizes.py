"""Sizes of boxes: COCO's borders, and the weight of small boxes.

The loss and the analysis of data share them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

SMALL_PX2 = 32**2  # smaller areas are small; areas of at least `MEDIUM_PX2` are large
MEDIUM_PX2 = 96**2


def exponential_weight(area_px2, weight: float, small_area: float, exp: Callable = np.exp):
    """Weight of a box by its area: clamp(W exp(-a / small), 1, W).

    Boxes with an area of at least small ln W have weight 1.

    Args:
        area_px2: array or tensor of any shape.
        weight: W, the weight of a box without area.
        small_area: area at which the weight has fallen to W / e, in the unit of ``area_px2``.
        exp: ``torch.exp`` for tensors. Default: NumPy's.
    """
    return (weight * exp(-area_px2 / small_area)).clip(1.0, weight)
