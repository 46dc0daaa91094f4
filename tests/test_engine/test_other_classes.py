"""A training may start from the weights of a detector of other classes."""

from __future__ import annotations

import copy

import pytest
import torch

from etram_mmdet.datasets.shared_keys import dataset_config, metainfo_of
from etram_mmdet.engine.checkpoints.other_classes import fit_classes
from etram_mmdet.engine.checkpoints.weights import load_strictly
from etram_mmdet.engine.config.load import load_config
from etram_mmdet.models.building import build_detector
from etram_mmdet.testing import random_clips
from etram_mmdet.utils.errors import InputError
from tests.helpers.cli import CONFIG, SMALL, run

SMALLEST = {"model.backbone.partition_size": (1, 3), "model.backbone.embed_dims": 16}
# Nine anchors to a cell, and with softmax a row for the background behind each anchor's classes.
HEADS = {
    "YOLOX": {},
    "sigmoid": {"use_sigmoid": True},
    "softmax": {"use_sigmoid": False},
}


def config(head: str, class_set: str, **options):
    cfg = load_config(
        CONFIG, SMALLEST | {"class_set": class_set, "allow_other_classes": True} | options
    )
    if head != "YOLOX":
        cfg.model.bbox_head = dict(
            type="RetinaHead", loss_cls=dict(type="CrossEntropyLoss", **HEADS[head])
        )
        cfg.model.train_cfg = dict(
            assigner=dict(type="MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.4)
        )
    return cfg


def checkpoint(cfg, model) -> dict:
    names = metainfo_of(dataset_config(cfg))["classes"]
    return dict(
        meta=dict(dataset_meta=dict(classes=names)), state_dict=copy.deepcopy(model.state_dict())
    )


def class_scores(model, hw=(32, 48)) -> torch.Tensor:
    """Class scores (..., classes) of all places and anchors; the background, if any, is last."""
    clip = random_clips(model, 1, 2, hw)
    maps = model.eval()(**model.data_preprocessor(clip, False), mode="tensor")[0]
    rows = model.bbox_head.cls_out_channels
    return torch.cat([m.permute(0, 2, 3, 1).reshape(-1, rows) for m in maps])


@pytest.mark.parametrize("head", HEADS)
@torch.no_grad()
def test_classes_of_equal_names_are_scored_as_before(head):
    """Three classes from eight: the pedestrian is number 0 in both; no other class is known."""
    old_cfg, cfg = config(head, "etram8"), config(head, "etram3")
    torch.manual_seed(0)
    old, model = build_detector(old_cfg), build_detector(cfg)
    fresh = copy.deepcopy(model)
    content = checkpoint(old_cfg, old)
    told = fit_classes(content, model, cfg, "old.pth")
    load_strictly(model, content["state_dict"], "old.pth")
    load_strictly(fresh, {**content["state_dict"], **_class_layers(fresh, old)}, "fresh.pth")
    new, before, unknown = (class_scores(each) for each in (model, old, fresh))
    assert torch.allclose(new[:, 0], before[:, 0], atol=1e-6) and not torch.allclose(
        new[:, 0], unknown[:, 0], atol=1e-3
    )
    assert torch.allclose(new[:, 1:3], unknown[:, 1:3], atol=1e-6)
    assert torch.allclose(new[:, 3:], before[:, 8:], atol=1e-6)  # the background
    assert told[1].endswith("; weights copied for pedestrian, new for vehicle, micro-mobility")
    assert "bbox_head" in told[1] and "backbone" not in told[1] and "reg" not in told[1]


def _class_layers(model, other) -> dict:
    shapes = {name: tensor.shape for name, tensor in other.state_dict().items()}
    return {
        name: tensor for name, tensor in model.state_dict().items() if tensor.shape != shapes[name]
    }


def test_names_decide_and_not_numbers_nor_capitals():
    """Both have eight classes; averaged weights are treated like the others."""
    old_cfg, cfg = config("YOLOX", "etram8"), config("YOLOX", "cls8_sample")
    old, model = build_detector(old_cfg), build_detector(cfg)
    content = checkpoint(old_cfg, old)
    name = "bbox_head.multi_level_conv_cls.1.weight"
    content["state_dict"][name][:] = torch.arange(8.0).view(-1, 1, 1, 1)
    content["ema_state_dict"] = {
        f"module.{name}": content["state_dict"][name] + 10,
        "steps": torch.tensor(3),
    }
    fresh = model.state_dict()[name].mean((1, 2, 3)).tolist()
    told = fit_classes(content, model, cfg, "old.pth")
    # Car, Truck, Motorcycle, Bicycle, Pedestrian, Bus, Static, Other
    expected = [1, 5, fresh[2], 2, 0, 3, fresh[6], fresh[7]]
    assert content["state_dict"][name].mean((1, 2, 3)).tolist() == pytest.approx(expected)
    averaged = content["ema_state_dict"][f"module.{name}"].mean((1, 2, 3)).tolist()
    assert averaged == pytest.approx([11, 15, fresh[2], 12, 10, 13, fresh[6], fresh[7]])
    assert (
        "weights copied for Car, Truck, Bicycle, Pedestrian, Bus, new for Motorcycle, Static, Other"
        in told[1]
    )


@pytest.mark.parametrize(
    "options", [{"allow_other_classes": False}, {"train_cfg": None}], ids=["not asked", "a test"]
)
def test_refused_where_nobody_asked_for_it_and_in_a_test(options):
    old_cfg = config("YOLOX", "etram8")
    cfg = config("YOLOX", "etram3")
    cfg.update(options)
    model = build_detector(cfg)
    with pytest.raises(InputError, match="was trained to find pedestrian, car") as error:
        fit_classes(checkpoint(old_cfg, build_detector(old_cfg)), model, cfg, "old.pth")
    assert ("set allow_other_classes=True" in str(error.value)) == ("train_cfg" not in options)


def test_equal_classes_are_left_alone():
    cfg = config("YOLOX", "etram8")
    model = build_detector(cfg)
    content = checkpoint(cfg, build_detector(cfg))
    before = copy.deepcopy(content["state_dict"])
    assert fit_classes(content, model, cfg, "old.pth") == []
    assert all(torch.equal(before[name], tensor) for name, tensor in content["state_dict"].items())


def test_a_training_with_other_classes_on_other_attention_groups(trained, sample):
    """No weight depends on the size of a frame or of a group."""
    weights = trained[0] / "iter_4.pth"
    options = [*SMALL, f"data_root={sample}/", f"load_from={weights}", "class_set=etram3_from8"]
    options += ["model.backbone.partition_size=(2,2)", "allow_other_classes=True"]
    output = run("tools/train.py", CONFIG, "--dry-run", "--cfg-options", *options)
    assert (
        f"weights     {weights} was trained to find pedestrian, car, bicycle, bus, motorbike, "
        "truck, tram" in output
    )
    assert (
        "weights copied for pedestrian, new for vehicle, micro-mobility" in output
        and "dry run: loss" in output
    )


def test_weights_of_another_neck_are_refused_with_the_way_to_the_backbone(trained, sample):
    options = [
        *SMALL,
        f"data_root={sample}/",
        f"load_from={trained[0]}",
        "model.neck.num_csp_blocks=3",
    ]
    output = run("tools/train.py", CONFIG, "--dry-run", "--cfg-options", *options, ok=False)
    assert "does not fit the model" in output and "type='Pretrained', checkpoint=" in output
