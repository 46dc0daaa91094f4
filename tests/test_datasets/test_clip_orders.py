"""How often orders show a clip; a position alone decides which clip is there."""

from __future__ import annotations

from collections import Counter
from itertools import count, takewhile
from types import SimpleNamespace

import numpy as np
import pytest
from mmdet.registry import DATASETS

from etram_mmdet.datasets import (
    ClassWeightedOrder,
    ClipOrder,
    ClipRequest,
    RepeatFactorOrder,
    Segment,
    ShuffledOrder,
)
from etram_mmdet.datasets.clip_orders import (
    boxes_per_item,
    build_order,
    class_weights,
    repeat_factors,
)
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.random_numbers import generator

# Ten clips: 0-8 hold class 0, clip 3 class 1, nobody class 2, 5-8 class 3; clip 9 is empty.
BOXES = np.zeros((10, 4), np.int64)
BOXES[:9, 0], BOXES[3, 1], BOXES[5:9, 3] = 2, 1, 1
THRESHOLD = 0.9  # shares 0.9, 0.1, 0, 0.4 of the clips: class factors 1, 3, 1, 1.5
FACTORS = [1, 1, 1, 3, 1, 1.5, 1.5, 1.5, 1.5, 1]
FAR = 10**12  # positions that going through those before would not reach within a day
KINDS = dict(
    shuffled=dict(type="ShuffledOrder"),
    repeated=dict(type="RepeatFactorOrder", threshold=THRESHOLD),
    weighted=dict(type="ClassWeightedOrder", power=0.5),
)
of_every_kind = pytest.mark.parametrize("cfg", KINDS.values(), ids=KINDS)


def running(boxes):
    """Boxes before each frame, and before the end: the running sum from 0."""
    return np.cumsum([np.zeros_like(boxes[0]), *boxes], 0)


def clips_of(boxes):
    """Clips of one frame, and a data set with the given numbers of boxes."""
    dataset = SimpleNamespace(
        metainfo=dict(classes=tuple(range(boxes.shape[1]))),
        boxes_before=lambda recording, frames: running(boxes)[frames],
    )
    return [Segment(0, i, i + 1) for i in range(len(boxes))], dataset


def build(cfg, boxes=BOXES, seed=7) -> ClipOrder:
    items, dataset = clips_of(boxes)
    return build_order(cfg, items, seed, dataset)


def drawn(order, positions):
    return [order[p] for p in positions]


def passes_of(order, number):
    """The clips of the first passes, one list each."""
    passes = [[] for _ in range(number)]
    for item, seed in takewhile(lambda at: at[1][1] < number, map(order.__getitem__, count())):
        passes[seed[1]].append(item.start)
    return passes


def test_repeat_factors_by_hand():
    np.testing.assert_allclose(repeat_factors(BOXES, THRESHOLD), FACTORS)
    np.testing.assert_allclose(repeat_factors(BOXES, 0.1), 1)
    np.testing.assert_allclose(repeat_factors(BOXES, 0.4), [1, 1, 1, 2, 1, 1, 1, 1, 1, 1])


def test_clips_appear_as_often_as_their_factors_say():
    passes = passes_of(build(KINDS["repeated"]), 100)
    for shown in passes:
        times = Counter(shown)
        assert all(np.floor(r) <= times[i] <= np.ceil(r) for i, r in enumerate(FACTORS))
    total = Counter(i for shown in passes for i in shown)
    assert all(abs(total[i] - 100 * r) < 1 for i, r in enumerate(FACTORS))


def test_passes_are_of_about_one_length():
    """Clips with the same repeat factor are not all repeated in the same pass."""
    boxes = np.zeros((400, 2), np.int64)
    boxes[:160, 0] = boxes[160:, 1] = (
        1  # shares 0.4 and 0.6 below a threshold of 0.9: factors 1.5 and 1.22
    )
    mean = 160 * 1.5 + 240 * 1.5**0.5
    lengths = [len(shown) for shown in passes_of(build(KINDS["repeated"], boxes), 10)]
    assert max(abs(n - mean) for n in lengths) < 5 * np.sqrt(400 / 4)


def test_without_rare_classes_passes_are_shuffled_ones():
    order = build(dict(type="RepeatFactorOrder", threshold=0.1))
    assert drawn(order, range(50)) == drawn(build(None), range(50))


def test_class_weights_by_hand():
    boxes = np.array([[12, 0, 0], [4, 1, 0], [0, 3, 0], [0, 0, 0]])  # 16, 4 and no boxes
    np.testing.assert_allclose(class_weights(boxes, 1), [12 / 16, 4 / 16 + 1 / 4, 3 / 4, 0.5])
    np.testing.assert_allclose(class_weights(boxes, 0.5), [12 / 4, 4 / 4 + 1 / 2, 3 / 2, 1.5])
    np.testing.assert_allclose(class_weights(boxes, 0), [12, 5, 3, 3])


@pytest.mark.parametrize("power", [0, 0.5, 1])
def test_draws_follow_the_weights(power):
    order = build(dict(type="ClassWeightedOrder", power=power))
    times = Counter(item.start for item, _ in drawn(order, range(20_000)))
    chance = class_weights(BOXES, power) / class_weights(BOXES, power).sum()
    frequency = np.array([times[i] for i in range(10)]) / 20_000
    assert (abs(frequency - chance) < 4 * np.sqrt(chance * (1 - chance) / 20_000)).all()


