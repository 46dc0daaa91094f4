"""Tests events in boxes and the motion of the camera on images with known numbers."""

from __future__ import annotations

import numpy as np
import pytest

from etram_mmdet.analysis.dataset.box_events import BoxEvents
from etram_mmdet.analysis.dataset.read import take_census
from etram_mmdet.analysis.dataset.report import as_dict, format_census
from etram_mmdet.analysis.dataset.warnings import find_warnings, stride_warnings
from etram_mmdet.events.preprocessing.folder import preprocess_folder
from tests.helpers.made_up import boxes, census, recording
from tests.helpers.raw import make_boxes, write_recording

HW = 64, 96
RNG = np.random.default_rng(0)


def quiet_image() -> np.ndarray:
    """Two objects of 20 x 10 pixels with two events on each pixel, and 40 events elsewhere."""
    events = np.zeros(HW)
    events[10:20, 10:30] = events[40:50, 60:80] = 2
    events[0, :40] = 1
    return events


BOXES = np.array(
    [[10, 10, 30, 20], [60, 40, 80, 50], [40, 20, 60, 40]], float
)  # nothing moves in the last


def edges() -> np.ndarray:
    """An image from a moving camera, with edges everywhere."""
    return np.broadcast_to(np.arange(HW[1]) % 16 < 4, HW).astype(float)


def test_events_in_boxes():
    found = BoxEvents.of_frame(BOXES, quiet_image())
    assert found.per_px.tolist() == [2, 2, 0]
    assert found.empty_share == pytest.approx(1 / 3)
    assert found.inside_share == pytest.approx(800 / 840)
    twice = BoxEvents.joined([found, BoxEvents.of_frame(BOXES[:1], quiet_image())])
    assert twice.inside_share == pytest.approx(1200 / 1680) and len(twice.per_px) == 4
    overlapping = BoxEvents.of_frame(
        np.array([[10, 10, 30, 20], [10, 10, 30, 20]], float), quiet_image()
    )
    assert overlapping.inside == 400  # each event once
    nothing = BoxEvents.of_frame(BOXES[:0], np.zeros(HW))
    assert (nothing.empty_share, nothing.inside_share, nothing.camera) == (None, None, None)


def test_almost_none_is_told_from_few():
    events = np.zeros(HW)
    events.flat[: 96 * 20] = np.repeat([1, 0], [4, 96]).tolist() * 19 + [0] * 20  # 4 on 100 pixels
    few = np.zeros(HW)
    few.flat[: 96 * 20] = (np.arange(96 * 20) % 16 == 0).astype(int)  # 6 on 100
    whole = np.array([[0, 0, 96, 20]], float)
    assert (
        BoxEvents.of_frame(whole, events).empty_share == 1
        and BoxEvents.of_frame(whole, few).empty_share == 0
    )


def test_camera():
    assert BoxEvents.of_frame(BOXES, quiet_image()).camera == "static"
    assert BoxEvents.of_frame(BOXES, edges()).camera == "moving"
    noise = (RNG.random(HW) < 0.2).astype(float)
    assert (
        BoxEvents.of_frame(BOXES, noise).camera is None
    )  # as many active pixels, but evenly spread
    crowd = quiet_image()
    crowd[:, 48:] = edges()[:, 48:]
    half = np.array([[48, 0, 96, 64]], float)
    assert BoxEvents.of_frame(BOXES[:2], crowd).camera == "moving"
    assert (
        BoxEvents.of_frame(BOXES[:2], crowd, others_xyxy=half).camera == "static"
    )  # boxes of classes left out
    # Four pixels added up show four times the noise: what is busy then is twice as dense.
    some = np.zeros(HW)
    some[::3, ::2] = 1
    assert (
        BoxEvents.of_frame(BOXES[:0], some).busy == 1
        and BoxEvents.of_frame(BOXES[:0], some, added_up=2).busy == 0
    )


def with_events(split: str, events: np.ndarray, bboxes=BOXES, **known):
    return recording(split, box_events=BoxEvents.of_frame(bboxes, events), **known)


