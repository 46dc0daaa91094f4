"""mmdet's losses in the slots of the YOLOX head: values by hand, for every reduction."""

from __future__ import annotations

import math

import pytest
import torch
from mmdet.registry import MODELS
from torch import nn

from etram_mmdet.models.dense_heads.loss_sums import check_loss, loss_sum
from etram_mmdet.models.task_modules.assignment import Targets
from etram_mmdet.utils.errors import InputError
from tests.test_models.test_detector import HEAD, batch, build, losses

REDUCTIONS = pytest.mark.parametrize(
    "reduction", [{}, dict(reduction="sum")], ids=["as it comes", "sum"]
)

# Two positive priors. The first prediction is too low by 6 of 16 px; the second is right except for
# a shift by 5 px.
PREDICTED = torch.tensor([[0.0, 0, 10, 10], [20.0, 20, 30, 40]])
MATCHED = torch.tensor([[0.0, 0, 10, 16], [25.0, 20, 35, 40]])
IOU = [100 / 160, 1 / 3]
# the smallest box around both is as large as their union
GIOU = IOU
# squared distance of the centres over the squared diagonal of the box around both
DISTANCE = [3**2 / (10**2 + 16**2), 5**2 / (15**2 + 20**2)]
# CIoU's aspect term v = 4 / pi^2 (atan(w / h) - atan(w' / h'))^2, weighed by v / (1 - IoU + v) if
# IoU > 0.5
V = [4 / math.pi**2 * (math.atan(10 / 16) - math.atan(1)) ** 2, 0.0]
ASPECT = [v / (1 - iou + v) * v for v, iou in zip(V, IOU, strict=True)]


def siou_distance(dx, dy, width, height):
    """Distance cost of SIoU (Gevorgyan 2022) with its angle cost.

    mmdet's gamma is positive unless it is set.
    """
    sigma = math.hypot(dx, dy)
    sine = min(abs(dx), abs(dy)) / sigma
    angle = math.cos(2 * math.asin(sine) - math.pi / 2)
    gamma = 2 - angle
    return 2 - math.exp(gamma * (dx / width) ** 2) - math.exp(gamma * (dy / height) ** 2)


SIOU = [
    # with the shape cost (1 - exp(-|h - h'| / max))^4 of the heights
    1 - IOU[0] + (siou_distance(0, 3, 10, 16) + (1 - math.exp(-6 / 16)) ** 4) / 2,
    1 - IOU[1] + siou_distance(5, 0, 15, 20) / 2,
]

BOX_LOSSES = {
    "IoULoss": [-math.log(iou) for iou in IOU],
    "GIoULoss": [1 - giou for giou in GIOU],
    "DIoULoss": [1 - iou + d for iou, d in zip(IOU, DISTANCE, strict=True)],
    "CIoULoss": [1 - iou + d + a for iou, d, a in zip(IOU, DISTANCE, ASPECT, strict=True)],
    "EIoULoss": [1 - iou - 0.1 / 2 for iou in IOU],  # smooth up to 0.1, in mmdet's "extended" IoU
    "SIoULoss": SIOU,
    "L1Loss": [6, 5 + 5],
    "SmoothL1Loss": [6 - 0.5, 2 * (5 - 0.5)],
    "MSELoss": [6**2, 2 * 5**2],
}

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [-3.0, 0.0, 1.0]])
TARGET = [[0.0, 0.8, 0.0], [0.3, 0.0, 0.0]]  # the IoU at the class of the box


def bce(p, t):
    return -t * math.log(p) - (1 - t) * math.log(1 - p)


CLASS_LOSSES = {
    "CrossEntropyLoss": bce,
    "FocalLoss": lambda p, t: (
        (0.25 * t + 0.75 * (1 - t)) * ((1 - p) * t + p * (1 - t)) ** 2 * bce(p, t)
    ),
    "QualityFocalLoss": lambda p, t: bce(p, t) * abs(p - t) ** 2,
    "VarifocalLoss": lambda p, t: bce(p, t) * (t if t > 0 else 0.75 * p**2),
    "SmoothedClassLoss": lambda p, t: bce(p, t * 0.9 + 0.1 / 3),
}


