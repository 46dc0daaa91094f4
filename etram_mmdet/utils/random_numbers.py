"""Random numbers that are independent for every consumer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np


def derived_seed(seed: Iterable[int], *name: str | int) -> int:
    """The seed of one consumer; no other pair of ``seed`` and ``name`` gives the same.

    numpy's own way, ``default_rng(seed)``, gives two consumers of one seed the same numbers. It
    also treats (a, b) like (a, b, 0).

    Args:
        seed: seed that the consumers share, such as that of a clip.
        *name: the consumer, and the purpose if it draws for several.
    """
    text = repr(([int(number) for number in seed], name))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")


def generator(seed: Iterable[int], *name: str | int) -> np.random.Generator:
    """The random generator of one consumer, independent of all others (:func:`derived_seed`).

    Args:
        seed: seed that the consumers share.
        *name: the consumer, and the purpose if it draws for several.
    """
    return np.random.default_rng(derived_seed(seed, *name))
