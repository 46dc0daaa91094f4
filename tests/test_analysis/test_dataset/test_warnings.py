"""Tests that every rule warns when it should, and only then."""

from __future__ import annotations

import numpy as np
import pytest

from etram_mmdet.analysis.dataset.census import BoxSizes, RecordingCensus
from etram_mmdet.analysis.dataset.warnings import find_warnings
from tests.helpers.made_up import ALL_CLASSES, boxes, census, recording

PEDESTRIANS = boxes((0, 20, 40), times=20)


def with_more(*rows, times=20) -> BoxSizes:
    """A box of every class and more of some."""
    return BoxSizes.joined(
        [boxes(*((label, 30, 40) for label in range(8))), boxes(*rows, times=times)]
    )


def test_silent():
    known = dict(
        size_is_assumed=False, frames_without_events=0, dropped={"boxes_too_small": 40}
    )  # of 200
    assert (
        find_warnings(census(*(recording(split, **known) for split in ("train", "val", "test"))))
        == []
    )
    assert find_warnings(census(*(recording(split) for split in ("train", "val", "test")))) == []


@pytest.mark.parametrize(
    ("split", "consequence"), [("train", "cannot learn them"), ("val", "no AP can be measured")]
)
def test_missing_class(split, consequence):
    other = "val" if split == "train" else "train"
    some = ALL_CLASSES.of_class(0)
    found = find_warnings(census(recording(split, of=some), recording(other)))
    (sentence,) = (s for s in found if "no box of" in s)
    assert sentence.startswith(
        f"{split}: no box of car, bicycle, bus, motorbike, truck, tram, wheelchair;"
    )
    assert consequence in sentence


def test_wide_pedestrian():
    assert find_warnings(census(recording("train", of=with_more((0, 41, 40))))) == [
        "train: the typical pedestrian is wider than tall (41x40 px); "
        "check that the label files follow class_set 'etram8'"
    ]
    assert find_warnings(census(recording("train", of=with_more((0, 39, 40))))) == []
    few = [census(recording("train", of=with_more((0, 60, 40), times=times))) for times in (18, 19)]
    assert [len(find_warnings(made)) for made in few] == [0, 1]  # 19 boxes are too few, 20 enough


@pytest.mark.parametrize(("label", "name"), [(1, "car"), (3, "bus"), (5, "truck"), (6, "tram")])
def test_vehicle_smaller_than_a_pedestrian(label, name):
    (sentence,) = find_warnings(
        census(recording("val", of=with_more((0, 20, 40), (label, 19, 40))))
    )
    assert sentence.startswith(
        f"val: the typical {name} is smaller than the typical pedestrian (19x40 px to 20x40 px)"
    )
    assert find_warnings(census(recording("val", of=with_more((0, 20, 40), (label, 21, 40))))) == []


def test_odd_boxes_go_by_name():
    """Reads eTraM's ids as if they were ``cls8_sample``'s.

    The car becomes a pedestrian and the pedestrian a motorbike.
    """
    made = census(
        recording("train", of=with_more((0, 20, 40), (4, 50, 40))), class_set="cls8_sample"
    )
    first, second = find_warnings(made)
    assert "typical pedestrian is wider than tall" in first and "typical car is smaller" in second
    assert "class_set 'cls8_sample'" in first


def size_mix(small, medium, large) -> BoxSizes:
    """Returns boxes with these percentages of small, medium and large ones, all of one class."""
    parts = [
        boxes((0, w, w + 1), times=n) for n, w in ((small, 20), (medium, 60), (large, 120)) if n
    ]
    return BoxSizes.joined(parts)


@pytest.mark.parametrize(
    ("val", "speaks"),
    [
        ((40, 40, 20), False),
        ((49, 40, 11), False),  # nine points more small ones, distance 0.09
        ((52, 28, 20), True),  # twelve points more small ones
        ((40, 21, 39), False),  # distance 0.19
        ((40, 18, 42), True),  # distance 0.22
    ],
)
def test_size_mix(val, speaks):
    made = census(recording("train", of=size_mix(40, 40, 20)), recording("val", of=size_mix(*val)))
    found = [s for s in find_warnings(made) if "small, medium and large" in s]
    assert len(found) == speaks
    if speaks:
        assert found[0].startswith(f"val: {'/'.join(map(str, val))} % of the boxes")
        assert "in train 40/40/20 %" in found[0]


def test_recording_in_two_splits():
    made = census(recording("val", "a"), recording("train", "a"), recording("train", "b"))
    (sentence,) = find_warnings(made)
    assert sentence.startswith("a: is in train and val;")


def test_dropped_boxes():
    """41 of 160 + 41 + 1 boxes are dropped.

    Boxes in unused frames are labelled too, but no rule drops them.
    """
    dropped = {
        "boxes_too_small": 40,
        "boxes_outside": 1,
        "boxes_in_unused_frames": 1,
        "events_out_of_frame": 999,
    }
    (sentence,) = find_warnings(census(recording("train", dropped=dropped)))
    assert sentence.startswith(
        "train: 20 % of the boxes are dropped (boxes_too_small 40, boxes_outside 1)"
    )
    dropped["boxes_in_unused_frames"] = 5  # 41 of 206: just below a fifth
    assert find_warnings(census(recording("train", dropped=dropped))) == []


def test_assumed_size():
    made = census(
        *(recording("train", f"r{i}", size_px=(1280, 720), size_is_assumed=True) for i in range(6)),
        recording("train", "sure", size_px=(640, 480), size_is_assumed=False),
    )
    assert find_warnings(made) == [
        "sensor size not in the file, taken as 1280x720: r0, r1, r2, r3, r4 and 1 more"
    ]


def test_frames_without_events():
    made = census(
        recording("val", "a", frames_without_events=2),
        recording("val", "b", frames_without_events=0),
        recording("val", "c", frames_without_events=1),
    )
    assert find_warnings(made) == ["val: 3 labelled frames without a single event, in a, c"]


def test_frame_rates():
    dense = RecordingCensus("val", "b", ALL_CLASSES, np.arange(1, 20) * 66_667)
    (sentence,) = find_warnings(census(recording("train", "a"), dense))
    assert sentence.startswith(
        "recordings have labelled frames at different rates: 10 Hz in 1 (train/a), 15 Hz in 1 "
        "(val/b); those with more frames"
    )
