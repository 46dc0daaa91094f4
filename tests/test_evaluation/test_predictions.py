"""Saved predictions: exact numbers, and messages for files that are wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from etram_mmdet.evaluation.predictions import (
    check_may_judge,
    load_predictions,
    save_predictions,
    with_truth_of,
)
from etram_mmdet.evaluation.protocols import get_protocols
from etram_mmdet.evaluation.results import Boxes, FrameResult
from etram_mmdet.utils.errors import InputError

CLASSES = ("pedestrian", "car")


def frames() -> list[FrameResult]:
    """Two frames: one with numbers of many digits, one without boxes."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 20, (3, 2)).astype(np.float32)
    boxes = np.hstack([corners, corners + np.float32(1 / 3)])
    found = Boxes(
        boxes + np.float32(0.1),
        np.array([1, 0, 1]),
        scores=rng.random(3).astype(np.float32),
        class_scores=rng.random(3).astype(np.float32),
    )
    small = Boxes(boxes[:1] + np.float32(0.2), np.array([1]))
    full = FrameResult(
        "b",
        5,
        Boxes(boxes, np.array([0, 1, 1])),
        found,
        2,
        (24, 24),
        small,
        start_us=3,
        step_us=20_000,
    )
    return [full, FrameResult("a", 7, Boxes(boxes[:0], np.empty(0, np.int64)), Boxes.empty())]


@pytest.fixture
def path(tmp_path) -> Path:
    save_predictions(tmp_path / "p.json", frames(), CLASSES, dict(score_thr=0.001))
    return tmp_path / "p.json"


def changed(path: Path, change) -> Path:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


def test_every_bit_comes_back_in_order(path):
    found = load_predictions(path)
    assert found.classes == CLASSES and found.test_cfg == dict(score_thr=0.001)
    assert [f.key for f in found.frames] == [("a", 7), ("b", 5)]
    for ours, theirs in zip(found.frames, frames()[::-1], strict=True):
        assert ours == theirs
        assert ours.found.bboxes_xyxy.dtype == np.float32 and ours.found.labels.dtype == np.int64
        assert ours.step_us == theirs.step_us


def test_predictions_without_a_step_are_of_50_ms(path):
    frames = load_predictions(
        changed(path, lambda c: [frame.pop("step_us") for frame in c["frames"]])
    ).frames
    assert [frame.step_us for frame in frames] == [50_000, 50_000]


def first(content: dict) -> dict:
    return content["frames"][0]


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda c: c.update(frames=[]), "holds no frame"),
        (
            lambda c: c.pop("classes"),
            "has no 'classes'; make it again with tools/test.py CHECKPOINT --out",
        ),
        (lambda c: first(c).pop("scores"), "has no 'scores'"),
        (lambda c: first(c).update(step_us=-1), "-1, expected numbers of at least 1"),
        (
            lambda c: first(c)["scores"].__setitem__(1, 87.5),
            "'b' at t_us=5: detections: scores holds 1 values outside 0 to 1, such as 87.5",
        ),
        (
            lambda c: first(c)["scores"].__setitem__(1, float("nan")),
            "'b' at t_us=5: detections: scores holds 1 values that are NaN",
        ),
        (
            lambda c: first(c)["scores"].pop(),
            r"'b' at t_us=5: detections: scores has the shape \(2,\), expected \(3,\) for 3 labels",
        ),
        (
            lambda c: first(c)["labels"].__setitem__(0, 2),
            r"detections: labels holds \[2\], expected 0 to 1",
        ),
        (
            lambda c: first(c).update(bboxes=[[0, 0, 90, 9], [30, 0, 40, 9], [0, 0, 9, 9]]),
            r"detections: 2 of 3 have their centre outside the frame, such as "
            r"\[0.0, 0.0, 90.0, 9.0\] in a frame of 24x24 network",
        ),
        (lambda c: c.update(format_version=3), "format_version 3, expected 2"),
        (
            lambda c: c["frames"].append(first(c) | dict(scores=[0.1] * 3)),
            "1 frames occur twice, such as",
        ),
        (
            lambda c: first(c)["class_scores"].pop(),
            r"class_scores has the shape \(2,\), expected \(3,\)",
        ),
        (
            lambda c: first(c)["class_scores"].__setitem__(0, float("nan")),
            "class_scores holds 1 values that are NaN",
        ),
        (lambda c: first(c).update(t_us=float("inf")), "inf, expected whole numbers"),
        (lambda c: first(c).update(t_us=5.5), "5.5, expected whole numbers"),
        (lambda c: first(c)["labels"].__setitem__(0, 0.7), "expected whole numbers"),
        (lambda c: first(c)["labels"].__setitem__(0, 1e30), "expected whole numbers"),
        (lambda c: first(c).update(hw=[300]), "not a file of predictions"),
        (lambda c: first(c).update(scale=-2), "-2, expected numbers of at least 1"),
        (
            lambda c: first(c)["bboxes"].__setitem__(0, [9, 9, 3, 4]),
            "1 boxes have x2 < x1 or y2 < y1",
        ),
        (
            lambda c: first(c)["gt_bboxes"].__setitem__(0, [0, 0, 9, 90]),
            "ground truth: 1 boxes lie outside the frame",
        ),
        (lambda c: c.update(classes="car"), "'car', expected a list of names"),
        (lambda c: first(c).update(bboxes=[[1, 2, 3]]), "not a file of predictions"),
        (lambda c: c.update(frames=3), "not a file of predictions"),
    ],
)
def test_what_is_wrong_is_named(path, change, says):
    with pytest.raises(InputError, match=says) as raised:
        load_predictions(changed(path, change))
    assert str(path) in str(raised.value)


