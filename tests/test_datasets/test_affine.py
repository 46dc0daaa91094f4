"""Affine augmentation moves pixels and boxes together, and the same way along a stream."""

from __future__ import annotations

import numpy as np
import pytest
from mmengine.config import Config

from etram_mmdet.datasets.transforms.affine import ClipAffine, affine, affine_matrix
from tests.helpers.paths import ROOT

H, W = 48, 64
BOX = np.array([[20, 10, 36, 22]], np.float32)  # edges: pixels 20 to 35 and 10 to 21


def noise(hw=(H, W), dtype=np.uint8):
    info = np.iinfo(dtype)
    return np.random.default_rng(0).integers(info.min, info.max, (3, 2, *hw), dtype, endpoint=True)


def filled_clip(boxes=BOX):
    """Frames that are filled exactly where the boxes are."""
    pixels = np.zeros((3, 2, H, W), np.uint8)
    for x1, y1, x2, y2 in boxes.astype(int):
        pixels[..., y1:y2, x1:x2] = 7
    return pixels, [boxes] * 3


def filled(pixels):
    """Edges xyxy of what is filled."""
    ys, xs = np.nonzero(pixels[0, 0])
    return np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])


def results(seed=0, boxes=BOX):
    pixels, bboxes = filled_clip(boxes)
    return dict(
        frames=pixels,
        bboxes=bboxes,
        labels=[np.arange(len(boxes)) for _ in bboxes],
        tracks=[np.arange(len(boxes)) + 10 for _ in bboxes],
        rng=np.random.default_rng(seed),
    )


def only(**what) -> ClipAffine:
    """The transform with one part of it at work, always."""
    return ClipAffine(
        **dict(prob=1.0, max_rotate_deg=0, max_translate=0, scale=(1, 1), max_shear_deg=0) | what
    )


def matrices(transform, num=300) -> np.ndarray:
    return np.stack([transform.draw(np.random.default_rng(seed), (H, W)) for seed in range(num)])


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_identity_changes_nothing(dtype):
    boxes = [
        np.array([[0, 0, W, H], [0.3, 1.7, 20.1, 47.9]], np.float32),
        np.empty((0, 4), np.float32),
        BOX,
    ]
    frames, moved = affine(noise(dtype=dtype), boxes, affine_matrix((H, W)))
    assert frames.dtype == dtype and np.array_equal(frames, noise(dtype=dtype))
    assert all(map(np.array_equal, moved, boxes)) and [b.dtype for b in moved] == [np.float32] * 3


def test_whole_pixels_move_exactly():
    frames, boxes = affine(noise(), [BOX], affine_matrix((H, W), translate_xy=(5 / W, -3 / H)))
    expected = np.zeros_like(frames)
    expected[..., : H - 3, 5:] = noise()[..., 3:, : W - 5]
    assert np.array_equal(frames, expected)
    assert boxes[0].tolist() == [[25, 7, 41, 19]]


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_a_quarter_turn_is_rot90(dtype):
    pixels, boxes = noise((H, H), dtype), np.array([[20, 10, 36, 22], [0, 0, 48, 1.5]], np.float32)
    frames, moved = affine(pixels, [boxes], affine_matrix((H, H), rotate_deg=90))
    assert np.array_equal(frames, np.rot90(pixels, axes=(2, 3)))
    np.testing.assert_allclose(moved[0], [[10, 12, 22, 28], [0, 0, 1.5, 48]], atol=1e-12)


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.0, 1.3, 1.5])
@pytest.mark.parametrize("move", [(0.0, 0.0), (0.031, -0.07), (-0.1, 0.05)])
def test_scaled_and_moved_boxes_stay_on_their_pixels(factor, move):
    pixels, boxes = affine(*filled_clip(), affine_matrix((H, W), scale=factor, translate_xy=move))
    assert np.abs(filled(pixels) - np.clip(boxes[0][0], 0, (W, H, W, H))).max() <= 1
    x1, y1, x2, y2 = boxes[0][0]
    assert (x2 - x1, y2 - y1) == pytest.approx((16 * factor, 12 * factor), abs=1e-4)
    # moved first, as a share of the frame, then scaled about its centre (32, 24)
    centre = (28 + move[0] * W - 32) * factor + 32, (16 + move[1] * H - 24) * factor + 24
    assert ((x1 + x2) / 2, (y1 + y2) / 2) == pytest.approx(centre, abs=1e-4)


