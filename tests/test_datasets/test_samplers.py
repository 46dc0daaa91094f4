"""Lanes: what continues, what starts, and that nothing is lost or shown twice."""

from __future__ import annotations

from collections import Counter
from itertools import islice, pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from mmdet.registry import DATA_SAMPLERS

from etram_mmdet.datasets import Segment, ShuffledOrder, StreamBatchSampler, StreamEvalBatchSampler
from etram_mmdet.datasets.clips import evaluation_segment, single_clips, training_segments
from etram_mmdet.datasets.samplers import num_clips
from etram_mmdet.engine.config.load import load_config
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.random_numbers import generator
from tests.helpers.paths import ROOT

LENGTH = 5
FRAMES = (10, 14, 3, 25, 7, 11)  # of six recordings: 2, 3, 1, 5, 2 and 3 clips
RARE = 4  # the recording that alone holds class 1
REPEATED, WEIGHTED = (
    dict(type="RepeatFactorOrder", threshold=0.9),
    dict(type="ClassWeightedOrder", power=0.5),
)
BATCHES = dict(
    stream=dict(mode="stream"),
    random=dict(mode="random"),
    mixed=dict(mode="mixed"),
    mixed_repeated_weighted=dict(mode="mixed", stream_order=REPEATED, random_order=WEIGHTED),
    mixed_weighted_repeated=dict(mode="mixed", stream_order=WEIGHTED, random_order=REPEATED),
)
of_every_kind = pytest.mark.parametrize("kwargs", BATCHES.values(), ids=BATCHES)


def fake(frames=FRAMES, seed=7):
    segments = [Segment(i, 0, n) for i, n in enumerate(frames)]
    clips = [
        Segment(i, s, s + LENGTH) for i, n in enumerate(frames) for s in range(0, n - LENGTH, 2)
    ]
    dataset = SimpleNamespace(
        segments=segments,
        single_clips=clips,
        clip_length=LENGTH,
        metainfo=dict(classes=("common", "rare")),
        boxes_before=lambda recording, frames: np.stack(
            [frames, np.multiply(frames, recording == RARE)], 1
        ),
    )
    return SimpleNamespace(dataset=dataset, seed=seed)


def batches(count, batch_size=2, start=0, **kwargs):
    sampler = StreamBatchSampler(fake(), batch_size, **kwargs)
    sampler.seek(start)
    return list(islice(iter(sampler), count))


@pytest.fixture
def ranks(monkeypatch):
    """Simulate one of several processes."""

    def be(rank, world_size):
        monkeypatch.setattr(
            "etram_mmdet.datasets.samplers.get_dist_info", lambda: (rank, world_size)
        )

    return be


def test_module_drawing(monkeypatch):
    """The table in the module's docstring."""
    orders = iter([[0, 1, 2], [1, 2, 0], [0, 1, 2]])
    rng = SimpleNamespace(permutation=lambda n: np.array(next(orders)))
    sampler = StreamBatchSampler(fake((10, 15, 5)), 2)
    monkeypatch.setattr("etram_mmdet.datasets.clip_orders.np.random.default_rng", lambda seed: rng)
    drawn = [
        [f"{'ABC'[r.recording]}{r.start // LENGTH}{'*' * r.is_first}" for r in batch]
        for batch in islice(iter(sampler), 4)
    ]
    assert drawn == [["A0*", "B0*"], ["A1", "B1"], ["C0*", "B2"], ["B0*", "C0*"]]


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_every_window_once_per_pass(lanes):
    passes = Counter()
    for request in (r for batch in batches(60, lanes) for r in batch):
        passes[request.seed[1], request.recording, request.start, request.stop] += 1
    for number in (0, 1):
        seen = {key[1:]: n for key, n in passes.items() if key[0] == number}
        wanted = {
            (i, s, min(s + LENGTH, n)) for i, n in enumerate(FRAMES) for s in range(0, n, LENGTH)
        }
        assert seen == dict.fromkeys(wanted, 1)


@pytest.mark.parametrize(
    "order", [None, REPEATED, WEIGHTED], ids=["shuffled", "repeated", "weighted"]
)
def test_lanes_continue_and_mark_starts(order):
    previous = {}
    for batch in batches(50, 3, stream_order=order):
        for lane, request in enumerate(batch):
            assert request.lane == lane
            if request.is_first:
                assert request.start == 0
                assert lane not in previous or request.seed != previous[lane].seed
                assert (
                    lane not in previous or previous[lane].stop == FRAMES[previous[lane].recording]
                )
            else:
                assert (request.recording, request.start) == (
                    previous[lane].recording,
                    previous[lane].stop,
                )
                assert request.seed == previous[lane].seed
            previous[lane] = request


