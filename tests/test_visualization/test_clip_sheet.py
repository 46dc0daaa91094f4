"""Batches in one picture and as a film: the place of each frame."""

from __future__ import annotations

import numpy as np
import pytest

from etram_mmdet.visualization.canvas import GAP_PX, STRIP_PX, legend
from etram_mmdet.visualization.clip_sheet import (
    CLIP_GAP_PX,
    STREAM_GOES_ON,
    STREAM_STARTS,
    clip_film,
    clip_sheet,
    clip_tile,
    legend_entries,
)
from tests.helpers.seen import CLASSES, PALETTE, seen

T, LANES = 3, 2


@pytest.fixture
def batches():
    """Two batches, of which only lane 1 of the second starts a stream.

    Each frame has an event at a place of its own.
    """
    made = [
        [
            [seen(t, lane, is_first=(i, t, lane) == (1, 0, 1)) for t in range(T)]
            for lane in range(LANES)
        ]
        for i in (0, 1)
    ]
    for i, batch in enumerate(made):
        for lane, clip in enumerate(batch):
            for t, frame in enumerate(clip):
                frame.off_on[0, 1 + i * LANES + lane, t] = 9
    return made


def drawn(frame):
    return clip_tile(frame, CLASSES, PALETTE)


def test_sheet_has_a_row_per_lane_and_time_runs_to_the_right(batches):
    sheet = clip_sheet(iter(batches), CLASSES, PALETTE)
    height, width = drawn(batches[0][0][0]).shape[:2]
    clip_px = GAP_PX + T * (width + GAP_PX) + CLIP_GAP_PX
    key = legend(legend_entries(PALETTE), 2 * clip_px)
    assert sheet.shape == (len(key) + STRIP_PX + LANES * (height + GAP_PX), 2 * clip_px, 3)
    assert (sheet[: len(key)] == key).all()
    for i, batch in enumerate(batches):
        for lane, clip in enumerate(batch):
            for t, frame in enumerate(clip):
                y = len(key) + STRIP_PX + lane * (height + GAP_PX)
                x = i * clip_px + GAP_PX + t * (width + GAP_PX)
                assert (sheet[y : y + height, x : x + width] == drawn(frame)).all(), (i, lane, t)


def test_film_has_a_picture_per_time_step(batches):
    images = list(clip_film(batches, CLASSES, PALETTE))
    assert len(images) == 2 * T and len({image.shape for image in images}) == 1
    height, width = drawn(batches[0][0][0]).shape[:2]
    for k, image in enumerate(images):
        for lane in range(LANES):
            x = GAP_PX + lane * (width + GAP_PX)
            assert (
                image[STRIP_PX : STRIP_PX + height, x : x + width]
                == drawn(batches[k // T][lane][k % T])
            ).all()
    for colour, steps in ((STREAM_STARTS, [3]), (STREAM_GOES_ON, [0, 3])):
        marked = [(image[STRIP_PX : STRIP_PX + height] == colour).all(-1).any() for image in images]
        assert np.flatnonzero(marked).tolist() == steps


@pytest.mark.parametrize(
    ("lanes", "columns", "rows"), [(1, 1, 1), (2, 2, 1), (4, 2, 2), (6, 3, 2), (8, 3, 3)]
)
def test_lanes_of_a_film_are_tiled(lanes, columns, rows):
    image = next(clip_film([[[seen(lane=lane)] for lane in range(lanes)]], CLASSES, PALETTE))
    height, width = (side + GAP_PX for side in drawn(seen()).shape[:2])
    key = legend(legend_entries(PALETTE), columns * width + GAP_PX)
    assert image.shape == (STRIP_PX + rows * height + len(key), columns * width + GAP_PX, 3)


def test_headline_counts_batches_and_frames(batches):
    heads = [image[:STRIP_PX] for image in clip_film(batches, CLASSES, PALETTE)]
    assert all((heads[i] != heads[j]).any() for i in range(len(heads)) for j in range(i))
    assert np.ptp([head.mean() for head in heads]) < 1
