"""The range of training data, and when other data lie outside of it."""

from __future__ import annotations

import numpy as np
import pytest

from etram_mmdet.datasets.domain import domain_of, frames_shown
from etram_mmdet.datasets.etram_dataset import ETraMDataset
from etram_mmdet.events.domain import EVENTS, SIDES, outside
from etram_mmdet.events.preprocessing.frame_store import FrameFile

TRAINED = {SIDES: [10.0, 50.0], EVENTS: [0.1, 0.4]}
USUAL_SIDES = np.full(100, 20.0)
USUAL_EVENTS = np.full(9, 0.2)


def test_numbers_are_those_of_the_training_data(sample):
    train = ETraMDataset(sample, "train", [])
    areas = np.concatenate([np.prod(s.boxes_of(i)[0][:, 2:] - s.boxes_of(i)[0][:, :2], 1)
                            for s in train.sequences for i in s.labelled])  # fmt: skip
    found = domain_of(train)
    assert found[SIDES] == pytest.approx(np.percentile(np.sqrt(areas), [1, 99]), rel=1e-3)
    shown = []
    for sequence in train.sequences:  # fewer labelled frames than are looked at, so all of them
        with FrameFile(sequence.path) as frames:
            shown += [frames.read(i, i + 1).sum() / (32 * 48) for i in sequence.labelled]
    np.testing.assert_allclose(frames_shown(train), shown)
    assert found[EVENTS] == pytest.approx(np.percentile(shown, [5, 95]), rel=1e-3)


@pytest.mark.parametrize(
    ("sides", "events", "says"),
    [
        (USUAL_SIDES, USUAL_EVENTS, []),
        (np.append(USUAL_SIDES[:91], [60] * 9), USUAL_EVENTS, []),
        (
            np.append(USUAL_SIDES[:89], [60] * 11),
            USUAL_EVENTS,
            [
                "11 % of the boxes are larger than those in the checkpoint's training data "
                "(99 % of which have sides of at most"
            ],
        ),
        (
            np.append(USUAL_SIDES[:80], [5] * 20),
            USUAL_EVENTS,
            ["20 % of the boxes are smaller than those"],
        ),
        (np.full(19, 60.0), USUAL_EVENTS, []),  # too few to tell
        (USUAL_SIDES, np.full(9, 0.79), []),
        (
            USUAL_SIDES,
            np.full(9, 0.81),
            ["a frame holds 0.81 events per pixel, but"],
        ),
        (USUAL_SIDES, np.full(9, 0.04), ["a frame holds 0.04 events per pixel"]),
        (np.empty(0), np.empty(0), []),
    ],
)
def test_what_lies_outside(sides, events, says):
    found = outside(TRAINED, sides, events)
    assert len(found) == len(says) and all(map(str.startswith, found, says))
    assert outside({}, sides, events) == []