def test_no_file_and_no_json(tmp_path):
    with pytest.raises(
        InputError, match=r"no such file; make it with tools/test.py CHECKPOINT --out"
    ):
        load_predictions(tmp_path / "none.json")
    (tmp_path / "empty.json").write_text("")
    with pytest.raises(InputError, match=r"not valid JSON .*; make it again with tools/test.py"):
        load_predictions(tmp_path / "empty.json")


def test_truth_may_come_from_the_data(path):
    changed(path, lambda c: [f.pop("gt_bboxes") and f.pop("gt_labels") for f in c["frames"][:1]])
    with pytest.raises(InputError, match="the file of predictions has no 'gt_bboxes'"):
        load_predictions(path)
    found = load_predictions(path, with_truth=False).frames
    truth = {f.key: f._replace(hw=(24, 24)) for f in frames()}
    joined = with_truth_of(found, truth, path)
    assert {f.key for f in joined} == set(truth) and len(joined[0].truth) == 3
    assert joined[0].found == frames()[0].found
    with pytest.raises(
        InputError,
        match="1 labelled frames of the evaluated data have no predictions; the first is 'b' at "
        "t_us=5",
    ):
        with_truth_of(found[:1], truth, path)
    with pytest.raises(
        InputError, match=r"1 predicted frames are not in the evaluated data.*'b' at t_us=5"
    ):
        with_truth_of(found, {("a", 7): truth["a", 7]}, path)


def test_boxes_in_other_pixels_than_the_networks(path):
    """The file states another ``hw``, or a box lies outside the frame."""
    truth = {f.key: f._replace(hw=(24, 24)) for f in frames()}
    changed(path, lambda c: [f.update(hw=[48, 48]) for f in c["frames"]])
    with pytest.raises(
        InputError, match=r"boxes in a frame of 48x48 pixels, but a frame of the network has 24x24"
    ):
        with_truth_of(load_predictions(path).frames, truth, path)
    changed(path, lambda c: [f.update(hw=None) for f in c["frames"]])
    with_truth_of(load_predictions(path).frames, truth, path)
    changed(path, lambda c: first(c).update(bboxes=[[20, 0, 40, 9]] * 3))
    with pytest.raises(
        InputError, match=r"p.json: detections: 3 of 3 have their centre outside the frame, such as"
    ):
        with_truth_of(load_predictions(path).frames, truth, path)


def test_ignored_boxes_may_be_missing(path):
    changed(
        path,
        lambda c: [f.pop("ignored_bboxes") and f.pop("ignored_labels") for f in c["frames"][:1]],
    )
    assert [len(f.ignored) for f in load_predictions(path).frames] == [0, 0]


def test_boxes_beyond_the_frame_come_back_whole(path):
    whole = [[-9, -4, 1, 9], [20, 1, 40, 9], [1, 1, 2, 50]]
    changed(path, lambda c: first(c).update(bboxes=whole))
    (_, full) = load_predictions(path).frames
    assert full.found.bboxes_xyxy.tolist() == whole


def test_a_file_without_a_version_holds_clipped_boxes(path):
    """The protocol ``coco`` accepts them; the reference's protocols need unclipped boxes."""
    ours, theirs = get_protocols(["coco"]), get_protocols(["coco", "prophesee"])
    check_may_judge(load_predictions(path), theirs, path)
    changed(path, lambda c: c.pop("format_version"))
    saved = load_predictions(path)
    check_may_judge(saved, ours, path)
    with pytest.raises(
        InputError,
        match=r"clipped to the frame, but prophesee evaluates unclipped detections.*--out",
    ) as raised:
        check_may_judge(saved, theirs, path)
    assert str(path) in str(raised.value)


def test_frames_without_detections_need_no_class_scores(path):
    changed(path, lambda c: [f.pop("class_scores") for f in c["frames"]])
    empty, full = load_predictions(path).frames
    assert len(empty.found.class_scores) == 0 and full.found.class_scores is None
