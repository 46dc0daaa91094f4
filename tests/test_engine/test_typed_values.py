"""No wrong value ends in a traceback: a sample.

``python -m tests.reliability.typed_values`` tries all values.
"""

from __future__ import annotations

import random

from tests.reliability.typed_values import all_tries, leaves, run


def test_every_leaf_of_a_config_is_tried():
    assert list(leaves(dict(a=1, b=[dict(c=2), dict(d=[3])], e=dict(f=[])))) == [
        "a",
        "b.0.c",
        "b.1.d",
        "e.f",
    ]
    assert len(all_tries(("baseline",))) > 1000


def test_a_sample_of_wrong_values_ends_in_no_traceback(sample):
    counts, faults = run(random.Random(3).sample(all_tries(), 40), sample)
    assert not faults
    assert counts["sentence"] > 10 and counts["works"] >= 1 and counts.total() == 40
