"""Random numbers of which every consumer has its own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np


def derived_seed(seed: Iterable[int], *name: str | int) -> int:
    """A seed of one consumer, which follows from ``seed`` and ``name``; no other pair of them gives the same.

    numpy's own way, ``default_rng(seed)``, gives two consumers of one seed the same numbers. It also takes (a, b)
    for (a, b, 0).

    Args:
        seed: what consumers have in common, such as the seed of a clip.
        name: who draws, and for what where it draws for several things.
    """
    text = repr(([int(number) for number in seed], name))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")


def generator(seed: Iterable[int], *name: str | int) -> np.random.Generator:
    """The generator of one consumer, independent of all others (:func:`derived_seed`)."""
    return np.random.default_rng(derived_seed(seed, *name))
