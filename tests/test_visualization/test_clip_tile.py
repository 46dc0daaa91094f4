"""Picture of one frame as the network gets it: its pixels and its caption."""

from __future__ import annotations

import numpy as np
import pytest

from etram_mmdet.visualization.canvas import INK, PAPER
from etram_mmdet.visualization.clip_sheet import (
    BORDER_PX,
    CAPTION_PX,
    DIM,
    HATCH,
    ON_ITS_OWN,
    STREAM_GOES_ON,
    STREAM_STARTS,
    caption,
    clip_tile,
    enlargement,
    legend_entries,
    what_it_teaches,
)
from etram_mmdet.visualization.draw import BACKGROUND, POSITIVE, text_width
from tests.helpers.seen import CLASSES, PALETTE, seen

SCALE = 6  # of frames that are 60 pixels wide
STARTS = [
    (dict(t=0), STREAM_GOES_ON, "stream goes on"),
    (dict(t=0, is_first=True), STREAM_STARTS, "stream starts"),
    (dict(t=0, is_first=True, streamed=False), ON_ITS_OWN, "random clip"),
]


def tile(**values):
    return clip_tile(seen(**values), CLASSES, PALETTE)


def picture(**values):
    """The tile without text and border."""
    return tile(**values)[CAPTION_PX + BORDER_PX : -BORDER_PX, BORDER_PX:-BORDER_PX]


def has_colour(image, colour):
    return bool((image == colour).all(-1).any())


def has_ink(image, colour):
    """Text is blended with the background, so its colour is only close."""
    return bool((np.abs(image.astype(int) - colour).sum(-1) < 40).any())


def border(image):
    """The four sides, as one row of pixels."""
    below = image[CAPTION_PX:]
    return np.concatenate([below[0], below[-1], below[:, 0], below[:, -1]])


@pytest.mark.parametrize(("values", "colour", "words"), STARTS)
def test_start_of_a_clip_is_coloured_and_named(values, colour, words):
    image = tile(**values)
    assert (border(image) == colour).all() and has_ink(image[:CAPTION_PX], colour)
    assert what_it_teaches(seen(**values)).startswith(words)


@pytest.mark.parametrize(("values", "colour", "words"), STARTS)
def test_later_frames_of_a_clip_are_not(values, colour, words):
    later = {**values, "t": 3}
    assert (border(tile(**later)) == PAPER).all()
    assert what_it_teaches(seen(**later)) == "labelled, boxes: 0"


def test_frame_is_enlarged_by_a_whole_factor():
    assert [enlargement(width) for width in (48, 96, 192, 240, 304, 640, 1280)] == [
        8,
        4,
        2,
        2,
        1,
        1,
        1,
    ]
    assert picture().shape == (SCALE * 36, SCALE * 60, 3)


def test_events_and_padding_are_where_they_are():
    maps = np.zeros((2, 36, 60), np.float32)
    maps[1, 7, 11] = 100
    image = picture(off_on=maps)
    assert (image[7 * SCALE : 8 * SCALE, 11 * SCALE : 12 * SCALE] == POSITIVE).all()
    frame, right, below = (
        image[: 35 * SCALE, : 58 * SCALE],
        image[: 35 * SCALE, 58 * SCALE :],
        image[35 * SCALE :],
    )
    assert not has_colour(frame, HATCH)
    for padding in (right, below):
        assert has_colour(padding, HATCH) and has_colour(padding, BACKGROUND)


def test_box_has_its_class_colour_at_its_place():
    changed = (picture(boxes=[[10, 15, 30, 25]]) != picture()).any(-1)
    rows, columns = changed.nonzero()
    assert (
        rows.max() <= 25 * SCALE + 1
        and columns.min() >= 10 * SCALE - 1
        and changed[25 * SCALE, 20 * SCALE]
    )
    assert tuple(picture(boxes=[[10, 15, 30, 25]])[25 * SCALE, 20 * SCALE]) == PALETTE[0]
    assert what_it_teaches(seen(1, boxes=[[10, 15, 30, 25]])) == "labelled, boxes: 1"


def test_frame_without_labels_says_so():
    assert what_it_teaches(seen(1, is_labelled=False)) == "not labelled"
    text = {labelled: tile(t=1, is_labelled=labelled)[20:CAPTION_PX] for labelled in (True, False)}
    assert has_ink(text[True], INK) and not has_ink(text[False], INK) and has_ink(text[False], DIM)


def test_place_without_a_frame_is_hatched_whole():
    empty = dict(is_padding=True, is_first=True, is_labelled=False, t_us=-1)
    image = picture(**empty)
    assert has_colour(image[:SCALE, :SCALE], HATCH)
    assert (border(tile(**empty)) == PAPER).all()
    assert (
        caption(seen(**empty), 300) == "lane 0   " and what_it_teaches(seen(**empty)) == "no frame"
    )


def test_caption():
    assert caption(seen(lane=3, t_us=1_250_000), 300) == "lane 3   day_0000   1.25 s"
    assert text_width(caption(seen(), 300)) < 300


@pytest.mark.parametrize("width_px", [180, 240, 300])
def test_long_name_loses_its_beginning(width_px):
    frame = seen(recording="a_long_name_of_a_recording_made_by_night_0042", t_us=2_000_000)
    text = caption(frame, width_px)
    assert text.startswith("lane 0   ..") and text.endswith("42   2.00 s")
    assert width_px - 25 < text_width(text) <= width_px


def test_legend_shows_every_mark():
    samples = np.hstack([sample for sample, _ in legend_entries(PALETTE)])
    for colour in (STREAM_STARTS, STREAM_GOES_ON, ON_ITS_OWN, HATCH, PALETTE[0], POSITIVE):
        assert has_colour(samples, colour)
