"""Sensor sizes (width, height) in pixels, for the many files that do not say which sensor wrote them."""

from __future__ import annotations

import numpy as np

GEN1_PX, DAVIS346_PX, GEN3_PX, GEN4_PX, GENX320_PX = (304, 240), (346, 260), (640, 480), (1280, 720), (320, 320)
DSEC_PX = GEN3_PX
_SMALLEST_FIRST = (GEN1_PX, DAVIS346_PX, GEN3_PX, GEN4_PX)


def smallest_sensor(x: np.ndarray, y: np.ndarray) -> tuple[int, int]:
    """The smallest sensor that holds all events which are possible at all (damaged ones lie far outside)."""
    width, height = GEN4_PX
    inside = (x.astype(np.int64) < width) & (y.astype(np.int64) < height)
    x_max, y_max = x[inside].max(initial=0), y[inside].max(initial=0)
    return next(size for size in _SMALLEST_FIRST if x_max < size[0] and y_max < size[1])