def test_passes_have_other_orders_and_seeds():
    order = ShuffledOrder(list(range(20)), seed=0)
    first, second = ([order[p * 20 + i] for i in range(20)] for p in (0, 1))
    assert sorted(x for x, _ in first) == sorted(x for x, _ in second) == list(range(20))
    assert [x for x, _ in first] != [x for x, _ in second]
    assert len({seed for _, seed in first + second}) == 40


@of_every_kind
@pytest.mark.parametrize("start", [1, 17, 40])
def test_seek_equals_replay(kwargs, start):
    assert batches(10, 4, start=start, **kwargs) == batches(start + 10, 4, **kwargs)[start:]


@of_every_kind
def test_two_processes_equal_one(kwargs, ranks):
    whole = batches(12, 4, **kwargs)
    parts = []
    for rank in (0, 1):
        ranks(rank, 2)
        parts.append(batches(12, 2, **kwargs))
    for one, *two in zip(whole, *parts, strict=True):
        together = sorted((r for part in two for r in part), key=lambda r: r.lane)
        assert together == one


def test_streams_without_orders_stay_what_they_were():
    """Recording, first frame and seed of streamed rows, as drawn before there were orders.

    So a resumed run of an older version goes on in the same recordings.
    """
    drawn = [
        [(r.recording, r.start, r.seed) for r in batch if r.streamed]
        for batch in batches(30, 4, mode="mixed")
    ]
    assert drawn[:2] == [
        [(5, 0, (7, 0, 5)), (2, 0, (7, 0, 2))],
        [(5, 5, (7, 0, 5)), (0, 0, (7, 0, 0))],
    ]
    assert drawn[29] == [(3, 15, (7, 3, 3)), (5, 10, (7, 3, 5))]


@pytest.mark.parametrize("order", [REPEATED, WEIGHTED], ids=["repeated", "weighted"])
@pytest.mark.parametrize("kind", ["stream", "random"])
def test_orders_show_rare_classes_more_often(order, kind):
    """Each key reaches its own rows and only those."""
    drawn = batches(400, 4, mode="mixed", **{f"{kind}_order": order})
    plain = batches(400, 4, mode="mixed")

    def starts_of_rare(all_batches, streamed):
        rows = [r for batch in all_batches for r in batch if r.streamed is streamed and r.is_first]
        return sum(r.recording == RARE for r in rows)

    streamed = kind == "stream"
    assert starts_of_rare(drawn, streamed) > 1.5 * starts_of_rare(plain, streamed)
    assert [[r for r in b if r.streamed is not streamed] for b in drawn] == [
        [r for r in b if r.streamed is not streamed] for b in plain
    ]


@pytest.mark.parametrize("order", [REPEATED, WEIGHTED], ids=["repeated", "weighted"])
def test_length_does_not_depend_on_the_order(order):
    for mode in ("stream", "random"):
        plain = StreamBatchSampler(fake(), 2, mode=mode)
        assert len(StreamBatchSampler(fake(), 2, mode=mode, **{f"{mode}_order": order})) == len(
            plain
        )


@pytest.mark.parametrize(
    ("config", "stream", "clips"),
    [
        ("repeat_factor", "RepeatFactorOrder", "RepeatFactorOrder"),
        ("class_weighted", "ShuffledOrder", "ClassWeightedOrder"),
    ],
)
def test_configs_name_orders(config, stream, clips):
    cfg = load_config(ROOT / "configs" / f"{config}.py").train_dataloader.batch_sampler
    sampler = DATA_SAMPLERS.build(cfg, default_args=dict(sampler=fake(), batch_size=6))
    assert (type(sampler.streams).__name__, type(sampler.clips).__name__) == (stream, clips)
    assert len(next(iter(sampler))) == 6


def test_random_shows_every_clip_once_per_pass():
    sampler = StreamBatchSampler(fake(), 2, mode="random")
    clips = sampler.dataset.single_clips
    assert len(clips) % 2 == 0
    drawn = [r for batch in islice(iter(sampler), len(sampler)) for r in batch]
    assert sorted(r[:3] for r in drawn) == sorted(clips)
    assert all(r.is_first and not r.streamed for r in drawn)


