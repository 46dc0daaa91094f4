"""No two consumers of random numbers draw the same, and none depends on another."""

from __future__ import annotations

import copy
from collections import Counter
from itertools import combinations, islice
from types import SimpleNamespace

import numpy as np
import pytest
from mmcv.transforms import BaseTransform
from mmdet.registry import DATASETS

from etram_mmdet.datasets import ClipRequest, EventPolarityFlip, Segment, StreamBatchSampler
from etram_mmdet.datasets.transforms.own_numbers import OwnNumbers
from etram_mmdet.engine.config.load import load_config
from etram_mmdet.utils.random_numbers import generator
from tests.helpers.paths import ROOT

CLIPS = 300
INDEPENDENT = 5 / CLIPS**0.5  # five standard deviations of a correlation of nothing
EVENTS = ["EventPolarityFlip", "EventDrop", "EventTimeJitter", "EventNoise", "EventPolarityFlip"]
FRAMES = ["ClipCopyPaste", "ClipFlip", "ClipZoom", "ClipAffine", "ClipFlip"]
IMAGES = dict(type="mmdet.RandomFlip", prob=0.5)


def build(root, event_pipeline, pipeline):
    cfg = dict(
        type="RawEventDataset", data_root=str(root), split="train", event_pipeline=event_pipeline
    )
    return DATASETS.build(cfg | dict(pipeline=pipeline, clip_length=1))


def correlation(one, other) -> float:
    return np.corrcoef(one, other)[0, 1]


@pytest.fixture
def drawn(monkeypatch):
    """The first number of every generator that a transform gets, by transform and key.

    There is a dict for each clip.
    """
    found: list[dict[str, float]] = []

    def call(self, results):
        for key in sorted({"rng", "clip_rng", "frame_rng"} & set(results)):
            name = f"{type(self).__name__}{id(self)}.{key}"
            found[-1].setdefault(name, copy.deepcopy(results[key]).random())
        return self.transform(results)

    monkeypatch.setattr(BaseTransform, "__call__", call)
    return found


def test_every_pair_of_consumers_is_independent(raw_sample, drawn):
    """This holds at frame 0 of recording 0, too, although numpy reads (a, b) as (a, b, 0)."""
    dataset = build(
        raw_sample,
        [dict(type=name) for name in EVENTS],
        [*(dict(type=name) for name in FRAMES), IMAGES],
    )
    for number in range(CLIPS):
        drawn.append({})
        dataset[ClipRequest(0, 0, 1, is_first=True, lane=0, seed=(number, 7, 0))]
    numbers = {name: [clip[name] for clip in drawn] for name in drawn[0]}
    assert len(numbers) == 2 * len(EVENTS) + len(FRAMES) + 1
    alike = [
        pair
        for pair in combinations(numbers, 2)
        if abs(correlation(*map(numbers.get, pair))) > INDEPENDENT
    ]
    assert not alike


def test_polarity_flip_and_mirroring_of_the_config_are_independent(raw_sample, monkeypatch):
    cfg = load_config(ROOT / "configs" / "baseline_from_raw.py").train_dataloader.dataset
    dataset = build(raw_sample, cfg.event_pipeline, cfg.pipeline[:-1])
    flips = []
    swap = EventPolarityFlip.transform

    def transform(self, results):
        before = results["events"]
        after = swap(self, results)
        flips.append(after["events"] is not before)
        return after

    monkeypatch.setattr(EventPolarityFlip, "transform", transform)
    both = Counter()
    for number in range(200):
        mirrored = dataset[ClipRequest(0, 5, 6, is_first=True, lane=0, seed=(0, 0, number))][
            "frame_metas"
        ][0]["flip"]
        both[flips[-1], mirrored] += 1
    assert len(both) == 4 and all(
        30 < times < 70 for times in both.values()
    )  # 50 each, 6 the deviation


@pytest.mark.parametrize("order", ["ShuffledOrder", "ClassWeightedOrder"])
def test_streams_and_single_clips_are_drawn_independently(order):
    """Both choose among the same items here, since each recording is one clip."""
    dataset = fake_dataset(50)
    sampler = StreamBatchSampler(
        SimpleNamespace(dataset=dataset, seed=7),
        batch_size=2,
        mode="mixed",
        stream_order=dict(type=order),
        random_order=dict(type=order),
    )
    stream, single = np.array([[r.recording for r in batch] for batch in islice(sampler, CLIPS)]).T
    assert abs(correlation(stream, single)) < INDEPENDENT


def fake_dataset(recordings: int):
    items = [Segment(i, 0, 1) for i in range(recordings)]
    return SimpleNamespace(
        segments=items,
        single_clips=items,
        clip_length=1,
        metainfo=dict(classes=("car",)),
        boxes_before=lambda recording, frames: np.asarray(frames)[:, None],
    )


def test_a_generator_follows_from_seed_and_name():
    draws = {
        (seed, name): generator(seed, *name).random()
        for seed in [(), (0,), (0, 0), (1, 2), (1, 2, 0), (12,)]
        for name in [(), ("a",), ("b",), ("a", 0), ("a", 1), ("ab",), ("a", "b")]
    }
    assert len(set(draws.values())) == len(draws)
    assert draws[(1, 2), ("a", 1)] == generator(np.array([1, 2]), "a", 1).random()


def test_a_transform_gets_different_numbers_under_each_key():
    results = OwnNumbers([lambda results: results])(dict(seeds=dict(rng=(1,), clip_rng=(1,))))
    assert results["rng"].random() != results["clip_rng"].random()
