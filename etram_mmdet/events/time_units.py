"""Times of files in microseconds."""

from __future__ import annotations

import numpy as np

from etram_mmdet.events.choices import LabelTimeUnit
from etram_mmdet.events.limits import MAX_TIME_US

_UNIT_US = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}


def in_microseconds(times: np.ndarray, unit: LabelTimeUnit) -> np.ndarray:
    """Convert times to int64 microseconds; fractions are cut off and integers stay exact.

    Args:
        times: array of times.
        unit: unit of ``times``.
    """
    if unit in ("ms", "s"):
        per = int(_UNIT_US[unit])
        if times.dtype.kind != "f":
            return times.astype(np.int64) * per
        # 0.29 s are 289999.99999999994 us before rounding.
        return np.round(times.astype(np.float64) * per, 3).astype(np.int64)
    return (times // 1000 if unit == "ns" else times).astype(np.int64)


def floats_in_microseconds(stamps: np.ndarray, unit: LabelTimeUnit) -> np.ndarray:
    """Floating-point stamps as int64 microseconds; a stamp that is no time becomes a far-away one.

    Args:
        stamps: floating-point array of stamps.
        unit: unit of ``stamps``.
    """
    stamps = stamps.astype(np.float64) * _UNIT_US[unit]
    return np.rint(np.where(np.abs(stamps) < MAX_TIME_US, stamps, -MAX_TIME_US)).astype(np.int64)
