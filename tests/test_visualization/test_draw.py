"""Pictures of frames: their pixels."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from etram_mmdet.evaluation.results import Boxes, FrameResult
from etram_mmdet.visualization.detection_sheet import _legend, contact_sheet
from etram_mmdet.visualization.draw import (
    BACKGROUND,
    BLACK,
    MISSED,
    NEGATIVE,
    POSITIVE,
    WHITE,
    draw_boxes,
    draw_frame,
    events_to_rgb,
)

CLASSES = ("pedestrian", "car")
PALETTE = ((255, 94, 58), (66, 165, 245))


def read_only(values, dtype):
    array = np.array(values, dtype=dtype)
    array.flags.writeable = False
    return array


def histogram(height=64, width=96, bins=2):
    """One negative event at (y 5, x 7), many positive ones at (y 40, x 60), in different bins."""
    counts = np.zeros((2 * bins, height, width), np.uint8)
    counts[1, 5, 7] = 1
    counts[bins : bins + 2, 40, 60] = 128  # 256 in all: nothing, if they were added as bytes
    counts.flags.writeable = False
    return counts


def frame(gt=(), detections=(), scores=(), recording="day_000", t_us=1_250_000):
    return FrameResult(
        recording=recording,
        t_us=t_us,
        truth=boxes(gt, [0] * len(gt)),
        found=boxes(detections, [1] * len(detections), scores),
    )


def boxes(bboxes_xyxy, labels, scores=None) -> Boxes:
    return Boxes(
        read_only(bboxes_xyxy, np.float32).reshape(-1, 4),
        read_only(labels, np.int64),
        None if scores is None else read_only(scores, np.float32),
    )


def has_colour(image, colour):
    return (image == colour).all(-1).any()


def test_polarity_is_a_colour_and_count_its_strength():
    image = events_to_rgb(histogram())
    assert image.shape == (64, 96, 3) and image.dtype == np.uint8
    assert image[5, 7] == pytest.approx((np.array(BACKGROUND) + NEGATIVE) / 2, abs=1)
    assert tuple(image[40, 60]) == POSITIVE
    others = np.ones((64, 96), bool)
    others[[5, 40], [7, 60]] = False
    assert (image[others] == BACKGROUND).all()


def test_both_polarities_blend():
    counts = np.full((2, 1, 1), 100, np.uint8)
    assert events_to_rgb(counts)[0, 0] == pytest.approx((np.array(NEGATIVE) + POSITIVE) / 2, abs=1)


def test_box_edges_are_where_the_box_is():
    image = np.zeros((120, 200, 3), np.uint8)
    image.flags.writeable = False
    drawn = draw_boxes(image, boxes([[10, 10, 40, 25]], [1], [0.9]), CLASSES, PALETTE, scale=4)
    for y, x in ((40, 100), (100, 100), (70, 40), (70, 160)):
        assert tuple(drawn[y, x]) == PALETTE[1]
    assert (drawn[50:90, 50:150] == 0).all()
    assert (drawn[110:] == 0).all()
    assert (
        tuple(drawn[39, 40]) == PALETTE[1] and (drawn[25:38, 39:100].max(-1) < 80).any()
    )  # plate, ink


def test_dashes_show_gaps_and_name_below():
    image = np.full((120, 200, 3), 90, np.uint8)
    drawn = draw_boxes(image, boxes([[20, 20, 120, 60]], [0]), CLASSES, [WHITE] * 2, dashed=True)
    edge = drawn[20, 20:120]
    assert has_colour(edge, WHITE) and has_colour(edge, BLACK)
    assert (drawn[:20] == 90).all() and (drawn[21:60, 21:120] == 90).all()
    assert (drawn[62:77, 20:60] != 90).any()


def test_score_is_written():
    def drawn(score):
        scores = None if score is None else [score]
        return draw_boxes(
            np.zeros((60, 120, 3), np.uint8),
            boxes([[20, 30, 60, 50]], [1], scores),
            CLASSES,
            PALETTE,
        )

    assert (drawn(0.25) != drawn(0.75)).any()
    assert (drawn(None)[15:28] == PALETTE[1]).all(-1).sum() < (
        drawn(0.25)[15:28] == PALETTE[1]
    ).all(-1).sum()


def test_best_box_is_on_top():
    corners = [[20, 30, 80, 70]] * 2
    for scores, top in (([0.9, 0.4], 0), ([0.4, 0.9], 1)):
        drawn = draw_boxes(
            np.zeros((90, 160, 3), np.uint8), boxes(corners, [0, 1], scores), CLASSES, PALETTE
        )
        assert tuple(drawn[70, 50]) == PALETTE[top]


@pytest.mark.parametrize("dashed", [False, True])
@pytest.mark.parametrize(
    "box", [[-30, -30, 400, 400], [90, 60, 96, 64], [0, 0, 1, 1], [5, 5, 5, 5], [0, 60, 5, 64]]
)
def test_boxes_at_the_border_stay_in_the_picture(box, dashed):
    image = draw_boxes(
        np.zeros((64, 96, 3), np.uint8), boxes([box], [0]), CLASSES, PALETTE, dashed=dashed
    )
    assert image.shape == (64, 96, 3)
    assert has_colour(image, PALETTE[0])


def test_missed_boxes_are_marked():
    """A detection that reaches beyond the frame is clipped before it is compared.

    A detection of another class does not count.
    """
    truth = [[10, 10, 30, 30], [60, 40, 95, 63], [60, 5, 80, 25]]
    detections = [[13, 13, 33, 33], [60, 40, 140, 90], [63, 8, 83, 28]]
    shown = frame(gt=truth, detections=detections, scores=[0.8, 0.8, 0.8])
    shown = shown._replace(truth=replace(shown.truth, labels=np.array([1, 1, 0])))
    image = draw_frame(histogram(), shown, CLASSES, PALETTE, min_score=0.3)
    assert tuple(image[10, 10]) == WHITE and has_colour(image, MISSED)
    assert not has_colour(
        draw_frame(histogram(), shown, CLASSES, PALETTE, mark_missed=False), MISSED
    )
    found = shown._replace(truth=shown.truth[:2])
    assert not has_colour(draw_frame(histogram(), found, CLASSES, PALETTE, min_score=0.3), MISSED)
    assert has_colour(draw_frame(histogram(), found, CLASSES, PALETTE, min_score=0.9), MISSED)


def test_frame_shows_truth_and_confident_detections():
    shown = frame(
        gt=[[10, 10, 30, 30]], detections=[[50, 10, 70, 30], [50, 40, 70, 60]], scores=[0.8, 0.2]
    )
    image = draw_frame(histogram(), shown, CLASSES, PALETTE, scale=4, min_score=0.3)
    assert image.shape == (256, 384, 3)
    assert tuple(image[120, 240]) == PALETTE[1]  # lower edge of the confident one
    assert not has_colour(image[160:245, 195:290], PALETTE[1])
    assert tuple(image[40, 40]) == MISSED and not has_colour(image, PALETTE[0])
    assert (image[160:164, 240:244] == POSITIVE).all()  # one event pixel, enlarged


def test_sheet_is_written_whole(tmp_path):
    path = tmp_path / "pictures" / "sheet.png"
    sheet = contact_sheet(
        [(histogram(), frame(t_us=i)) for i in range(5)], path, CLASSES, PALETTE, columns=3
    )
    assert 1000 <= sheet.shape[1] <= 1400
    assert sheet.shape[1] == 10 + 3 * (4 * 96 + 10)
    assert sheet.shape[0] == 34 + 2 * (
        24 + 4 * 64 + 10
    )  # legend, then two rows of caption, picture and margin
    assert (cv2.imread(str(path))[..., ::-1] == sheet).all()
    assert [file.name for file in path.parent.iterdir()] == ["sheet.png"]


def test_sheet_captions_and_legend_tell_tiles_apart(tmp_path):
    def sheet(min_score=0.3, **named):
        return contact_sheet(
            [(histogram(), frame(**named))], tmp_path / "a.png", CLASSES, PALETTE, 1, min_score
        )

    first = sheet()
    for other in (sheet(recording="night_001"), sheet(t_us=2_250_000)):
        assert (first[34:58] != other[34:58]).any()
        assert (first[:34] == other[:34]).all() and (first[58:] == other[58:]).all()
    assert has_colour(first[:34], PALETTE[0]) and has_colour(first[:34], WHITE)
    assert has_colour(first[:34], POSITIVE) and has_colour(first[:34], NEGATIVE)
    assert (first[:34] != sheet(min_score=0.5)[:34]).any()


def test_sheet_of_large_and_unequal_frames(tmp_path):
    frames = [(histogram(360, 640), frame()), (histogram(180, 320), frame())]
    assert contact_sheet(frames, tmp_path / "a.png", CLASSES, PALETTE, columns=2).shape[:2] == (
        34 + 394,
        10 + 2 * 650,
    )
    narrow = contact_sheet(
        [(histogram(64, 600), frame())], tmp_path / "b.png", CLASSES, PALETTE, columns=1
    )
    assert narrow.shape[1] == 10 + 2 * 600 + 10


def test_legend_wraps_on_a_narrow_sheet():
    wide, narrow = (_legend(width, 0.3, PALETTE[0]) for width in (1400, 420))
    assert narrow.shape[0] > wide.shape[0] and narrow.shape[1] == 420
    for colour in (WHITE, PALETTE[0], POSITIVE, NEGATIVE):
        assert has_colour(narrow, colour)


def test_sheet_of_nothing_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no frame to draw"):
        contact_sheet([], tmp_path / "a.png", CLASSES, PALETTE)
