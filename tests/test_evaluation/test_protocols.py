"""Protocols: equal to the reference's numbers, and described correctly in the log."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from etram_mmdet.evaluation.coco import coco_metrics
from etram_mmdet.evaluation.event_coco_metric import EventCocoMetric
from etram_mmdet.evaluation.protocols import PROTOCOLS, get_protocols
from etram_mmdet.evaluation.results import Boxes, FrameResult
from etram_mmdet.utils.errors import InputError
from tests.reference.answers import load
from tests.reference.detections import detections, true_boxes
from tests.test_evaluation.test_event_coco_metric import (
    BOXES,
    CLASSES,
    LABELS,
    plain_pycocotools,
    sample,
)
from tests.test_models.test_detector import batch, build, predictions

LAST = torch.tensor([21, 13] * 2)  # pixel of the frames of `batch`, where they end
FEW = dict(score_thr=0.0, nms=dict(type="nms", iou_threshold=0.1))
PROPHESEE = PROTOCOLS["prophesee"]


def frame(boxes, labels=None, t_us=600_000, scale=2, detections=None) -> FrameResult:
    """Detections are the boxes themselves unless given."""
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    found = boxes if detections is None else np.array(detections, np.float32).reshape(-1, 4)
    labels = np.zeros(len(boxes), np.int64) if labels is None else np.array(labels)
    scores = np.full(len(found), 0.9, np.float32)
    found = Boxes(found, np.zeros(len(found), np.int64), scores)
    return FrameResult("r", t_us, Boxes(boxes, labels), found, scale)


def rows(table, t):
    of = table[table["t"] == t]
    corners = np.stack([of["x"], of["y"], of["x"] + of["w"], of["y"] + of["h"]], 1)
    return corners, of["class_id"].astype(np.int64), of["class_confidence"]


def frames_of(true, found) -> list[FrameResult]:
    frames = []
    for t in np.union1d(true["t"], found["t"]):
        boxes, labels, _ = rows(true, t)
        bboxes, found_labels, scores = rows(found, t)
        found_boxes = Boxes(bboxes, found_labels, scores)
        frames.append(FrameResult("made up", int(t), Boxes(boxes, labels), found_boxes, 2))
    return frames


def test_prophesee_is_the_references():
    frames, removed = PROPHESEE.select(frames_of(true_boxes(), detections()))
    metrics = coco_metrics(frames, ("a", "b", "c"))
    for theirs, value in load("evaluation").items():
        ours = {"AP_50": "AP50", "AP_75": "AP75"}.get(theirs, theirs)
        ours += "_network_px" if theirs in ("AP_S", "AP_M", "AP_L") else ""
        assert metrics[ours] == pytest.approx(float(value), abs=1e-6), theirs
    assert removed.boxes > 0 and removed.detections > removed.boxes


def test_small_boxes_and_detections_go_by_sensor_pixels():
    """Limits are 30 px diagonal and 10 px sides, in network pixels of half resolution.

    The diagonal of 18x24 is exactly 30, that of 10x28.3 a little longer, that of 10x28.2 shorter.
    """
    boxes = [[0, 0, 18, 24], [0, 0, 9, 60], [0, 0, 10, 28.2], [50, 50, 60, 78.3]]
    kept, removed = PROPHESEE.select([frame(boxes)])
    expected = np.float32([boxes[0], boxes[3]])
    assert np.array_equal(kept[0].truth.bboxes_xyxy, expected) and np.array_equal(
        kept[0].found.bboxes_xyxy, expected
    )
    assert (removed.frames, removed.boxes, removed.detections) == (0, 2, 2)
    full, removed = PROPHESEE.select([frame(boxes, scale=1)])
    assert full == [] and (removed.frames, removed.boxes) == (1, 4)


def test_the_first_half_second_and_empty_frames_go():
    large = [[0, 0, 40, 40]]
    frames = [frame(large, t_us=t) for t in (400_000, 500_000, 500_001)]
    frames += [
        frame([], t_us=700_000, detections=large),
        frame([[0, 0, 5, 5]], t_us=800_000, detections=large),
    ]
    kept, removed = PROPHESEE.select(frames)
    assert [f.t_us for f in kept] == [500_001]
    assert (removed.frames, removed.boxes, removed.detections) == (4, 3, 4)
    everything, nothing = PROTOCOLS["coco"].select(frames)
    assert everything == frames and (nothing.frames, nothing.boxes, nothing.detections) == (0, 0, 0)


@pytest.mark.parametrize("start_us", [0, 90_000_000])
def test_the_first_half_second_is_that_of_the_recording(start_us):
    """It is counted from the recording's start on any clock; the reference assumes a start at 0."""
    large = [[0, 0, 40, 40]]
    frames = [
        frame(large, t_us=start_us + t)._replace(start_us=start_us)
        for t in (400_000, 500_000, 500_001)
    ]
    for name in ("prophesee", "prophesee_gen1", "etram_paper"):
        kept, removed = PROTOCOLS[name].select(frames)
        assert [f.t_us - start_us for f in kept] == [500_001] and removed.frames == 2
    early = [
        frame(large, t_us=start_us - 10)._replace(start_us=start_us)
    ]  # a label before the first event
    assert PROTOCOLS["coco"].select(early)[0] == early