def test_mixed_puts_random_rows_last():
    for batch in batches(10, 5, mode="mixed", random_share=0.4):
        assert [r.streamed for r in batch] == [True, True, True, False, False]


def test_seed_decides():
    def drawn(seed):
        return list(islice(iter(StreamBatchSampler(fake(seed=seed), 3, mode="mixed")), 20))

    assert drawn(1) == drawn(1) != drawn(2)


@pytest.mark.parametrize("batch_size", [1, 2, 4, 9])
@pytest.mark.parametrize("world_size", [1, 2])
def test_evaluation_shows_every_window_once(batch_size, world_size, ranks):
    requests, lengths = [], set()
    for rank in range(world_size):
        ranks(rank, world_size)
        sampler = StreamEvalBatchSampler(fake(), batch_size)
        rows = list(sampler)
        lengths.add(len(rows))
        assert len(rows) == len(sampler) and {len(row) for row in rows} == {batch_size}
        for lane in zip(*rows, strict=True):
            for before, after in pairwise(lane):
                assert after.is_first or (after.recording, after.start) == (
                    before.recording,
                    before.stop,
                )
        requests += [r for row in rows for r in row]
    assert len(lengths) == 1  # every process takes part in every step
    real = Counter(r[:3] for r in requests if r.stop > r.start)
    assert real == Counter(
        (i, s, min(s + LENGTH, n)) for i, n in enumerate(FRAMES) for s in range(0, n, LENGTH)
    )


def test_evaluation_balances_lanes():
    clips = sum(num_clips(s, LENGTH) for s in fake().dataset.segments)
    assert len(StreamEvalBatchSampler(fake(), 2)) == clips / 2


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        (dict(mode="mixed", batch_size=1), "batch size of 2"),
        (dict(mode="shuffled", batch_size=2), "stream, random"),
        (dict(batch_size=0), "batch_size=0, expected at least 1"),
        (
            dict(batch_size=2, mode="random", stream_order=REPEATED),
            "stream_order=.*mode='random'.*has no stream row",
        ),
        (
            dict(batch_size=2, mode="stream", random_order=WEIGHTED),
            "random_order=.*mode='stream'.*has no random row",
        ),
        (
            dict(batch_size=2, mode="mixed", random_share=0.1, random_order=WEIGHTED),
            "batch_size=2 has no random row",
        ),
        (
            dict(batch_size=2, stream_order=dict(type="Sorted")),
            "'Sorted'.*ClassWeightedOrder, RepeatFactorOrder, Shuf",
        ),
    ],
)
def test_refuses_with_a_sentence(kwargs, says):
    with pytest.raises(InputError, match=says):
        StreamBatchSampler(fake(), **kwargs)


def test_evaluation_refuses_batches_of_nothing():
    with pytest.raises(InputError, match="batch_size=0, expected at least 1"):
        StreamEvalBatchSampler(fake(), 0)


def test_training_segments_split_at_gaps():
    labelled = np.array([6, 8, 10, 16, 18])
    assert training_segments(2, labelled, LENGTH) == [Segment(2, 2, 11), Segment(2, 12, 19)]
    assert training_segments(2, labelled[:3], LENGTH) == [Segment(2, 2, 11)]
    assert evaluation_segment(2, labelled, 30, LENGTH) == Segment(2, 2, 30)
    assert single_clips(2, labelled, LENGTH)[0] == Segment(2, 2, 7)


def test_short_recording_still_gives_a_clip():
    assert single_clips(0, np.array([0]), LENGTH) == [Segment(0, 0, 1)]
    assert training_segments(0, np.array([0]), LENGTH) == [Segment(0, 0, 1)]


@pytest.mark.parametrize(
    "random_order", [None, dict(type="ClassWeightedOrder")], ids=["shuffled", "weighted"]
)
def test_streams_and_single_clips_are_augmented_differently(random_order):
    drawn = {True: set(), False: set()}
    for batch in islice(
        StreamBatchSampler(fake(), 4, mode="mixed", random_order=random_order), 300
    ):
        for request in batch:
            drawn[request.streamed].add(generator(request.seed, "rng").random())
    assert min(map(len, drawn.values())) > 10 and not drawn[True] & drawn[False]
