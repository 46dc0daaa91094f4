"""A few numbers in the place of a large array.

Answers stay small, and every element has an effect on them.
"""

from __future__ import annotations

import numpy as np

from tests.reference.formula import integers


def thin(name: str, values: np.ndarray, count: int) -> np.ndarray:
    """``count`` elements of ``values``, and ``count`` sums over all elements, as float64.

    Small arrays are returned whole. Elements are added up with random signs, so that a sum mostly
    changes where two of them change places. It is divided by the root of their
    number, so its error is about an element's.
    """
    flat = np.asarray(values, np.float64).ravel()
    if len(flat) <= 2 * count:
        return flat
    chosen = flat[integers(f"{name} chosen", count, 0, len(flat))]
    signs = 2 * integers(f"{name} signs", len(flat), 0, 2) - 1
    starts = np.arange(count) * len(flat) // count
    lengths = np.diff(starts, append=len(flat))
    return np.concatenate([chosen, np.add.reduceat(flat * signs, starts) / np.sqrt(lengths)])
