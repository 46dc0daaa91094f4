"""A part of the data consists of whole recordings: single frames are no stream."""

from __future__ import annotations

import pytest

from etram_mmdet.datasets.etram_dataset import ETraMDataset
from etram_mmdet.datasets.statistics import digest
from etram_mmdet.utils.errors import InputError


def names(sample, indices) -> list[str]:
    return [s.name for s in ETraMDataset(str(sample), "train", indices=indices).sequences]


@pytest.mark.parametrize(
    ("indices", "numbers"),
    [(2, [0, 1]), (-1, [2]), ([2, 0], [2, 0]), ((1,), [1]), (3, [0, 1, 2]), (None, [0, 1, 2])],
)
def test_recordings_are_chosen_by_number(sample, indices, numbers):
    whole = names(sample, None)
    assert names(sample, indices) == [whole[number] for number in numbers]


@pytest.mark.parametrize("indices", [0, 4, -4, [], [3], [0, 0], [-1]])
def test_numbers_that_no_recording_has_are_refused(sample, indices):
    with pytest.raises(
        InputError, match=r"there are 3 recordings with labels; .* different numbers from 0 to 2"
    ):
        names(sample, indices)


def test_a_part_is_known_as_such(sample):
    """Only its frames are counted, and runs on it are not compared with runs on all data."""
    whole, part = (ETraMDataset(str(sample), "train", indices=n) for n in (None, 2))
    assert len(part) == sum(len(s.labelled) for s in whole.sequences[:2]) < len(whole)
    assert {s.recording for s in part.segments} == {0, 1} and digest(part) != digest(whole)
