"""Augmentation moves pixels and boxes together, and the same way along a stream."""

from __future__ import annotations

import numpy as np
import pytest

from etram_mmdet.datasets.etram_dataset import ETraMDataset
from etram_mmdet.datasets.recorded_boxes import network_xyxy
from etram_mmdet.datasets.transforms.geometry import (
    ClipFlip,
    ClipZoom,
    crop_around,
    cut_to_frame,
    flip,
    keep_boxes,
    zoom_in,
    zoom_out,
)
from etram_mmdet.evaluation.results import Boxes
from etram_mmdet.events.labels import BBOX_DTYPE

H, W = 48, 64
BOX = np.array([[20, 10, 36, 22]], np.float32)  # edges: pixels 20 to 35 and 10 to 21


def clip(boxes=BOX, frames=3):
    """Frames that are filled exactly where the boxes are."""
    pixels = np.zeros((frames, 2, H, W), np.uint8)
    for x1, y1, x2, y2 in boxes.astype(int):
        pixels[..., y1:y2, x1:x2] = 7
    return pixels, [boxes.copy() for _ in range(frames)]


def filled(pixels):
    """Edges xyxy of what is filled."""
    ys, xs = np.nonzero(pixels[0, 0])
    return np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])


def results(seed, streamed, boxes=BOX):
    pixels, bboxes = clip(boxes)
    return dict(
        frames=pixels,
        bboxes=bboxes,
        labels=[np.zeros(len(b), int) for b in bboxes],
        tracks=[np.arange(len(b)) for b in bboxes],
        streamed=streamed,
        rng=np.random.default_rng(seed),
    )


def test_flip_mirrors_pixels_and_boxes():
    """A box goes from its first to its last pixel: columns 20 to 35 become 28 to 43."""
    pixels, boxes = flip(clip()[0], [BOX - np.float32([0, 0, 1, 1])])
    assert boxes[0].tolist() == [[28, 10, 43, 21]]
    assert (filled(pixels) - [0, 0, 1, 1]).tolist() == boxes[0][0].tolist()


def test_a_box_at_the_border_stays_at_the_border(sample):
    """As the loader cuts it, from 0 to W - 1: the whole frame is its own mirror image."""
    sequence = ETraMDataset(str(sample), "val", test_mode=True).sequences[0]
    boxes = np.zeros(2, BBOX_DTYPE)
    boxes["x"], boxes["w"], boxes["h"] = (-8, 0), (28, 500), (20, 500)  # in 96x64 sensor pixels
    loaded = network_xyxy(boxes, sequence.hw, sequence.scale)
    assert loaded.tolist() == [[0, 0, 10, 10], [0, 0, 47, 31]]
    (mirrored,) = flip(np.zeros((1, 2, *sequence.hw), np.uint8), [loaded])[1]
    assert mirrored.tolist() == [[37, 0, 47, 10], [0, 0, 47, 31]]
    assert np.array_equal(cut_to_frame(mirrored, sequence.hw, 0.25)[0], mirrored)
    assert np.array_equal(
        Boxes(mirrored, np.zeros(2, int)).clipped(sequence.hw).bboxes_xyxy, mirrored
    )


def test_flip_twice_is_identity():
    pixels, boxes = clip()
    twice, boxes_twice = flip(*flip(pixels, boxes))
    assert np.array_equal(twice, pixels)
    assert all(map(np.array_equal, boxes_twice, boxes))


@pytest.mark.parametrize("factor", [1.0, 1.1, 1.2])
@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.5, 0.3), (0.99, 0.99)])
def test_zoom_out_keeps_boxes_on_their_pixels(factor, offset):
    pixels, boxes = zoom_out(*clip(), factor, offset)
    assert np.abs(filled(pixels) - boxes[0][0]).max() <= 0.51
    assert boxes[0][0, 2] - boxes[0][0, 0] == pytest.approx(16 * int(W / factor) / W, abs=1e-4)


def test_zoom_out_offset_moves():
    near, far = (filled(zoom_out(*clip(), 1.2, o)[0]) for o in ((0.0, 0.0), (0.99, 0.99)))
    assert (far - near).tolist() == [W - int(W / 1.2), H - int(H / 1.2)] * 2


@pytest.mark.parametrize(("factor", "corner"), [(1.0, (0, 0)), (1.25, (4, 12)), (1.5, (4, 12))])
def test_zoom_in_keeps_boxes_on_their_pixels(factor, corner):
    pixels, boxes = zoom_in(*clip(), factor, corner)
    assert np.abs(filled(pixels) - boxes[0][0]).max() <= 0.5 * factor + 0.01


