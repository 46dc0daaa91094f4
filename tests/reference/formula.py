"""Numbers that look random and have the same bits on every processor and every NumPy.

Only integers are computed, with wrapping 64-bit arithmetic (SplitMix64). Floats are whole multiples
of a power of two, which float32 holds exactly. Every array has a name, and the name is its seed.
"""

from __future__ import annotations

import zlib

import numpy as np

Shape = int | tuple[int, ...]

_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def words(name: str, shape: Shape) -> np.ndarray:
    """Random 64-bit words, uint64."""
    start = np.uint64(zlib.crc32(name.encode()) << 32)
    mixed = (np.arange(1, int(np.prod(shape)) + 1, dtype=np.uint64) + start) * _STEP
    for shift, factor in _MIX:
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return (mixed ^ (mixed >> np.uint64(31))).reshape(shape)


def integers(name: str, shape: Shape, low: int, high: int) -> np.ndarray:
    """Random int64 from ``low`` up to but without ``high``."""
    scaled = (words(name, shape) >> np.uint64(32)) * np.uint64(high - low)
    return (scaled >> np.uint64(32)).astype(np.int64) + low


def steps(name: str, shape: Shape, largest: float) -> np.ndarray:
    """Random float32 in [-largest, largest), in 65536 equal steps.

    ``largest`` is a power of two.
    """
    return (integers(name, shape, -(2**15), 2**15) * (largest / 2**15)).astype(np.float32)


def order(name: str, length: int) -> np.ndarray:
    """The numbers from 0 to ``length - 1`` in random order."""
    return np.argsort(words(name, length), kind="stable")
