"""Each check of labels against events speaks beyond its limit and is silent before it."""

from __future__ import annotations

import re

import numpy as np
import pytest

from etram_mmdet.events.preprocessing.frame_times import labels_per_s
from etram_mmdet.events.preprocessing.plausibility.box_activity import BoxActivity
from etram_mmdet.events.preprocessing.plausibility.boxes import (
    doubts_about_activity,
    doubts_about_boxes,
)
from etram_mmdet.events.preprocessing.plausibility.limits import LIMITS
from etram_mmdet.events.preprocessing.plausibility.times import Times, doubts_about_times
from tests.helpers.paths import ROOT
from tests.helpers.raw import HEIGHT, WIDTH, make_boxes


def times(label_us, first_us=0, last_us=10_000_000, events_per_pixel=100.0) -> Times:
    return Times(np.asarray(label_us), first_us, last_us, first_us, events_per_pixel)


EVERY_50_MS = np.arange(1, 200) * 50_000


@pytest.mark.parametrize(
    ("given", "speaks"),
    [
        (times(EVERY_50_MS), False),
        (times(np.arange(1, 100) * 2001), False),  # 499.75 labels a second
        (times(np.arange(1, 100) * 1999), True),
        (times(EVERY_50_MS, first_us=245_000), False),  # 0.195 s early
        (times(EVERY_50_MS, first_us=255_000), True),
        (times(EVERY_50_MS, last_us=9_000_000), False),  # 0.95 s late
        (times(EVERY_50_MS, last_us=8_940_000), True),
        (
            times(EVERY_50_MS[:10], last_us=420_000),
            False,
        ),  # one of ten is late by more than a window
        (times(EVERY_50_MS[:10], last_us=390_000), True),  # two of ten
        (times(EVERY_50_MS[:20], last_us=470_000_000), False),  # 0.202 % of it
        (times(EVERY_50_MS[:20], last_us=480_000_000), True),
        (times(EVERY_50_MS[:9], last_us=480_000_000), False),  # too few to say
        (
            times(EVERY_50_MS * 101, last_us=1_010_000_000, events_per_pixel=50),
            True,
        ),  # 5.05 s apart, 0.0495 events
        (times(EVERY_50_MS * 99, last_us=1_010_000_000, events_per_pixel=50), False),
        (times(EVERY_50_MS * 101, last_us=1_010_000_000, events_per_pixel=51), False),
        (times([5_000]), False),
    ],
)
def test_limits_of_times(given, speaks):
    assert len(doubts_about_times(given)) == speaks


def test_a_single_label_does_not_tell_its_unit():
    (sentence,) = doubts_about_times(times([30_000_000]))
    assert "labels of another recording; drop them with --drop-labels-outside" in sentence


def test_one_odd_label_among_many_does_not_tell_a_unit():
    """30 s after 10 s of events, which read as milliseconds would be long enough for it."""
    (sentence,) = doubts_about_times(times([*EVERY_50_MS, 40_000_000]))
    assert "1 of 200 label times lie after the last event, up to 30 s" in sentence
    assert "--drop-labels-outside" in sentence and "unit" not in sentence


def test_labels_before_the_first_event_may_count_from_the_start():
    (sentence,) = doubts_about_times(times(EVERY_50_MS, first_us=10_000_000, last_us=20_000_000))
    assert (
        "199 of 199 label times lie before the first event, up to 9.95 s; likely cause: the labels"
        in sentence
    )
    assert sentence.endswith("--label-offset-us start")


def activity(boxes: np.ndarray, xy: tuple[int, int]) -> BoxActivity:
    """Activity in a scene where the 12x8 pixels at ``xy`` and one pixel in fifty have events."""
    frame_us = np.unique(boxes["t"])
    measured = BoxActivity(boxes, frame_us, (HEIGHT, WIDTH))
    for time_us in frame_us.tolist():
        active = np.zeros((HEIGHT, WIDTH), bool)
        active.flat[::50] = True
        active[xy[1] : xy[1] + 8, xy[0] : xy[0] + 12] = True
        measured.look(time_us, active)
    return measured


