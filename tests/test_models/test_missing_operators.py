"""Operators that this mmcv lacks are refused when the model is built, not at the first box."""

from __future__ import annotations

import sys
import types

import pytest
from mmdet.models.necks import FPN
from mmdet.registry import MODELS
from torch import nn

from etram_mmdet import ops
from etram_mmdet.models.detectors.missing_operators import check_nms, check_operators
from etram_mmdet.utils.errors import InputError
from tests.test_models.test_detector import batch, build, losses, predictions
from tests.test_models.test_mmdet_heads import BACKBONES, backbone_of
from tests.test_ops.test_suppression import needs_stand_in

CARAFE = dict(type="carafe", up_kernel=5, up_group=1, encoder_kernel=3, encoder_dilation=1)


def test_soft_nms_gives_every_box_another_score():
    """It works without compiled operators; overlapping boxes stay, with less score."""
    counts, best = {}, {}
    for kind in ("nms", "soft_nms"):
        nms = dict(type=kind, iou_threshold=0.2) | (
            dict(min_score=0.0) if kind == "soft_nms" else {}
        )
        found = predictions(build(test_cfg=dict(score_thr=0.0, nms=nms)), batch())[0].pred_instances
        counts[kind], best[kind] = len(found), found.scores.max()
    assert counts["soft_nms"] > counts["nms"] > 0
    assert best["soft_nms"] == best["nms"]


@pytest.mark.parametrize("layer", ["DCN", "DCNv2"])
def test_deformable_layers_of_a_backbone_train(layer):
    deformable = dict(
        depth=50,
        zero_init_residual=False,
        dcn=dict(type=layer, deform_groups=1),
        stage_with_dcn=(False, True, True, True),
    )
    keys = BACKBONES["ResNet"][0] | deformable
    model = backbone_of("ResNet", backbone=dict(type="ResNet") | keys).train()
    sum(losses(model, batch(hw=(64, 64))).values()).backward()
    offsets = [p.grad for name, p in model.named_parameters() if "conv_offset.weight" in name]
    assert (
        len(offsets) > 3
        and all(grad.isfinite().all() for grad in offsets)
        and any(g.any() for g in offsets)
    )


@needs_stand_in
def test_a_layer_that_misses_its_operator_is_refused():
    with pytest.raises(
        InputError,
        match=r"model.neck.*is a CARAFEPack.*carafe_forward.*MMCV_WITH_OPS=1 pip install",
    ):
        build(neck=dict(type="FPN_CARAFE", out_channels=8, upsample_cfg=CARAFE))


@needs_stand_in
@pytest.mark.parametrize(
    ("nms", "says"),
    [
        (dict(type="nms_rotated", iou_threshold=0.5), "'nms_rotated' was called"),
        (
            dict(type="fast_nms", iou_threshold=0.5),
            "NameError.*'fast_nms'.*Known types are nms and soft_nms",
        ),
        (dict(type="nms", iou=0.5), "TypeError.*iou"),
        (dict(type="soft_nms", method="cubic"), "AssertionError"),
    ],
    ids=["operator", "name", "key", "value"],
)
def test_nms_that_cannot_work_is_refused_when_the_model_is_built(nms, says):
    with pytest.raises(InputError, match=f"test_cfg.nms=.*does not work on two boxes.*{says}"):
        build(test_cfg=dict(score_thr=0.5, nms=nms))


@pytest.mark.parametrize(
    "test_cfg",
    [None, dict(score_thr=0.1), dict(nms=dict(type="nms", iou_threshold=0.4, split_thr=9))],
    ids=str,
)
def test_other_settings_pass(test_cfg):
    check_nms(test_cfg)


def test_with_compiled_operators_nothing_is_refused(monkeypatch):
    from mmcv.ops import RoIPool

    model = nn.Sequential(RoIPool(1, 1.0))
    if getattr(sys.modules[ops.EXTENSION], "__file__", None) is None:
        with pytest.raises(
            InputError, match=r"model.0 is a RoIPool.*roi_pool_backward, roi_pool_forward"
        ):
            check_operators(model)
    monkeypatch.setitem(sys.modules, ops.EXTENSION, types.ModuleType(ops.EXTENSION))
    check_operators(model)


def test_layers_of_ones_own_and_of_mmdet_need_nothing():
    check_operators(
        nn.Sequential(nn.Conv2d(1, 1, 1), FPN([4], 4, 1), MODELS.build(dict(type="FocalLoss")))
    )
    check_operators(MODELS.build(dict(type="DCNv2", in_channels=4, out_channels=4, kernel_size=3)))