@pytest.mark.parametrize(
    "boxes", [np.full((6, 1), 3), np.zeros((6, 2), np.int64)], ids=["one class", "no box"]
)
def test_without_differences_every_clip_counts_the_same(boxes):
    np.testing.assert_allclose(repeat_factors(boxes, 1.0), 1)
    weights = class_weights(boxes, 1)
    assert weights[0] > 0 and (weights == weights[0]).all()
    assert {item.start for item, _ in drawn(build(KINDS["weighted"], boxes), range(200))} == set(
        range(6)
    )


@of_every_kind
def test_a_position_alone_says_what_is_there(cfg):
    for seed in range(4):  # with some of which passes differ in length
        assert [build(cfg, seed=seed)[p] for p in range(300)] == drawn(
            build(cfg, seed=seed), range(300)
        )
    walked, back_and_forth = drawn(build(cfg), range(3000)), build(cfg)
    assert [back_and_forth[p] for p in (2999, 0, 1500, 14)] == [
        walked[p] for p in (2999, 0, 1500, 14)
    ]


@of_every_kind
@pytest.mark.parametrize("position", [10**6, FAR])
def test_far_positions_are_reached_at_once(cfg, position):
    walked = drawn(build(cfg), range(position - 200, position + 200))
    assert [build(cfg)[p] for p in range(position - 200, position + 200, 37)] == walked[::37]


def test_far_passes_are_where_their_factors_put_them():
    _, (_, number, _) = build(KINDS["repeated"])[10**6]
    assert abs(number * sum(FACTORS) - 10**6) < sum(FACTORS) + len(FACTORS)


@of_every_kind
def test_seed_decides(cfg):
    assert drawn(build(cfg), range(60)) == drawn(build(cfg), range(60))
    one, other = ([item for item, _ in drawn(build(cfg, seed=seed), range(60))] for seed in (7, 8))
    assert one != other


@of_every_kind
def test_no_two_positions_share_a_seed(cfg):
    seeds = [seed for _, seed in drawn(build(cfg), range(3000))]
    assert len(set(seeds)) == 3000


@of_every_kind
def test_augmentation_does_not_follow_from_the_draw(cfg):
    """What a transform draws for the clips that an order gives: alike for every clip."""
    numbers = {}
    for item, seed in drawn(build(cfg), range(5000)):
        numbers.setdefault(item.start, []).append(generator(seed, "rng", "ClipFlip", 0).random())
    assert len(numbers) == 10
    assert all(abs(np.mean(n) - 0.5) < 4 * np.sqrt(1 / 12 / len(n)) for n in numbers.values())


def test_boxes_are_counted_per_clip_of_any_order_and_overlap():
    rng = np.random.default_rng(0)
    boxes = {recording: rng.integers(0, 3, (30, 2)) for recording in (0, 2, 5)}
    dataset = SimpleNamespace(
        metainfo=dict(classes=("a", "b")),
        boxes_before=lambda recording, frames: running(boxes[recording])[frames],
    )
    starts = rng.integers(0, 20, 60).tolist()
    items = [Segment((5, 0, 2)[i % 3], start, start + 1 + i % 9) for i, start in enumerate(starts)]
    assert np.array_equal(
        boxes_per_item(items, dataset),
        [boxes[item.recording][item.start : item.stop].sum(0) for item in items],
    )


def test_a_dataset_counts_the_boxes_that_it_serves(sample):
    dataset = DATASETS.build(
        dict(
            type="ETraMDataset",
            data_root=str(sample),
            split="train",
            pipeline=[dict(type="PackClip")],
        )
    )
    for clip in dataset.single_clips[::5]:
        item = dataset[ClipRequest(*clip, is_first=True, lane=0, seed=(0,))]
        labels = np.concatenate([frame.gt_instances.labels for frame in item["data_samples"]])
        assert dataset.boxes_per_class(clip).tolist() == np.bincount(labels, minlength=8).tolist()
    whole = [Segment(i, 0, s.num_frames) for i, s in enumerate(dataset.sequences)]
    assert (
        sum(map(dataset.boxes_per_class, whole)).tolist()
        == dataset.box_statistics().counts.tolist()
    )
    first = int(dataset.sequences[0].labelled[0])
    assert dataset.boxes_per_class(Segment(0, first + 1, first + 1)).tolist() == [0] * 8


def test_shuffled_passes_count_no_boxes():
    items = clips_of(BOXES)[0]
    assert ShuffledOrder(items, 7, dataset=None)[0] == build_order(None, items, 7, dataset=None)[0]


@pytest.mark.parametrize(
    ("cfg", "says"),
    [
        (dict(type="RepeatFactorOrder", threshold=0), "threshold=0, expected a share"),
        (dict(type="RepeatFactorOrder", threshold=1.5), "threshold=1.5, expected a share"),
        (dict(type="ClassWeightedOrder", power=-0.5), "power=-0.5, expected 0 or more"),
        (
            dict(type="RepeatFactor"),
            "'RepeatFactor'.*ClassWeightedOrder, RepeatFactorOrder, ShuffledOrder",
        ),
        (dict(type="StreamEvalBatchSampler"), "'StreamEvalBatchSampler'.*ShuffledOrder"),
        (dict(threshold=0.1), "dict.type=...."),
        ("RepeatFactorOrder", "RepeatFactorOrder: names no order of clips; expected dict"),
    ],
)
def test_refuses_with_a_sentence(cfg, says):
    with pytest.raises(InputError, match=says):
        build(cfg)


def test_limits_are_allowed():
    items, dataset = clips_of(BOXES)
    assert RepeatFactorOrder(items, 7, dataset, threshold=1).factors.max() == pytest.approx(10**0.5)
    assert ClassWeightedOrder(items, 7, dataset, power=0)[0]
