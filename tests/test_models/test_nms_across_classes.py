"""``test_cfg.nms.class_agnostic`` reaches every place where boxes are made."""

from __future__ import annotations

import csv
import math
from collections import defaultdict

import pytest
import torch
from mmcv.ops import batched_nms
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import ConfigDict

from etram_mmdet.engine.checkpoints.opening import load_checkpoint_file
from etram_mmdet.models.dense_heads.nms_by_class import nms_by_class
from etram_mmdet.models.inference import Streamer
from tests.helpers.cli import run
from tests.test_models.test_detector import TEST, batch, build, predictions
from tests.test_models.test_tta import tta

IOU = 0.3


def detector(across: bool):
    """Boxes of about 8 px at every place of every level; each level is sure of its own class."""
    model = build(
        test_cfg=dict(TEST, nms=ConfigDict(type="nms", iou_threshold=IOU, class_agnostic=across))
    )
    head = model.bbox_head
    for level, (stride, _) in enumerate(head.prior_generator.strides):
        head.multi_level_conv_cls[level].bias.data[level] += 3
        head.multi_level_conv_reg[level].bias.data[2:] = math.log(8 / stride)
    return model.eval()


def evaluated(model):
    return [sample.pred_instances for sample in predictions(model, batch())]


def streamed(model):
    frames = torch.stack([clip[0] for clip in batch()["inputs"]])
    return Streamer(model)(frames, None)[0]


def mirrored(model):
    with torch.no_grad():
        return [sample.pred_instances for sample in tta(model).test_step(batch())]


def overlapping(found) -> list[tuple[int, int]]:
    """Classes of every two boxes of a frame that overlap by more than `IOU`."""
    pairs = []
    for boxes in found:
        ious = bbox_overlaps(boxes.bboxes, boxes.bboxes).triu(1)
        pairs += [
            tuple(boxes.labels[list(pair)].tolist())
            for pair in (ious > IOU + 1e-4).nonzero().tolist()
        ]
    return pairs


@pytest.mark.parametrize("found_by", [evaluated, streamed, mirrored])
def test_the_better_score_wins_whatever_the_class(found_by):
    apart, across = (found_by(detector(each)) for each in (False, True))
    pairs = overlapping(apart)
    assert pairs and all(one != other for one, other in pairs)
    assert overlapping(across) == []
    for before, after in zip(apart, across, strict=True):
        assert 0 < len(after) < len(before)
        assert after.scores.max() == before.scores.max()


def shares(path) -> list[float]:
    """Largest IoU of two boxes of each window of a file of ``tools/detect.py``."""
    frames = defaultdict(list)
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            frames[row["t_us"]].append([float(row[key]) for key in ("x1", "y1", "x2", "y2")])
    boxes = [torch.tensor(each) for each in frames.values()]
    return [float(bbox_overlaps(each, each).triu(1).max()) for each in boxes]


def test_detect_takes_the_key_for_a_trained_checkpoint(trained, raw_sample, tmp_path):
    content = load_checkpoint_file(trained[0] / "iter_4.pth")
    for level, stride in enumerate((2, 4, 8)):
        content["state_dict"][f"bbox_head.multi_level_conv_cls.{level}.bias"][level] += 3
        content["state_dict"][f"bbox_head.multi_level_conv_reg.{level}.bias"][2:] = math.log(
            8 / stride
        )
    torch.save(
        dict(meta=content["meta"], state_dict=content["state_dict"]), tmp_path / "levels.pth"
    )
    recording = next((raw_sample / "val").glob("val_day_0000*.h5"))
    words = [
        "tools/detect.py",
        tmp_path / "levels.pth",
        recording,
        "--score-thr",
        "0.0",
        "--duration-s",
        "0.3",
    ]
    run(*words, "--out", tmp_path / "apart.csv")
    option = "model.test_cfg.nms.class_agnostic=True"
    run(*words, "--out", tmp_path / "across.csv", "--cfg-options", option)
    apart, across = (shares(tmp_path / f"{name}.csv") for name in ("apart", "across"))
    assert len(apart) == len(across) > 3
    assert min(apart) > 0.9 > 0.6 > max(across)  # of boxes that are cut to the frame


@pytest.mark.parametrize("number", [300, 11_000])
@pytest.mark.parametrize("across", [False, True])
def test_the_choice_is_mmcvs_to_the_last_bit(across, number):
    """Also for so many boxes that mmcv takes the classes one by one."""
    generator = torch.Generator().manual_seed(number)
    corners = torch.rand(number, 2, generator=generator) * 300
    boxes = torch.cat([corners, corners + 20], 1)
    scores = torch.rand(number, generator=generator)
    labels = torch.randint(3, (number,), generator=generator)
    nms = dict(type="nms", iou_threshold=IOU, class_agnostic=across)
    scored, kept = batched_nms(boxes, scores, labels, dict(nms))
    ours, our_kept = nms_by_class(boxes, scores, labels, nms)
    assert torch.equal(our_kept, kept) and torch.equal(ours, scored[:, -1])
    assert 0 < len(kept) < number


def test_classes_are_shifted_by_a_pixel_more_than_the_largest_corner():
    """A box of class 1 that reaches beyond the frame comes near the last one of class 0."""
    boxes = torch.tensor([[90.0, 90, 100, 100], [-6, -6, 4, 4]])
    scores = torch.tensor([0.9, 0.8])
    labels = torch.tensor([0, 1])
    found = [
        choose(boxes, scores, labels, dict(type="nms", iou_threshold=0.2))[1].tolist()
        for choose in (batched_nms, nms_by_class)
    ]
    assert found == [[0, 1], [0, 1]]
