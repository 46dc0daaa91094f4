"""Matching and average precision: equal to COCO's numbers, for any part of the data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from etram_mmdet.evaluation.average_precision import PrecisionTable, mean_ap
from etram_mmdet.evaluation.breakdown import recall_at_false_alarms
from etram_mmdet.evaluation.coco import coco_metrics
from etram_mmdet.evaluation.curves import class_counts, confusion_matrix, recall_by_side
from etram_mmdet.evaluation.event_coco_metric import frame_of
from etram_mmdet.evaluation.matching import LEFT_OUT, match, match_pairs
from etram_mmdet.evaluation.pairs import Overlaps
from etram_mmdet.evaluation.results import Boxes, FrameResult
from etram_mmdet.utils.errors import InputError
from tests.helpers.coco_referee import coco_numbers, coco_tables
from tests.helpers.random_frames import STYLES, random_frames
from tests.test_evaluation.test_event_coco_metric import CLASSES, random_samples


def frames_of(seed: int, count: int = 40) -> list[FrameResult]:
    """Frames in which some detections end before they begin; COCO drops them if unmatched."""
    frames = [frame_of(sample, len(CLASSES)) for sample in random_samples(count, seed)]
    return sorted(frames, key=lambda frame: frame.key)


def frame(
    truth, found, scores=None, labels=None, found_labels=None, recording="day_0"
) -> FrameResult:
    truth, found = (np.array(boxes, np.float32).reshape(-1, 4) for boxes in (truth, found))
    labels = np.zeros(len(truth), np.int64) if labels is None else np.array(labels)
    found_labels = (
        np.zeros(len(found), np.int64) if found_labels is None else np.array(found_labels)
    )
    scores = np.linspace(0.9, 0.1, len(found)) if scores is None else np.array(scores)
    found = Boxes(found, found_labels, scores.astype(np.float32))
    return FrameResult(recording, 0, Boxes(truth, labels), found)


def each_its_own(frames: list[FrameResult]) -> np.ndarray:
    return np.arange(len(frames))


@pytest.mark.parametrize("seed", range(3))
def test_equals_coco_for_every_class_and_threshold(seed):
    frames = frames_of(seed)
    precision, _ = coco_tables(frames, CLASSES)
    expected = precision[..., 0, -1].mean(1).T  # (K, T), -1 without boxes
    ours = PrecisionTable(
        match(frames), len(CLASSES), each_its_own(frames) % 3
    ).average_precision()[..., 0]
    assert np.allclose(np.nan_to_num(ours, nan=-1), expected, atol=1e-12)
    assert mean_ap(ours) == pytest.approx(coco_metrics(frames, CLASSES)["AP"], abs=1e-12)


@pytest.mark.parametrize("size, low, high", [("S", 0, 32), ("M", 32, 96), ("L", 96, 1e5)])
def test_sizes_are_cocos_ranges(size, low, high):
    """No box is on a border of two ranges, where COCO would count it in both."""
    frames = frames_of(0, count=60)
    matches = match(frames, is_ignored=lambda areas: (areas < low**2) | (areas > high**2))
    ours = PrecisionTable(matches, len(CLASSES), each_its_own(frames)).average_precision()[..., 0]
    assert mean_ap(ours) == pytest.approx(
        coco_metrics(frames, CLASSES)[f"AP_{size}_network_px"], abs=1e-12
    )


def hard_frames() -> list[FrameResult]:
    """Frames with tied scores, boxes on borders of sizes, crowds, 300 detections, or nothing.

    Every third frame holds detections of one class only, so that `MAX_DETECTIONS` leaves some out.
    Class 3 has detections and no box.
    """
    rng = np.random.default_rng(7)

    def boxes(count: int) -> np.ndarray:
        corners = rng.integers(0, (200, 150), (count, 2))
        return np.hstack([corners, corners + rng.choice([3, 12, 32, 96, 110], (count, 2))])

    frames = []
    for i in range(42):
        truth = boxes(0 if i % 7 == 0 else int(rng.integers(0, 9)))
        labels = rng.integers(0, 3, len(truth))
        alarms = int(rng.choice([0, 3, 300]))
        moved = truth + rng.integers(-2, 3, truth.shape)
        found = np.vstack([moved, truth[::2], boxes(alarms)])
        found_labels = np.concatenate([labels, labels[::2], rng.integers(0, 4, alarms)])
        if i % 3 == 0:
            found_labels[:] = 1
        scores = rng.integers(1, 20, len(found)) / 20
        one = frame(truth, found, scores, labels, found_labels, recording=f"day_{i % 5}")
        crowds = Boxes(boxes(i % 3).astype(np.float32), rng.integers(0, 3, i % 3))
        frames.append(one._replace(ignored=crowds, t_us=i, scale=2))
    return frames


@pytest.mark.parametrize("shift", [0, 21])
def test_hard_frames_have_pycocotools_numbers(shift):
    frames = hard_frames()
    frames = frames[shift:] + frames[:shift]  # ties are ranked in another order
    assert max(len(f.found) for f in frames) > 300 and not all(len(f.truth) for f in frames)
    found = coco_metrics(frames, CLASSES)
    expected = coco_numbers(frames, CLASSES)
    assert {key: found[key] for key in expected} == pytest.approx(expected, abs=1e-12)
    assert 0.01 < found["AP"] < 0.9 and f"AP_{CLASSES[3]}" not in found


@pytest.mark.parametrize("seed", range(20, 20 + 3 * len(STYLES)))
def test_random_frames_have_pycocotools_numbers(seed):
    """``tests/proofs/coco_numbers.py`` compares as many seeds as wanted."""
    frames, classes = random_frames(seed)
    found = coco_metrics(frames, classes)
    for key in ("frames", "boxes", "AP_small_classes"):
        found.pop(key, None)
    assert found == pytest.approx(coco_numbers(frames, classes), abs=1e-12)


@pytest.mark.parametrize("low, high", [(0, 40**2), (40**2, 1e9)])
def test_one_search_serves_every_range(low, high):
    """A range matches the same boxes, whether its pairs are searched for alone or shared."""
    frames = hard_frames()
    pairs = Overlaps(frames).ranked()
    assert 0 < len(pairs.rows) < len(pairs.scores) / 2
    alone = match(frames, is_ignored=lambda areas: (areas < low) | (areas >= high))
    shared = match_pairs(pairs, lambda t: (t.areas_px2 < low) | (t.areas_px2 >= high))
    assert np.array_equal(alone.found, shared.found)
    assert (alone.found == LEFT_OUT).any() and alone.is_hit.any() and alone.is_alarm.any()
    assert np.array_equal(shared.at(5).found[0], shared.found[5])


def test_ties_in_reverse_order_are_those_of_reversed_frames():
    frames = hard_frames()
    backwards = [f._replace(found=f.found[::-1]) for f in reversed(frames)]
    first, last, expected = (
        PrecisionTable(match_pairs(pairs), len(CLASSES), np.zeros(len(frames), int))
        .average_precision()[..., 0]
        .tolist()[:3]
        for pairs in (
            Overlaps(frames).ranked(),
            Overlaps(frames).ranked(last_first=True),
            Overlaps(backwards).ranked(),
        )
    )
    assert last == expected and first != last


def test_weights_are_repeated_recordings():
    """No scores are equal, since their order would be that of frames.

    There are more weightings than are computed at a time.
    """
    rng = np.random.default_rng(0)
    frames = [
        f._replace(found=replace(f.found, scores=rng.random(len(f.found)).astype(np.float32)))
        for f in frames_of(1)
    ]
    weights = rng.integers(0, 3, (len(frames), 70))
    ours = PrecisionTable(match(frames), len(CLASSES), each_its_own(frames)).average_precision(
        weights
    )
    for b in (0, 1, 69):
        repeated = [
            f for f, weight in zip(frames, weights[:, b], strict=True) for _ in range(weight)
        ]
        plain = PrecisionTable(
            match(repeated), len(CLASSES), each_its_own(repeated)
        ).average_precision()[..., 0]
        assert np.allclose(ours[..., b], plain, atol=1e-12, equal_nan=True)
    assert np.ptp([mean_ap(ours[..., b]) for b in range(70)]) > 0.01


def test_a_better_box_goes_to_the_better_detection():
    """The first detection gets the box that it overlaps most, the second the other one.

    No box is left for the third.
    """
    truth = [[0, 0, 10, 10], [2, 0, 12, 10]]
    found = [[2, 0, 12, 10], [2, 0, 12, 10], [2, 0, 12, 10]]
    assert match([frame(truth, found)], [0.5]).found.tolist() == [[1, 0, -1]]
    assert match([frame(truth, found)], [0.7]).found.tolist() == [[1, -1, -1]]


def test_classes_are_kept_apart_unless_told_otherwise():
    one = frame([[0, 0, 10, 10]], [[0, 0, 10, 10]], found_labels=[1])
    assert match([one], [0.5]).found.tolist() == [[-1]]
    assert match([one], [0.5], by_class=False).found.tolist() == [[0]]


def test_a_box_that_does_not_count_is_taken_last_and_leaves_its_detection_out():
    """Overlaps .82 with the large box, which does not count, and .51 with the one that does."""
    small, large = [0, 0, 10, 10], [0, 0, 16, 12]
    one = frame([small, large], [[0, 0, 16, 12.2], [0, 0, 16, 12], [0, 0, 40, 40]])
    matches = match([one], [0.5], is_ignored=lambda areas: areas > 150)
    assert matches.found.tolist() == [[0, -2, -2]] and matches.counts.tolist() == [True, False]


def test_an_ignored_box_leaves_out_every_detection_in_it():
    """By the share of the detection: 1, 1, .5 and .4. A box that counts goes first."""
    one = frame([[0, 0, 10, 10]], [[0, 0, 10, 10], [0, 0, 8, 8], [0, 0, 20, 10], [0, 0, 25, 10]])
    one = one._replace(ignored=Boxes(np.float32([[0, 0, 10, 10]]), np.zeros(1, int)))
    matches = match([one], [0.5])
    assert matches.found.tolist() == [[0, -2, -2, -1]]
    assert matches.counts.tolist() == [True, False]
    assert matches.is_alarm.tolist() == [[False, False, False, True]]


def test_ignored_boxes_in_all_that_counts_detections():
    """A box, an ignored box, detections of both, and a false alarm."""
    small = [20, 20, 22, 22]
    one = frame([[0, 0, 10, 10]], [[0, 0, 10, 10], small, small, [30, 30, 40, 40]])
    one = one._replace(ignored=Boxes(np.float32([small]), np.zeros(1, int)))
    matches = match([one], [0.5])
    (counts,) = class_counts(matches, 1, np.zeros(1))
    assert (counts.hits.tolist(), counts.alarms.tolist(), counts.boxes) == ([1], [1], 1)
    assert confusion_matrix([one], 1, 0.0).tolist() == [[1, 0], [1, 0]]
    assert [each.tolist() for each in recall_by_side(matches, np.array([0, 5, 50]), 0.0)] == [
        [0, 1],
        [0, 1],
    ]
    of_class, of_all = recall_at_false_alarms(matches, 1, minutes=1.0)
    assert of_class.tolist() == [[1, 1, 1]] and of_all.tolist() == [1, 1, 1]
    table = PrecisionTable(matches, 1, np.zeros(1, int))
    assert table.boxes.tolist() == [[1]] and mean_ap(table.average_precision()[..., 0]) == 1


@pytest.mark.parametrize("seed", range(2))
def test_ignored_boxes_are_cocos_crowds(seed):
    frames = frames_of(seed)
    frames = [f._replace(truth=f.truth[1::2], ignored=f.truth[::2]) for f in frames]
    ours = PrecisionTable(match(frames), len(CLASSES), each_its_own(frames)).average_precision()[
        ..., 0
    ]
    assert mean_ap(ours) == pytest.approx(coco_metrics(frames, CLASSES)["AP"], abs=1e-12)
    matches = match(frames, is_ignored=lambda areas: (areas < 32**2) | (areas > 96**2))
    ours = PrecisionTable(matches, len(CLASSES), each_its_own(frames)).average_precision()[..., 0]
    assert mean_ap(ours) == pytest.approx(
        coco_metrics(frames, CLASSES)["AP_M_network_px"], abs=1e-12
    )


def test_areas_of_a_large_scale_do_not_overflow():
    """The square of 2^32 is no int64."""
    one = frame([[0, 0, 10, 10]], [[0, 0, 10, 10]])._replace(scale=2**32)
    assert match([one]).truth.areas_px2.tolist() == [100 * 2.0**64]


def test_empty_frames():
    empty = frame([], [])
    assert match([empty, empty]).found.shape == (10, 0)
    assert np.isnan(PrecisionTable(match([empty]), 2, np.zeros(1, int)).average_precision()).all()
    assert mean_ap(np.full((2, 10), np.nan)) is None


def test_a_class_that_some_parts_lack():
    """Only the second recording has cars: parts without it have no AP of cars."""
    frames = [
        frame([[0, 0, 9, 9]], []),
        frame([[0, 0, 9, 9]], [[0, 0, 9, 9]], labels=[1], found_labels=[1]),
    ]
    table = PrecisionTable(match(frames), 2, each_its_own(frames)).average_precision(
        np.array([[1, 2, 0], [1, 0, 2]])
    )
    assert np.isnan(table[1, 0]).tolist() == [False, True, False]
    assert [mean_ap(table[..., b]) for b in range(3)] == [0.5, 0.0, 1.0]


@pytest.mark.parametrize("label", [2, -1, 50_000_000])
def test_a_label_that_is_no_class_is_refused(label):
    """It would be counted outside of an array."""
    one = np.array([[0, 0, 10, 10]], np.float32)
    found = Boxes(one, np.array([label]), np.array([0.5], np.float32))
    frames = [FrameResult("a", 0, Boxes(one, np.array([0])), found, 1)]
    with pytest.raises(InputError, match="expected class numbers from 0 to 1"):
        coco_metrics(frames, ("a", "b"))