def test_frames_of_unknown_size_are_not_clipped():
    """Beside frames of two sizes, which are cut to their last pixels."""
    beyond = [[-5, 10, 100, 90]]
    frames = [frame(beyond)._replace(hw=hw) for hw in ((60, 80), None, (50, 70))]
    kept, _ = PROTOCOLS["coco"].select(frames)
    assert [f.found.bboxes_xyxy.tolist() for f in kept] == [
        [[0, 10, 79, 59]],
        beyond,
        [[0, 10, 69, 49]],
    ]
    assert [f.truth.bboxes_xyxy.tolist() for f in kept] == [beyond] * 3


def test_the_first_frame_without_class_scores_is_named():
    known = frame([[0, 0, 40, 40]])
    known = known._replace(found=known.found.replaced(class_scores=known.found.scores))
    with pytest.raises(InputError, match=r"t_us=700000 has no class_scores"):
        get_protocols(["prophesee:class"])[0].select([known, frame([], t_us=700_000)])


def evaluate(samples, protocols):
    metric = EventCocoMetric(protocols)
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process(None, samples)
    return metric.evaluate(1)


def test_several_in_one_pass_each_under_its_name():
    """Classes are swapped: AP is 0 with classes, and 1 if classes do not matter."""
    large = [[10, 10, 90, 90], [200, 10, 290, 90]]
    samples = [sample(600_000, large, [0, 1], large, [0.9, 0.9], [1, 0])]
    found = evaluate(samples, ("coco", "prophesee", "etram_paper"))
    assert {key.split("/")[0] for key in found} == {"coco", "prophesee", "etram_paper"}
    assert found["coco/AP"] == found["prophesee/AP"] == 0
    assert found["etram_paper/AP"] == pytest.approx(1) and "etram_paper/AP_car" not in found
    assert found["etram_paper/boxes"] == 2


def test_a_protocol_that_leaves_no_box_has_no_numbers_but_the_headline_must():
    samples = [sample(0, BOXES, LABELS)]
    found = evaluate(samples, ("coco", "prophesee"))
    assert found["coco/AP"] > 0.9 and not any(key.startswith("prophesee") for key in found)
    with pytest.raises(InputError, match="left out: 1 frames, 3 boxes"):
        evaluate(samples, ("prophesee",))


@pytest.mark.parametrize("names", [("coco", "mscoco"), ()])
def test_unknown_protocols_get_a_sentence(names):
    with pytest.raises(
        InputError, match="expected some of coco, prophesee, prophesee_gen1, etram_paper"
    ):
        EventCocoMetric(names)


def test_the_log_names_protocol_and_what_it_left_out(monkeypatch):
    said = []
    monkeypatch.setattr(
        "etram_mmdet.evaluation.event_coco_metric.print_log", lambda text, **_: said.append(text)
    )
    large = [[10, 10, 90, 90]]
    evaluate([sample(0, large, [0]), sample(600_000, large, [0])], ("coco", "prophesee"))
    rules = (
        "class-aware, no box filter, boxes < 5 sensor px ignored, detections clipped to the frame"
    )
    assert (
        f"protocol coco: {rules}, IoU .50:.95, maxDets 1/10/100" in said[0]
        and "ignored:" not in said[0]
    )
    assert "left out: 0 frames, 0 boxes" in said[0]
    assert (
        "protocol prophesee: class-aware, first 0.5 s" in said[1]
        and "left out: 1 frames, 1 boxes" in said[1]
    )