def by_hand(loss: str) -> list[list[float]]:
    return [
        [
            CLASS_LOSSES[loss](1 / (1 + math.exp(-x)), t)
            for x, t in zip(logits, targets, strict=True)
        ]
        for logits, targets in zip(LOGITS.tolist(), TARGET, strict=True)
    ]


def head_with(**slots):
    return build(bbox_head=HEAD | slots).train().bbox_head


def with_reduction(cfg: dict, reduction: dict) -> dict:
    return (
        cfg if cfg["type"] == "SmoothedClassLoss" else cfg | reduction
    )  # ours sums and has no such key


def matched(boxes=MATCHED) -> Targets:
    """Priors 1 and 4 of six, classes 1 and 0."""
    labels = torch.tensor([1, 0])
    return Targets(
        torch.tensor([1, 4]), boxes, labels, torch.tensor([0.8, 0.3]), torch.tensor([0, 1])
    )


@REDUCTIONS
@pytest.mark.parametrize("name", BOX_LOSSES)
def test_box_loss_is_the_sum_over_boxes(name, reduction):
    loss = MODELS.build(dict(type=name, loss_weight=5.0) | reduction)
    found = loss_sum(loss, PREDICTED, MATCHED)
    assert found.item() == pytest.approx(5 * sum(BOX_LOSSES[name]), rel=1e-5)


@REDUCTIONS
@pytest.mark.parametrize("name", CLASS_LOSSES)
def test_class_loss_is_the_sum_over_scores(name, reduction):
    cfg = with_reduction(dict(type=name, use_sigmoid=True, loss_weight=2.0), reduction)
    if name == "SmoothedClassLoss":
        del cfg["use_sigmoid"]
    found = head_with(loss_cls=cfg).class_terms(LOGITS, matched())
    assert found.item() == pytest.approx(2 * sum(map(sum, by_hand(name))), rel=1e-5)


@REDUCTIONS
@pytest.mark.parametrize("name", CLASS_LOSSES)
def test_class_loss_with_a_weight_for_each_box(name, reduction):
    """SizeAwareYOLOXHead: boxes of 200 px2 count 2 exp(-200 / 100), at least 1.

    Those of 50 px2 count 2 exp(-50 / 100).
    """
    cfg = with_reduction(dict(type=name, use_sigmoid=True), reduction)
    if name == "SmoothedClassLoss":
        del cfg["use_sigmoid"]
    head = head_with(type="SizeAwareYOLOXHead", loss_cls=cfg, size_weight=dict(small_area=100))
    boxes = torch.tensor([[0.0, 0, 10, 20], [25.0, 20, 30, 30]])
    weights = [1.0, 2 * math.exp(-0.5)]
    expected = sum(w * sum(row) for w, row in zip(weights, by_hand(name), strict=True))
    assert head.class_terms(LOGITS, matched(boxes)).item() == pytest.approx(expected, rel=1e-5)


@REDUCTIONS
def test_objectness_loss_counts_every_prior_once(reduction):
    loss = dict(type="FocalLoss", gamma=0.0, alpha=0.5, loss_weight=2.0) | reduction
    logits = torch.tensor([[0.0], [1.0], [-1.0], [0.0], [2.0], [0.0]])
    found = head_with(loss_obj=loss).objectness_terms(logits, matched())
    p = logits.sigmoid().flatten().tolist()
    assert found.item() == pytest.approx(
        sum(bce(p[i], float(i in (1, 4))) for i in range(6)), rel=1e-5
    )


def trained_with(**slots) -> dict:
    return losses(build(bbox_head=HEAD | slots).train(), batch())


