"""StreamTTAModel: every stream twice, once mirrored, merged frame by frame."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.structures import InstanceData

from tests.helpers.same_boxes import Found, assert_same_boxes
from tests.test_models.test_detector import batch, build, predictions

LAST = 21  # column of the frames of `batch`, about which boxes are mirrored
LABELLED = ((1, 1), (0, 1), (1, 0))


def tta(detector=None, **tta_cfg):
    detector = detector or build()
    model = MODELS.build(dict(type="StreamTTAModel", module=detector, tta_cfg=tta_cfg or None))
    return model.eval()


def stream():
    """Two batches that follow each other in the same lanes."""
    return [batch(labelled=LABELLED), batch(is_first=(False, False), labelled=LABELLED, seed=1)]


def mirrored(data):
    return dict(data, inputs=[clip.flip(-1) for clip in data["inputs"]])


def found(sample, flip=False) -> Found:
    boxes = sample.pred_instances.bboxes.numpy()
    if flip:
        boxes = np.stack([LAST - boxes[:, 2], boxes[:, 1], LAST - boxes[:, 0], boxes[:, 3]], 1)
    return Found(boxes, sample.pred_instances.scores.numpy(), sample.pred_instances.labels.numpy())


def steps(model, batches):
    with torch.no_grad():
        return [model.test_step(data) for data in batches]


def test_a_mirrored_stream_gives_mirrored_boxes():
    plain = steps(tta(), stream())
    mirror = steps(tta(), map(mirrored, stream()))
    for ours, theirs in zip(plain, mirror, strict=True):
        assert len(ours) == len(theirs) == 4
        for one, other in zip(ours, theirs, strict=True):
            assert len(one.pred_instances) > 20
            assert_same_boxes(found(other, flip=True), found(one))
    alone = predictions(build(), stream()[0])[0]
    assert len(alone.pred_instances) and not np.array_equal(
        found(alone).bboxes[:5], found(plain[0][0]).bboxes[:5]
    )


def test_each_view_has_a_state_of_its_own(monkeypatch):
    """Each view gives the boxes of a detector that got only this view."""
    model, seen = tta(), []
    test_step = model.module.test_step

    def keep(data):
        outputs = test_step(data)
        seen.append([found(sample) for sample in outputs])
        return outputs

    monkeypatch.setattr(model.module, "test_step", keep)
    steps(model, stream())
    for view, batches in enumerate((stream(), map(mirrored, stream()))):
        alone = steps(tta().module, batches)
        for ours, theirs in zip(seen[view::2], alone, strict=True):
            for one, other in zip(ours, theirs, strict=True):
                assert len(one.scores) > 20
                for a, b in zip(one, found(other), strict=True):
                    assert np.array_equal(a, b)


def lane_of(track) -> int:
    return (track if "lane" in track else track[0]).lane


class Fixed(torch.nn.Module):
    """A detector with one result for the plain view and another for the mirrored one."""

    def __init__(self, plain, mirror):
        super().__init__()
        self.said, self.test_cfg = [plain, mirror], dict(nms=dict(type="nms", iou_threshold=0.5))
        self.lanes = []

    def test_step(self, data):
        samples = [frame for track in data["data_samples"] for frame in track][:1]
        self.lanes.append([lane_of(track) for track in data["data_samples"]])
        samples[0].pred_instances = self.said[len(self.lanes) - 1]
        return samples


def instances(*rows):
    """From (x1, y1, x2, y2, score, label)."""
    values = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
    return InstanceData(
        bboxes=values[:, :4],
        scores=values[:, 4],
        labels=values[:, 5].long(),
        class_scores=values[:, 4] / 2,
    )


def merged(*, nms_iou=None, **tta_cfg):
    plain = instances((2, 2, 8, 8, 0.6, 0), (10, 2, 14, 6, 0.5, 1))
    mirror = instances((LAST - 8.5, 2, LAST - 2, 8, 0.7, 0), (LAST - 14, 2, LAST - 10, 6, 0.4, 2))
    if nms_iou:
        tta_cfg["nms"] = dict(type="nms", iou_threshold=nms_iou)
    detector = Fixed(plain, mirror)
    (sample,) = steps(tta(detector, **tta_cfg), [batch()])[0]
    return detector, sample


def test_boxes_of_both_views_are_merged_class_by_class():
    detector, sample = merged()
    boxes = sample.pred_instances
    assert boxes.bboxes.tolist() == [[2, 2, 8.5, 8], [10, 2, 14, 6], [10, 2, 14, 6]]
    assert boxes.labels.tolist() == [0, 1, 2]
    assert boxes.scores.tolist() == pytest.approx([0.7, 0.5, 0.4])
    assert boxes.class_scores.tolist() == pytest.approx([0.35, 0.25, 0.2])
    assert detector.lanes == [[0, 1], [-1, -2]]
    assert sample.recording == "r0" and len(sample.gt_instances)  # the frame itself, with its truth


def test_nms_and_number_of_boxes_can_be_set():
    assert len(merged(nms_iou=0.95)[1].pred_instances) == 4
    assert merged(max_per_img=2)[1].pred_instances.labels.tolist() == [0, 1]


def test_frames_without_boxes():
    (sample,) = steps(tta(Fixed(instances(), instances())), [batch()])[0]
    assert len(sample.pred_instances) == 0