def test_ours_clips_detections_and_the_references_does_not():
    """A detection reaches 10 px beyond the border; the truth ends at the last pixel.

    IoU is 1 if the detection is clipped, and 40/50 if not.
    """
    samples = [
        sample(
            600_000,
            [[59, 0, 99, 40]],
            [0],
            predicted=[[59, 0, 109, 40]],
            img_shape=(100, 100),
            scale=2,
        )
    ]
    found = evaluate(samples, ("coco", "prophesee", "prophesee_gen1", "etram_paper"))
    assert found["coco/AP"] == pytest.approx(1)
    for name in ("prophesee", "prophesee_gen1", "etram_paper"):
        assert found[f"{name}/AP"] == pytest.approx(0.7), (
            name
        )  # found at .50 to .80, in seven of ten


def test_from_the_network_to_the_numbers():
    """The numbers of an untrained detector equal those of pycocotools.

    Ground truth is some of its boxes, clipped to the frame and moved a little.
    """
    samples = [s.to_dict() for s in predictions(build(test_cfg=FEW), batch(labelled=((1, 1),) * 3))]
    for each in samples:
        inside = each["pred_instances"]["bboxes"].clamp(min=0).minimum(LAST)
        moved = (inside + 0.2).minimum(LAST)
        rows = ((moved[:, 2:] > moved[:, :2]).all(1).nonzero().squeeze(1))[::3]
        each["gt_instances"] = dict(
            bboxes=moved[rows], labels=each["pred_instances"]["labels"][rows]
        )
        each.update(t_us=each["t_us"] + 600_000, scale=100)  # all sides are many sensor pixels
    found = evaluate(samples, ("prophesee", "coco"))
    whole = plain_pycocotools(samples)[0]
    for each in samples:
        bboxes = each["pred_instances"]["bboxes"]
        each["pred_instances"]["bboxes"] = bboxes.clamp(min=0).minimum(LAST)
    clipped = plain_pycocotools(samples)[0]
    assert [found["prophesee/AP"], found["prophesee/AP50"]] == pytest.approx(
        whole[:2].tolist(), abs=1e-9
    )
    assert [found["coco/AP"], found["coco/AP50"]] == pytest.approx(clipped[:2].tolist(), abs=1e-9)
    assert clipped[0] > 1.5 * whole[0] > 0


def test_filters_remove_ignored_boxes_too():
    """The reference's evaluation has no ignored boxes."""
    (one,) = [frame([[0, 0, 40, 40]])]
    one = one._replace(ignored=Boxes(np.float32([[1, 1, 3, 3]]), np.zeros(1, int)))
    told = "0 detections; ignored: 1 boxes under 5 sensor px or of no class"
    assert str(PROTOCOLS["coco"].select([one])[1]).endswith(told)
    of_all_classes = one._replace(ignored=Boxes(np.float32([[1, 1, 3, 3]] * 3), np.arange(3)))
    assert str(PROTOCOLS["coco"].select([of_all_classes])[1]).endswith(told)
    for name in ("prophesee", "prophesee_gen1", "etram_paper"):
        ((kept,), removed) = PROTOCOLS[name].select([one])
        assert len(kept.ignored) == removed.ignored == 0


def test_gen1_has_a_smaller_sensor():
    boxes = [[0, 0, 18, 24], [0, 0, 9, 60], [0, 0, 10, 28.2]]
    kept, removed = PROTOCOLS["prophesee_gen1"].select([frame(boxes, scale=1)])
    assert np.array_equal(kept[0].truth.bboxes_xyxy, np.float32(boxes[:1])) and removed.boxes == 2


def test_class_score_ranks_without_objectness():
    """A detection of high class score and low objectness ranks first by class score alone."""
    box, noise = [10, 10, 60, 60], [200, 200, 260, 260]
    samples = [
        sample(600_000, [box], [1], predicted=[box, noise], scores=[0.6, 0.1], labels=[1, 1])
    ]
    samples[0]["pred_instances"]["class_scores"] = torch.tensor([0.7, 0.9])
    found = evaluate(samples, ("coco", "coco:class", "prophesee:class"))
    assert found["coco/AP"] == pytest.approx(1) and found["coco:class/AP"] == pytest.approx(0.5)
    assert found["prophesee:class/AP"] == pytest.approx(0.5)
    (protocol,) = get_protocols(["coco:class"])
    assert "ranked by class probability alone" in str(protocol) and "ranked" not in str(
        PROTOCOLS["coco"]
    )


def test_class_score_of_a_head_that_does_not_tell_it():
    with pytest.raises(
        InputError, match=r"'day_000' at t_us=0 has no class_scores.*use the protocol coco$"
    ):
        evaluate([sample(0, [[0, 0, 9, 9]], [1])], ("coco:class",))