@pytest.mark.parametrize(
    ("slot", "cfg"),
    [
        ("loss_bbox", dict(type="GIoULoss", loss_weight=5.0)),
        ("loss_bbox", dict(type="SmoothL1Loss", loss_weight=0.1)),
        ("loss_cls", dict(type="QualityFocalLoss", use_sigmoid=True)),
        ("loss_obj", dict(type="CrossEntropyLoss", use_sigmoid=True)),
    ],
    ids=lambda value: value if isinstance(value, str) else value["type"],
)
def test_reduction_changes_nothing_in_training(slot, cfg):
    plain, summed = trained_with(**{slot: cfg}), trained_with(**{slot: cfg | dict(reduction="sum")})
    assert plain["num_pos"] > 1
    assert all(torch.equal(plain[name], summed[name]) for name in plain)


def test_box_losses_train_at_their_weight():
    """mmdet's GIoU loss is between 0 and 2 a box, so with 5 boxes at random places it is near 5."""
    found = trained_with(loss_bbox=dict(type="GIoULoss", loss_weight=5.0))["loss_bbox"]
    assert 2 < found < 10


def test_l1_loss_is_that_of_mmdets_head():
    """YOLOXModeSwitchHook sets ``use_l1``: offsets of centres and logs of sizes, in strides."""
    model = build(bbox_head=HEAD | dict(loss_l1=dict(type="L1Loss"))).train()
    head = model.bbox_head
    head.use_l1 = True
    assert losses(model, batch())["loss_l1"] > 0
    assert losses(model, batch(boxes=0))["loss_l1"] == 0
    maps = [torch.zeros(1, channels, 1, 2) for channels in (3, 4, 1)]
    predicted = head.join_levels(*([level, level[..., :1], level[..., :1, :]] for level in maps))
    boxes = torch.tensor([[1.0, 1, 5, 9]])  # centre 3, 5; size 4, 8
    one = torch.tensor([1])
    targets = Targets(one, boxes, one, torch.ones(1), one * 0)  # prior 1: corner 2, 0 and stride 2
    expected = 1 / 2 + 5 / 2 + math.log(4 / 2) + math.log(8 / 2)
    assert head.l1_terms(predicted, targets).item() == pytest.approx(expected, rel=1e-5)


class SumOnly(nn.Module):
    """A loss of a user's own that knows nothing of reductions."""

    def forward(self, prediction, target):
        return (prediction - target).abs().sum()


class HandsOn(nn.Module):
    """A loss that passes its arguments on to a loss of mmdet with mean reduction."""

    def __init__(self):
        super().__init__()
        self.reduction = "mean"
        self.inner = MODELS.build(dict(type="L1Loss"))

    def forward(self, prediction, target, **kwargs):
        return self.inner(prediction, target, **kwargs)


class Mean(SumOnly):
    reduction = "mean"


class Rows(nn.Module):
    def forward(self, prediction, target):
        return (prediction - target).abs().sum(1)


@pytest.mark.parametrize("loss", [SumOnly(), HandsOn()], ids=lambda loss: type(loss).__name__)
def test_losses_of_ones_own_sum(loss):
    check_loss("loss_bbox", loss)
    assert loss_sum(loss, PREDICTED, MATCHED) == 16


def test_a_loss_that_averages_by_itself_is_refused():
    with pytest.raises(
        InputError, match=r"loss_bbox: Mean has reduction='mean'.*set reduction='sum'"
    ):
        check_loss("loss_bbox", Mean())


def test_a_loss_that_returns_rows_is_refused():
    with pytest.raises(
        InputError, match=r"Rows returned a tensor of shape \(2,\), expected one number"
    ):
        loss_sum(Rows(), PREDICTED, MATCHED)


@pytest.mark.parametrize(
    ("cfg", "says"),
    [
        (dict(type="EQLV2Loss", num_classes=3), "use EQLV2ClassLoss"),
        (dict(type="SeesawLoss", num_classes=3), "use SeesawClassLoss"),
        (dict(type="GaussianFocalLoss"), "reads probabilities"),
        (dict(type="CrossEntropyLoss"), "by softmax.*use_sigmoid=True"),
        (dict(type="GHMC"), "GHMC is called with a prediction and its target, but.*'label_weight'"),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_losses_that_fit_no_yolox_head_are_refused_when_it_is_built(cfg, says):
    with pytest.raises(InputError, match=f"loss_cls: .*{says}"):
        head_with(loss_cls=cfg)