def test_a_turned_box_holds_the_ellipse():
    """By hand, for radii 20 and 10 at 30 degrees.

    They reach sqrt(300 + 25) and sqrt(100 + 75); the corners would reach 22.3 and 18.7.
    """
    box = np.array([[12, 14, 52, 34]], np.float32)
    _, boxes = affine(noise(), [box], affine_matrix((H, W), rotate_deg=30))
    reach = np.sqrt([325, 175])
    np.testing.assert_allclose(
        boxes[0][0], [*(np.array([32, 24]) - reach), *(np.array([32, 24]) + reach)], atol=1e-5
    )


def test_shear_moves_rows_sideways():
    """At 30 degrees a row moves by tan(30) of its distance from the middle.

    Row 10 moves by -7.79 px, row 21 by -1.44.
    """
    pixels, boxes = affine(*filled_clip(), affine_matrix((H, W), shear_deg=30))
    assert filled(pixels).tolist() == [20 - 8, 10, 36 - 1, 22]
    x1, y1, x2, y2 = boxes[0][0]
    assert (y1, y2) == pytest.approx((10, 22)) and (x1 + x2) / 2 == pytest.approx(28 - 8 / 3**0.5)
    assert (x2 - x1) / 2 == pytest.approx((8**2 + 6**2 / 3) ** 0.5, abs=1e-4)


def test_each_part_is_drawn_from_its_whole_range():
    turn = matrices(only(max_rotate_deg=30))
    angles = np.rad2deg(np.arctan2(turn[:, 0, 1], turn[:, 0, 0]))
    assert -30 <= angles.min() < -28 and 28 < angles.max() <= 30
    np.testing.assert_allclose(
        turn[:, :, :2] @ turn[:, :, :2].transpose(0, 2, 1),
        np.broadcast_to(np.eye(2), (300, 2, 2)),
        atol=1e-12,
    )
    moves = matrices(only(max_translate=0.5))[:, :, 2]
    assert (np.abs(moves) <= (W / 2, H / 2)).all() and (
        np.abs(moves).max(0) > (0.48 * W, 0.48 * H)
    ).all()
    assert (moves.min(0) < 0).all() and abs(np.corrcoef(moves.T)[0, 1]) < 0.2
    scales = matrices(only(scale=(0.5, 1.5)))[:, 0, 0]
    assert 0.5 <= scales.min() < 0.52 and 1.48 < scales.max() <= 1.5
    shears = matrices(only(max_shear_deg=30))
    tilts = np.rad2deg(np.arctan(shears[:, 0, 1]))
    assert (
        -30 <= tilts.min() < -28 and 28 < tilts.max() <= 30 and (shears[:, 1, :2] == [0, 1]).all()
    )
    both = matrices(only(max_rotate_deg=30, max_shear_deg=30))[
        :, :, :2
    ]  # columns (c - t s, -s) and (s + t c, c)
    tilts = (both[:, 0, 1] + both[:, 1, 0]) / both[:, 1, 1]
    assert abs(np.corrcoef(both[:, 1, 0], tilts)[0, 1]) < 0.2


def test_each_part_has_its_own_chance():
    """In 0.4^4 of the clips none of the four parts is applied.

    A clip without rotation and shear has no slanted rows.
    """
    drawn = matrices(ClipAffine(), 2000)
    is_slanted = drawn[:, 0, 1] != 0
    is_moved = (drawn[:, :, :2] @ [W / 2, H / 2] + drawn[:, :, 2] != [W / 2, H / 2]).any(1)
    rests = (drawn == affine_matrix((H, W))).all((1, 2))
    assert 0.4**4 - 0.012 < rests.mean() < 0.4**4 + 0.012
    assert is_slanted.mean() == pytest.approx(1 - 0.4**2, abs=0.04)
    assert (is_moved & ~is_slanted).any() and (is_slanted & (drawn[:, 1, 0] == 0)).any()


