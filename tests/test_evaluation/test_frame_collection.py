"""Frames as columns: collected in batches, put in order, each once, and the same as objects."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from etram_mmdet.evaluation import frame_collection, frame_columns
from etram_mmdet.evaluation.frame_collection import CollectedFrames, merge
from etram_mmdet.evaluation.frame_columns import FrameColumns
from etram_mmdet.evaluation.results import Boxes, FrameResult
from etram_mmdet.utils.errors import InputError


def boxes(rng, count, scored):
    columns = dict(
        bboxes_xyxy=np.sort(rng.uniform(0, 90, (count, 4)).astype(np.float32)),
        labels=rng.integers(0, 3, count),
    )
    if scored:
        columns["scores"] = rng.random(count, np.float32)
    if scored and (not count or rng.random() < 0.5):
        columns["class_scores"] = rng.random(count, np.float32)
    return Boxes(**columns)


def frames_of(number):
    """Frames of three recordings out of order, some without boxes or without class scores."""
    rng = np.random.default_rng(number)
    return [
        FrameResult(
            f"{'cab'[i % 3]}",
            int(t_us),
            boxes(rng, rng.integers(0, 3), scored=False),
            boxes(rng, rng.integers(0, 4), scored=True),
            scale=1 + i % 2,
            hw=(96, 128) if i % 4 else None,
            ignored=boxes(rng, rng.integers(0, 2), scored=False),
            start_us=i % 3,
            step_us=50_000 + i % 3,
        )
        for i, t_us in enumerate(rng.permutation(number) * 50_000)
    ]


def test_collected_frames_are_the_frames(monkeypatch):
    monkeypatch.setattr(frame_collection, "_WAITING", 4)
    monkeypatch.setattr(frame_columns, "_AT_ONCE", 4)
    for number in (0, 1, 4, 11):
        frames = frames_of(number)
        collected = CollectedFrames()
        for frame in frames:
            collected.append(frame)
        assert collected.columns().frames() == frames == list(collected.columns().each())
        collected.clear()
        assert collected.columns().count == 0


def test_frames_of_all_workers_come_once_and_in_order():
    frames = frames_of(23)
    nothing = FrameColumns.of([])
    shards = [[*frames[::2], *frames[:3]], frames[1::2], [frames[4], frames[4]]]
    merged = merge([nothing, *map(FrameColumns.of, shards), nothing])
    assert merged.frames() == sorted(frames, key=lambda frame: frame.key)
    assert merged.names == ["a", "b", "c"]
    expected = FrameColumns.of(sorted(frames, key=lambda frame: frame.key))
    for one, other in zip(merged[1:7], expected[1:7], strict=True):
        assert np.array_equal(one, other) and one.dtype == other.dtype
    for kind in ("found", "truth", "ignored"):
        for one, other in zip(getattr(merged, kind), getattr(expected, kind), strict=True):
            assert (one is None) == (other is None)
            assert one is None or (np.array_equal(one, other) and one.dtype == other.dtype)
    assert merged.of_recording("b").frames() == [f for f in merged.frames() if f.recording == "b"]
    assert merged.of_recording("nowhere").count == 0
    assert merge([nothing]).count == 0


def test_a_frame_may_come_twice_only_if_it_says_the_same():
    rng = np.random.default_rng(0)
    one = FrameResult("a", 5, boxes(rng, 3, False), boxes(rng, 3, True))
    for other in (
        one._replace(found=one.found[:2]),
        one._replace(truth=one.truth[:2]),
        one._replace(scale=2),
    ):
        with pytest.raises(InputError, match="recording 'a' at t_us=5 reached the metric twice"):
            merge([FrameColumns.of([one]), FrameColumns.of([other])])


def test_few_objects_are_kept_for_a_collected_frame(monkeypatch):
    monkeypatch.setattr(frame_collection, "_WAITING", 64)
    collected = CollectedFrames()
    gc.collect()
    before = len(gc.get_objects())
    for frame in (frame for _ in range(30) for frame in frames_of(64)):
        collected.append(frame)
    gc.collect()
    assert len(gc.get_objects()) - before < 30 * 64 / 10
