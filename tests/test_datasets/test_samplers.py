"""Lanes: what continues, what starts, and that nothing is lost or shown twice."""

from __future__ import annotations

from collections import Counter
from itertools import islice, pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from etram_mmdet.datasets import Segment, StreamBatchSampler, StreamEvalBatchSampler
from etram_mmdet.datasets.clips import evaluation_segment, single_clips, training_segments
from etram_mmdet.datasets.samplers import Shuffled, num_clips
from etram_mmdet.events.errors import InputError

LENGTH = 5
FRAMES = (10, 14, 3, 25, 7, 11)  # of six recordings: 2, 3, 1, 5, 2 and 3 clips


def fake(frames=FRAMES, seed=7):
    segments = [Segment(i, 0, n) for i, n in enumerate(frames)]
    clips = [Segment(i, s, s + LENGTH) for i, n in enumerate(frames) for s in range(0, n - LENGTH, 2)]
    dataset = SimpleNamespace(segments=segments, single_clips=clips, clip_length=LENGTH)
    return SimpleNamespace(dataset=dataset, seed=seed)


def batches(count, batch_size=2, start=0, **kwargs):
    sampler = StreamBatchSampler(fake(), batch_size, **kwargs)
    sampler.seek(start)
    return list(islice(iter(sampler), count))


@pytest.fixture
def ranks(monkeypatch):
    """Pretend to be one of several processes."""

    def be(rank, world_size):
        monkeypatch.setattr("etram_mmdet.datasets.samplers.get_dist_info", lambda: (rank, world_size))

    return be


def test_module_drawing(monkeypatch):
    """The table in the module's docstring."""
    orders = iter([[0, 1, 2], [1, 2, 0], [0, 1, 2]])
    rng = SimpleNamespace(permutation=lambda n: np.array(next(orders)))
    monkeypatch.setattr("etram_mmdet.datasets.samplers.np.random.default_rng", lambda seed: rng)
    sampler = StreamBatchSampler(fake((10, 15, 5)), 2)
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
        wanted = {(i, s, min(s + LENGTH, n)) for i, n in enumerate(FRAMES) for s in range(0, n, LENGTH)}
        assert seen == dict.fromkeys(wanted, 1)


def test_lanes_continue_and_mark_starts():
    previous = {}
    for batch in batches(50, 3):
        for lane, request in enumerate(batch):
            assert request.lane == lane
            if request.is_first:
                assert request.start == 0
                assert lane not in previous or previous[lane].stop == FRAMES[previous[lane].recording]
            else:
                assert (request.recording, request.start) == (previous[lane].recording, previous[lane].stop)
                assert request.seed == previous[lane].seed
            previous[lane] = request


def test_passes_have_other_orders_and_seeds():
    order = Shuffled(list(range(20)), seed=0)
    first, second = ([order[p * 20 + i] for i in range(20)] for p in (0, 1))
    assert sorted(x for x, _ in first) == sorted(x for x, _ in second) == list(range(20))
    assert [x for x, _ in first] != [x for x, _ in second]
    assert len({seed for _, seed in first + second}) == 40


@pytest.mark.parametrize("mode", ["stream", "random", "mixed"])
@pytest.mark.parametrize("start", [1, 17, 40])
def test_seek_equals_replay(mode, start):
    assert batches(10, 4, start=start, mode=mode) == batches(start + 10, 4, mode=mode)[start:]


@pytest.mark.parametrize("mode", ["stream", "random", "mixed"])
def test_two_processes_equal_one(mode, ranks):
    whole = batches(12, 4, mode=mode)
    parts = []
    for rank in (0, 1):
        ranks(rank, 2)
        parts.append(batches(12, 2, mode=mode))
    for one, *two in zip(whole, *parts, strict=True):
        together = sorted((r for part in two for r in part), key=lambda r: r.lane)
        assert together == one


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
                assert after.is_first or (after.recording, after.start) == (before.recording, before.stop)
        requests += [r for row in rows for r in row]
    assert len(lengths) == 1  # every process takes part in every step
    real = Counter(r[:3] for r in requests if r.stop > r.start)
    assert real == Counter((i, s, min(s + LENGTH, n)) for i, n in enumerate(FRAMES) for s in range(0, n, LENGTH))


def test_evaluation_balances_lanes():
    clips = sum(num_clips(s, LENGTH) for s in fake().dataset.segments)
    assert len(StreamEvalBatchSampler(fake(), 2)) == clips / 2


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        (dict(mode="mixed", batch_size=1), "batch size of 2"),
        (dict(mode="shuffled", batch_size=2), "stream, random"),
        (dict(batch_size=0), "batch_size=0, expected at least 1"),
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