def test_half_lost_boxes_are_cut_and_lost_ones_dropped_with_label_and_track():
    boxes = np.array(
        [[0, 10, 40, 20], [0, 10, 10, 20], [30, 10, 34, 20], [0, 0, 43, 20]], np.float32
    )
    transform = ClipAffine(min_visible=0.25)
    transform.draw = lambda rng, hw: affine_matrix(
        hw, translate_xy=(-30 / W, 0)
    )  # 30 px to the left
    out = transform(results(boxes=boxes))
    for frame in range(3):
        assert out["bboxes"][frame].tolist() == [[0, 10, 10, 20], [0, 10, 4, 20], [0, 0, 13, 20]]
        assert out["labels"][frame].tolist() == [0, 2, 3] and out["tracks"][frame].tolist() == [
            10,
            12,
            13,
        ]
    transform.min_visible = 0.26
    assert transform(results(boxes=boxes))["labels"][0].tolist() == [2, 3]
    transform.min_visible = 0.0
    assert transform(results(boxes=boxes))["labels"][0].tolist() == [0, 2, 3]  # flat ones never


def test_boxes_stay_in_the_frame_and_in_step():
    boxes = np.array([[60, 40, 64, 48], [20, 10, 36, 22], [0, 0, 64, 48]], np.float32)
    for seed in range(40):
        out = ClipAffine()(results(seed, boxes))
        for bboxes, labels, tracks in zip(out["bboxes"], out["labels"], out["tracks"], strict=True):
            assert len(bboxes) == len(labels) == len(tracks) and np.array_equal(labels + 10, tracks)
            assert (bboxes[:, 2:] > bboxes[:, :2]).all() and (bboxes >= 0).all()
            assert (bboxes[:, 2] <= W - 1).all() and (bboxes[:, 3] <= H - 1).all()


def test_constant_along_a_stream_and_new_in_the_next_pass():
    drawn, again = matrices(ClipAffine(prob=1.0), 12), matrices(ClipAffine(prob=1.0), 12)
    assert np.array_equal(drawn, again) and len({m.tobytes() for m in drawn}) == 12
    first, second = (ClipAffine(prob=1.0)(results((0, 3))) for _ in range(2))
    assert np.array_equal(first["frames"], second["frames"])


def test_the_same_numbers_are_drawn_whether_used_or_not():
    states = []
    for prob in (0.0, 0.5, 1.0):
        rng = np.random.default_rng(4)
        ClipAffine(prob=prob)(results() | dict(rng=rng))
        states.append(rng.bit_generator.state)
    assert states[0] == states[1] == states[2]


def test_probability_zero_changes_nothing():
    before, after = results(), ClipAffine(prob=0.0)(results())
    assert np.array_equal(before["frames"], after["frames"])
    assert all(map(np.array_equal, before["bboxes"], after["bboxes"]))


def test_clips_without_boxes():
    out = ClipAffine(prob=1.0)(results(boxes=np.empty((0, 4), np.float32)))
    assert [b.shape for b in out["bboxes"]] == [(0, 4)] * 3 and not any(map(len, out["labels"]))


def test_inputs_are_not_changed():
    pixels, boxes = filled_clip()
    pixels.flags.writeable = boxes[0].flags.writeable = False
    affine(pixels, boxes, affine_matrix((H, W), 20, (0.1, 0.2), 1.2, 10))


def test_the_baseline_does_not_use_it():
    pipeline = Config.fromfile(ROOT / "configs" / "baseline.py").train_dataloader.dataset.pipeline
    assert not {"ClipAffine", "ClipCopyPaste"} & {transform.type for transform in pipeline}