def test_warnings_of_empty_boxes_and_moving_cameras():
    static, moving = with_events("train", quiet_image()), with_events("val", edges(), BOXES[:2])
    first, second = find_warnings(census(static, moving))
    assert first.startswith(
        "train: 33 % of the boxes hold almost no events (under 0.05 for each pixel); such"
    )
    share = 100 * moving.box_events.inside_share
    assert second.startswith(
        "the camera moves in some splits only: train has a static camera (95 % of the events in "
        f"boxes), val has a moving camera ({share:.0f} % of the events in boxes); results of"
    )
    alike = census(
        with_events("train", quiet_image(), BOXES[:2]), with_events("val", quiet_image(), BOXES[:2])
    )
    assert find_warnings(alike) == []
    table = format_census(census(static, moving))
    assert "train           95.2 %                  33.3 %  static" in table


@pytest.mark.parametrize(("left_out", "speaks"), [(750_000, True), (499_000, False), (None, False)])
def test_warning_of_what_downsample_leaves_out(left_out, speaks):
    known = dict(events_in_frames=1_000_000, events_left_out=left_out, downsample="nearest")
    found = find_warnings(census(recording("train", **known)))
    assert found == speaks * [
        "downsample nearest leaves out 750,000 of the 1,000,000 events in frames (75 %); "
        "--downsample sum keeps them, --downsample none keeps the full resolution too"
    ]


def test_strides_that_do_not_fit():
    made = census(recording("train", of=boxes((0, 7, 30), (1, 20, 20), (2, 600, 20))))
    fine, large = stride_warnings(made, (8, 16, 32))
    assert fine.startswith(
        "train: 33 % of the boxes have a side under 8 px, the finest stride (strides 8, 16, 32)"
    )
    assert (
        large.startswith("train: 33 % of the boxes have a side over 512 px")
        and "coarser strides" in large
    )
    assert len(stride_warnings(made, (2, 4, 8))) == 1  # over 128 px only
    assert (
        stride_warnings(census(recording("train", of=boxes((0, 8, 30), (1, 512, 20)))), (8, 16, 32))
        == []
    )


def test_classes_that_nobody_has_are_one_line():
    lines = format_census(
        census(recording("train", of=boxes((1, 20, 20))), recording("val", of=boxes((3, 20, 20))))
    )
    assert "no box of pedestrian, bicycle, motorbike, truck, tram, wheelchair" in lines
    assert not any(line.startswith("pedestrian") for line in lines.splitlines())
    found = find_warnings(
        census(recording("train", of=boxes((1, 20, 20))), recording("val", of=boxes((3, 20, 20))))
    )
    assert [
        sentence for sentence in found if sentence.startswith(("train: no box", "val: no box"))
    ] == [
        "train: no box of bus; a detector cannot learn them",
        "val: no box of car; no AP can be measured for them there",
    ]
    assert sum("in any split" in sentence for sentence in found) == 1


def test_unknown_light_and_slow_recordings():
    slow = dict(num_events=8_312, duration_s=2.0)
    made = census(recording("train", "street_1", **slow), recording("val", "night_1", **slow))
    train, val = (line.split() for line in format_census(made).splitlines()[2:4])
    assert train[:7] == ["train", "1", "-", "-", "2.0", "8,312", "4,156"] and val[2:4] == ["0", "1"]
    assert as_dict(made, [], [])["splits"]["train"]["day"] is None


def test_recording_and_folder_agree_on_what_downsample_leaves_out(tmp_path):
    """Counts left-out events in both ways.

    A quarter of the 4000 events is kept, those with an odd x and an odd y. Windows of 50 ms every
    100 ms hold half of all events.
    """
    write_recording(
        tmp_path / "raw" / "train", "a", boxes=make_boxes([100_000, 200_000, 300_000, 400_000])
    )
    summary = preprocess_folder(tmp_path / "raw", tmp_path / "out")
    (raw,), (folder,) = (take_census(tmp_path / name).recordings for name in ("raw", "out"))
    assert raw.events_in_frames == folder.events_in_frames
    assert (
        raw.events_left_out
        == folder.events_left_out
        == pytest.approx(0.75 * raw.events_in_frames, rel=0.05)
    )
    assert (
        f"downsample nearest leaves out {raw.events_left_out:,} of the {raw.events_in_frames:,}"
        in str(summary)
    )
    np.testing.assert_allclose(raw.box_events.per_px, folder.box_events.per_px)
