"""What the plugins ask of the training boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class BoxStatistics:
    """Boxes of a dataset before augmentation: their (n,) ``labels`` and (n, 2) ``sizes_px``, width and height."""

    classes: tuple[str, ...]
    labels: np.ndarray
    sizes_px: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Number of boxes of each class, (K,)."""
        return np.bincount(self.labels, minlength=len(self.classes))

    @property
    def mean_size_px(self) -> float:
        """Mean of the square root of the area, the "absolute object size" of AI-TOD; NaN without boxes."""
        return float(np.sqrt(self.sizes_px.prod(1)).mean()) if len(self.labels) else float("nan")
