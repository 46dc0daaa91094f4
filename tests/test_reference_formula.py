"""What the reference was asked stays the same, and a few numbers stand for all of a large array."""

from __future__ import annotations

import numpy as np

from tests.reference.answers import DATA
from tests.reference.formula import integers, order, steps, words
from tests.reference.model_cases import weight
from tests.reference.thin import thin


def test_the_formula_has_not_changed():
    """If one of these numbers is another one, no answer in tests/data fits any more."""
    assert words("a", 2).tolist() == [7877707337503437119, 15880843895152004874]
    assert integers("a", 5, 0, 1000).tolist() == [427, 860, 584, 66, 359]
    assert (2**16 * steps("a", 4, 0.5)).tolist() == [-4781, 23652, 5526, -28388]
    assert order("a", 6).tolist() == [3, 5, 4, 0, 2, 1]
    assert (2**15 * weight("neck.weight", (2, 3, 1, 1))).ravel().tolist() == [
        32200,
        -16501,
        -14725,
        11199,
        -6912,
        -11510,
    ]


def test_every_element_is_seen():
    values = steps("values", 10_000, 1.0)
    before = thin("values", values, 8)
    assert len(before) == 16
    for changed in (0, 4321, 9999):
        other = values.copy()
        other[changed] += 1
        assert not np.array_equal(thin("values", other, 8), before)
    assert np.array_equal(thin("values", values[:16], 8), values[:16])


def test_the_answers_stay_small():
    assert sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file()) < 4_000_000