def test_boxes_that_stand_say_nothing():
    """Leaves stir at the box read as a centre: no doubt if the box stands, one if it moves."""
    stands = make_boxes(EVERY_50_MS[:30], x=30, y=24, w=12, h=8)
    assert activity(stands, (24, 20)).compare() == {}
    assert doubts_about_activity(activity(stands, (24, 20)), "xywh") == []
    moves = stands.copy()
    moves["x"] += np.arange(30) % 8
    (sentence,) = doubts_about_activity(activity(moves, (24, 20)), "xywh")
    assert "--box-format cxcywh" in sentence
    assert doubts_about_activity(activity(moves, (33, 24)), "xywh") == []


def test_boxes_that_move_where_nothing_happens():
    moves = make_boxes(EVERY_50_MS[:30], x=30 + np.arange(30) % 8 * 2, y=24, w=12, h=8)
    (sentence,) = doubts_about_activity(activity(moves, (2, 2)), "xywh")
    assert re.match(
        r"moving boxes hold 0\.[34]\d times as many events per pixel as the whole image; "
        r"likely cause: lab",
        sentence,
    )
    assert (
        doubts_about_activity(activity(moves[:9], (2, 2)), "xywh") == []
    )  # nine frames are no evidence


def busier_share(boxes: np.ndarray, noise: float, *blobs_xy: tuple[int, int]) -> float | None:
    """Of evenly spread noise with busy places of 12x8 pixels."""
    rng = np.random.default_rng(0)
    frame_us = np.unique(boxes["t"])
    measured = BoxActivity(boxes, frame_us, (HEIGHT, WIDTH))
    for time_us in frame_us.tolist():
        active = rng.random((HEIGHT, WIDTH)) < noise
        for x, y in blobs_xy:
            active[y : y + 8, x : x + 12] = True
        measured.look(time_us, active)
    return measured.busier_share()


def test_boxes_are_judged_by_their_surroundings_where_something_stands_out_of_the_noise():
    moves = make_boxes(EVERY_50_MS[:60], x=30 + np.arange(60) % 8 * 2, y=24, w=6, h=6)
    assert busier_share(moves, 0.1, (2, 2)) < 0.65
    assert busier_share(moves, 0.1) is None
    assert busier_share(moves, 0.0, (2, 2)) is None  # no box differs from what is around it
    assert busier_share(moves[:25], 0.1, (2, 2)) is None  # fewer than 30 boxes
    followed = moves.copy()
    followed["x"], followed["y"] = 2 + np.arange(60) % 3, 2
    assert busier_share(followed, 0.1, (2, 2), (40, 30)) > 0.9


def test_limits_of_boxes():
    def speaks(*rows, box_format="xywh"):
        x, y, w, h = np.repeat(rows, 5, 0).T
        return doubts_about_boxes(
            make_boxes(np.arange(len(x)), x=x, y=y, w=w, h=h), WIDTH, HEIGHT, box_format
        )

    small = (2, 2, 20, 16)  # near the corner w > x and h > y are no wonder
    corners = (40, 30, 52, 38)
    assert not speaks(small) and not speaks(small, small, small, small, corners)
    assert "two corners" in speaks(small, small, small, corners)[0]
    assert not speaks(small, small, small, corners, box_format="cxcywh")
    outside = (70, 10, 20, 16)
    assert not speaks(small, small, small, small, outside)
    assert (
        "25 % of the boxes lie outside the sensor of 64x48"
        in speaks(small, small, small, outside)[0]
    )
    assert doubts_about_boxes(make_boxes([]), WIDTH, HEIGHT, "xywh") == []


def test_label_rate_is_that_of_the_usual_gap():
    assert labels_per_s(np.array([0, 100_000, 200_000, 9_000_000])) == pytest.approx(10)
    assert labels_per_s(np.array([5])) is None


def test_docs_show_the_table_of_limits():
    text = (ROOT / "docs" / "data.md").read_text()
    for name, limit in LIMITS.items():
        assert f"| `{name}` | {limit.value:g} | {limit.reason} |" in text