def test_zoom_in_cuts_boxes_and_drops_lost_ones():
    outside = np.array([[60, 40, 64, 48], [20, 10, 36, 22]], np.float32)
    transform = ClipZoom(random_prob=1.0, in_share=1.0)
    for seed in range(20):
        out = transform(results(seed, streamed=False, boxes=outside))
        for boxes, labels, tracks in zip(out["bboxes"], out["labels"], out["tracks"], strict=True):
            assert (
                len(boxes) == len(labels) == len(tracks) and tracks[-1] == 1
            )  # the second box is kept whole
            assert (boxes[:, 2:] > boxes[:, :2]).all() and (boxes >= 0).all()
            assert (boxes[:, 2] <= W - 1).all() and (boxes[:, 3] <= H - 1).all()


@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.5, 0.5), (0.999, 0.999)])
@pytest.mark.parametrize("factor", [1.1, 1.5])
def test_crop_holds_the_box(factor, offset):
    y, x = crop_around(BOX[0], (H, W), factor, offset)
    assert 0 <= y <= H - int(H / factor) and 0 <= x <= W - int(W / factor)
    assert x <= 20 and x + int(W / factor) >= 36
    assert y <= 10 and y + int(H / factor) >= 22


@pytest.mark.parametrize("transform", [ClipFlip(), ClipZoom(stream_prob=0.7)])
def test_constant_along_a_stream_and_new_in_the_next_pass(transform):
    outcomes = [transform(results((0, k), streamed=True))["bboxes"][0].tolist() for k in range(12)]
    again = [transform(results((0, k), streamed=True))["bboxes"][0].tolist() for k in range(12)]
    assert outcomes == again
    assert len({str(o) for o in outcomes}) > 1


def test_streams_are_never_enlarged():
    transform = ClipZoom(stream_prob=1.0)
    widths = [
        np.diff(transform(results(k, streamed=True))["bboxes"][0][0, ::2])[0] for k in range(30)
    ]
    assert max(widths) <= 16 and min(widths) >= 16 * int(W / 1.2) / W - 1e-4
    alone = [
        np.diff(ClipZoom()(results(k, streamed=False))["bboxes"][0][0, ::2])[0] for k in range(30)
    ]
    assert max(alone) > 16


def test_probability_zero_changes_nothing():
    for transform in (ClipFlip(prob=0.0), ClipZoom(stream_prob=0.0, random_prob=0.0)):
        for streamed in (True, False):
            before, after = results(1, streamed), transform(results(1, streamed))
            assert np.array_equal(before["frames"], after["frames"])
            assert before["bboxes"][0].tolist() == after["bboxes"][0].tolist()


def test_boxes_are_cut_and_kept_by_the_area_that_stays():
    """Shares by hand: all, a quarter, nothing (beside the frame), nothing (flat before)."""
    boxes = np.array([[0, 0, 63, 47], [59, 43, 67, 51], [63, 0, 70, 5], [3, 4, 3, 9]], np.float32)
    cut, keep = cut_to_frame(boxes, (H, W), 0.25)
    assert cut.tolist() == [[0, 0, 63, 47], [59, 43, 63, 47], [63, 0, 63, 5], [3, 4, 3, 9]]
    assert keep.tolist() == [True, True, False, False]
    assert cut_to_frame(boxes, (H, W), 0.26)[1].tolist() == [True, False, False, False]
    assert [part.shape for part in cut_to_frame(boxes[:0], (H, W), 0.25)] == [(0, 4), (0,)]


def test_what_is_listed_beside_boxes_is_kept_in_step():
    lists = dict(bboxes=[BOX, BOX[:0]], labels=[np.array([3]), np.empty(0, int)], frames=5)
    kept = keep_boxes(dict(lists), [np.array([False]), np.empty(0, bool)])
    assert [len(v) for v in kept["bboxes"] + kept["labels"]] == [0] * 4 and kept["frames"] == 5
    kept = keep_boxes(
        lists | dict(tracks=[np.array([8]), np.empty(0, int)]),
        [np.array([True]), np.empty(0, bool)],
    )
    assert [v.tolist() for v in kept["tracks"]] == [[8], []]


def test_inputs_are_not_changed():
    pixels, boxes = clip()
    pixels.flags.writeable = boxes[0].flags.writeable = False
    for function, args in ((flip, ()), (zoom_out, (1.2, (0.2, 0.2))), (zoom_in, (1.2, (2, 2)))):
        function(pixels, boxes, *args)
