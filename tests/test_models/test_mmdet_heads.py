"""mmdet's one-stage heads and its backbones without state: they train, validate and stream."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from torch import nn

from etram_mmdet.engine.config.load import load_config
from etram_mmdet.models.backbones.first_convolution import take_channels
from etram_mmdet.models.building import complete_model
from etram_mmdet.models.detectors.feature_maps import backbone_maps, trial
from etram_mmdet.models.detectors.one_stage import check_one_stage
from etram_mmdet.models.inference import Streamer
from etram_mmdet.utils.errors import InputError
from tests.helpers.paths import ROOT
from tests.test_models.test_detector import BACKBONE, HEAD, batch, build, losses, predictions

HW = (64, 64)
SMALL = dict(num_classes=3, feat_channels=8, stacked_convs=1)
POINTS = dict(
    anchor_generator=dict(type="MlvlPointGenerator", offset=0),
    bbox_coder=dict(type="DistancePointBBoxCoder"),
)
ANCHOR = dict(
    anchor_generator=dict(
        type="AnchorGenerator", ratios=[1.0], octave_base_scale=4, scales_per_octave=1
    )
)
CENTRES = dict(bbox_coder=dict(type="DeltaXYWHBBoxCoder"))
QUALITY = dict(loss_cls=dict(type="QualityFocalLoss", use_sigmoid=True))
ATSS = dict(
    assigner=dict(type="ATSSAssigner", topk=9), allowed_border=-1, pos_weight=-1, debug=False
)
SOFT = ATSS | dict(assigner=dict(type="DynamicSoftLabelAssigner", topk=5))
IOU = ATSS | dict(
    assigner=dict(type="MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0)
)
ALIGNED = ATSS | dict(assigner=dict(type="TaskAlignedAssigner", topk=13), alpha=1, beta=6)
GROUPED = dict(norm_cfg=dict(type="GN", num_groups=2))

# head, its train_cfg
HEADS = {
    "RTMDetHead": (
        POINTS | QUALITY | GROUPED | dict(loss_bbox=dict(type="GIoULoss", loss_weight=2.0)),
        SOFT,
    ),
    "RTMDetSepBNHead": (
        POINTS | QUALITY | dict(loss_bbox=dict(type="GIoULoss", loss_weight=2.0)),
        SOFT,
    ),
    "FCOSHead": (GROUPED, None),
    "GFLHead": (
        ANCHOR | QUALITY | GROUPED | dict(loss_bbox=dict(type="GIoULoss"), reg_max=8),
        ATSS,
    ),
    "ATSSHead": (ANCHOR | CENTRES | GROUPED | dict(loss_bbox=dict(type="GIoULoss")), ATSS),
    "RetinaHead": (CENTRES, IOU),
    "TOODHead": (
        ANCHOR
        | QUALITY
        | GROUPED
        | dict(stacked_convs=2, loss_bbox=dict(type="GIoULoss"), num_dcn=1, feat_channels=16),
        ALIGNED | dict(initial_epoch=0, initial_assigner=dict(type="ATSSAssigner", topk=9)),
    ),
}
# Heads that nobody here uses; a table in the docs says that they work.
HEADS |= {
    "VFNetHead": (GROUPED, ATSS),
    "FreeAnchorRetinaHead": (CENTRES, None),
    "DDODHead": (
        ANCHOR | CENTRES | GROUPED | dict(loss_bbox=dict(type="GIoULoss")),
        ATSS
        | dict(
            assigner=dict(type="ATSSAssigner", topk=9, alpha=0.8),
            reg_assigner=dict(type="ATSSAssigner", topk=9, alpha=0.5),
        ),
    ),
    "AutoAssignHead": (GROUPED, None),
    "FoveaHead": (
        dict(base_edge_list=[4, 8, 16], scale_ranges=((1, 8), (4, 16), (8, 64)), sigma=0.4),
        {},
    ),
    "RepPointsHead": (
        GROUPED | dict(point_feat_channels=8, num_points=9, point_base_scale=1),
        dict(init=ATSS | dict(assigner=dict(type="PointAssigner", scale=4, pos_num=1)), refine=IOU),
    ),
    "SABLRetinaHead": (
        dict(
            approx_anchor_generator=dict(
                type="AnchorGenerator", octave_base_scale=4, scales_per_octave=3, ratios=[0.5, 1, 2]
            ),
            square_anchor_generator=dict(type="AnchorGenerator", ratios=[1.0], scales=[4]),
        ),
        ATSS
        | dict(
            assigner=dict(
                type="ApproxMaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0.0
            )
        ),
    ),
    "NASFCOSHead": (GROUPED, None),
    "RetinaSepBNHead": (CENTRES | dict(num_ins=3, norm_cfg=dict(type="BN")), IOU),
    "PISARetinaHead": (CENTRES, IOU | dict(isr=dict(k=2.0, bias=0.0), carl=dict(k=1.0, bias=0.2))),
    "YOLOXHead": ({}, dict(assigner=dict(type="SimOTAAssigner"))),
    "CenterNetUpdateHead": (GROUPED | dict(hm_min_radius=1), None),
}
TEST = dict(nms_pre=50, min_bbox_size=0, score_thr=0.0, nms=dict(type="nms", iou_threshold=0.5))
NECK = dict(type="FPN", out_channels=8)

# mmdet's backbone, the channels and strides of its maps, keys of the detector
BACKBONES = {
    "ResNet": (
        dict(depth=18, in_channels=4, base_channels=8, stem_channels=8, out_indices=(1, 2, 3)),
        [16, 32, 64],
        [8, 16, 32],
        {},
    ),
    "CSPNeXt": (
        dict(widen_factor=0.125, deepen_factor=0.17, out_indices=(1, 2, 3)),
        [16, 32, 64],
        [4, 8, 16],
        dict(in_channels=4),
    ),
    "CSPDarknet": (
        dict(widen_factor=0.125, deepen_factor=0.33),
        [32, 64, 128],
        [8, 16, 32],
        dict(in_channels=4),
    ),
    "SwinTransformer": (
        dict(
            in_channels=4,
            embed_dims=8,
            depths=(1, 1, 2, 1),
            num_heads=(1, 1, 2, 2),
            window_size=4,
            out_indices=(1, 2, 3),
        ),
        [16, 32, 64],
        [8, 16, 32],
        {},
    ),
}


@pytest.fixture(autouse=True)
def _an_epoch():
    """TOODHead asks mmengine for the epoch, which a runner writes down when it starts."""
    MessageHub.get_current_instance().update_info("epoch", 0)


def head_of(name: str, **kwargs):
    keys, train_cfg = HEADS[name]
    head = SMALL | dict(type=name) | keys
    return build(**dict(neck=NECK, bbox_head=head, train_cfg=train_cfg, test_cfg=TEST) | kwargs)


def backbone_of(name: str, **kwargs):
    keys, _, _, more = BACKBONES[name]
    return build(**dict(backbone=dict(type=name) | keys) | more | kwargs)


def total(found: dict) -> torch.Tensor:
    return sum(sum(v) if isinstance(v, list) else v for name, v in found.items() if "loss" in name)


def check_trains_validates_and_streams(model):
    """Two clips: losses are finite and learnt from; streamed boxes equal those of validation."""
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-3))
    before = copy.deepcopy(model.state_dict())
    for first in (True, False):
        logs = model.train().train_step(
            batch(is_first=(first, first), hw=HW, seed=int(first)), wrapper
        )
        assert all(value.isfinite() for value in logs.values()) and logs["loss"] > 0
    changed = [
        name for name, value in model.state_dict().items() if not torch.equal(value, before[name])
    ]
    assert {name.partition(".")[0] for name in changed} == {"backbone", "neck", "bbox_head"}

    data = batch(labelled=((1, 1), (1, 1)), hw=HW)
    validated = predictions(model, data)
    streamer, states = Streamer(model), None
    for step in range(2):
        found, states = streamer(torch.stack([clip[step] for clip in data["inputs"]]), states)
        for lane, boxes in enumerate(found):
            expected = validated[2 * step + lane].pred_instances
            assert len(boxes) == len(expected) > 0
            torch.testing.assert_close(
                boxes.scores.sort().values, expected.scores.sort().values, rtol=1e-3, atol=1e-5
            )
            assert boxes.bboxes.isfinite().all()


@pytest.mark.parametrize("name", HEADS)
def test_head(name):
    check_trains_validates_and_streams(head_of(name))


@pytest.mark.parametrize("name", BACKBONES)
def test_backbone(name):
    model = backbone_of(name)
    _, channels, strides, _ = BACKBONES[name]
    assert model.neck.in_channels == channels
    assert model.bbox_head.in_channels == model.neck.out_channels == channels[-1] // 4
    assert model.bbox_head.strides == strides
    assert model.data_preprocessor.size_divisor == [strides[-1]] * 2
    check_trains_validates_and_streams(model)


@pytest.mark.parametrize("name", ["RTMDetHead", "TOODHead"])
def test_head_and_backbone_of_mmdet(name):
    keys, *_ = BACKBONES["ResNet"]
    check_trains_validates_and_streams(head_of(name, backbone=dict(type="ResNet") | keys))


@pytest.mark.parametrize("name", ["RTMDetHead", "GFLHead", "FCOSHead"])
def test_recomputing_and_parts_work_with_heads_of_mmdet(name):
    check_trains_validates_and_streams(head_of(name, with_cp=True, micro_batch=1))


@pytest.mark.parametrize("name", ["RTMDetHead", "RetinaHead", "FCOSHead", "TOODHead"])
@pytest.mark.parametrize(
    "data", [dict(boxes=0), dict(labelled=((0, 0),) * 3)], ids=["no boxes", "no labels"]
)
def test_frames_without_boxes(name, data):
    found = total(losses(head_of(name).train(), batch(hw=HW, **data)))
    assert found.isfinite()
    found.backward()


def test_levels_that_a_neck_adds_are_counted():
    """FPN makes a fourth and a fifth level from three; heads get strides and ranges for five."""
    model = head_of("FCOSHead", neck=NECK | dict(num_outs=5, add_extra_convs="on_output"))
    assert model.bbox_head.strides == [2, 4, 8, 16, 32]
    ranges = ((-1, 16), (16, 32), (32, 64), (64, 128), (128, 1e8))
    assert model.bbox_head.regress_ranges == ranges
    check_trains_validates_and_streams(model)


def test_anchors_and_points_are_filled_in_where_the_head_names_none():
    assert head_of("RetinaHead").bbox_head.prior_generator.strides == [(2, 2), (4, 4), (8, 8)]
    points = dict(type="RepPointsHead", point_feat_channels=8, num_points=9, point_base_scale=1)
    head = build(
        neck=NECK, bbox_head=SMALL | GROUPED | points, train_cfg=None, test_cfg=TEST
    ).bbox_head
    assert head.point_strides == [2, 4, 8]


def test_most_boxes_of_a_frame():
    assert head_of("ATSSHead").bbox_head.test_cfg.max_per_img == 300
    assert (
        head_of("ATSSHead", test_cfg=TEST | dict(max_per_img=7)).bbox_head.test_cfg.max_per_img == 7
    )
    assert "max_per_img" not in build().bbox_head.test_cfg


def test_the_trial_leaves_no_traces():
    """Statistics of BatchNorm, mode and random numbers equal those of an untried backbone."""
    model = backbone_of("ResNet")
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms and all(n.num_batches_tracked == 0 and not n.running_mean.any() for n in norms)
    model.backbone.layer1.eval()  # as frozen stages are
    model.backbone.layer2.register_forward_pre_hook(
        lambda *_: torch.rand(1) and None
    )  # one that draws
    modes = [module.training for module in model.backbone.modules()]
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    assert backbone_maps(model.backbone, 4) == ((16, 32, 64), (8, 16, 32))
    assert torch.rand(1) == expected
    assert [module.training for module in model.backbone.modules()] == modes and len(
        set(modes)
    ) == 2
    assert all(n.num_batches_tracked == 0 for n in norms)


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        (
            dict(bbox_head=HEAD | dict(strides=[4, 8, 16])),
            r"bbox_head.strides=\[4, 8, 16\].*\[8, 16, 32\]",
        ),
        (dict(bbox_head=HEAD | dict(in_channels=8)), "bbox_head.in_channels=8.*contradicts 16"),
        (
            dict(neck=dict(type="YOLOXPAFPN", in_channels=[16, 32, 32])),
            r"neck.in_channels=\[16, 32, 32\].*\[16, 32, 64\]",
        ),
        (dict(in_channels=20), "backbone.in_channels=4 in the config contradicts 20"),
        (
            dict(neck=None),
            r"takes maps of one number of channels, but gets \[16, 32, 64\]; set model.neck",
        ),
        (
            dict(
                bbox_head=SMALL
                | dict(type="RetinaHead")
                | CENTRES
                | dict(
                    anchor_generator=dict(
                        type="AnchorGenerator",
                        scales=[4],
                        ratios=[1.0],
                        strides=[(8, 8), (16, 16), (64, 64)],
                    )
                ),
                train_cfg=IOU,
            ),
            r"bbox_head.anchor_generator.strides=.*\[8, 16, 32\]",
        ),
    ],
    ids=["strides", "head channels", "neck channels", "frame channels", "no neck", "anchors"],
)
def test_contradictions_with_a_backbone_of_mmdet_are_named(kwargs, says):
    with pytest.raises(InputError, match=says):
        backbone_of("ResNet", **kwargs)


@pytest.mark.parametrize(
    ("head", "key", "entries"),
    [
        ("FCOSHead", "regress_ranges", ((-1, 64), (64, 128), (128, 256), (256, 512), (512, 1e8))),
        ("FoveaHead", "scale_ranges", ((1, 64), (32, 128), (64, 256), (128, 512))),
    ],
)
def test_ranges_of_other_levels_are_refused(head, key, entries):
    head = SMALL | GROUPED | dict(type=head)
    with pytest.raises(
        InputError, match=rf"bbox_head.{key} has {len(entries)} entries, but .* maps of 3 levels"
    ):
        build(neck=NECK, bbox_head=head | {key: entries}, train_cfg=None, test_cfg=TEST)


def test_a_first_convolution_for_other_inputs_is_not_replaced():
    with pytest.raises(InputError, match="in_channels=4, but Sequential has no key in_channels"):
        take_channels(nn.Sequential(nn.Conv2d(5, 8, 3)), 4)


def test_a_part_that_does_not_take_its_maps_is_named():
    with pytest.raises(
        InputError,
        match=r"neck Conv2d does not take tensors of shape \(1, 4, 8, 8\) \(RuntimeError",
    ):
        trial("neck", nn.Conv2d(3, 4, 1), torch.zeros(1, 4, 8, 8))


ROI = dict(type="StandardRoIHead")
BASE = dict(type="RecurrentDetector", backbone=BACKBONE)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (
            dict(type="FasterRCNN", backbone=BACKBONE),
            "model.type=FasterRCNN takes images one by one",
        ),
        (dict(type="RTMDet", backbone=BACKBONE), "model.type=RTMDet takes images one by one"),
        (
            BASE | dict(roi_head=ROI),
            "model.roi_head: RecurrentDetector finds boxes in two stages",
        ),
        (
            BASE | dict(bbox_head=dict(type="DINOHead", num_classes=3)),
            "bbox_head.type=DINOHead is no dense head",
        ),
        (
            BASE | dict(bbox_head=dict(type="RTMDetInsSepBNHead", num_classes=3)),
            "RTMDetInsSepBNHead learns from masks",
        ),
        (
            BASE | dict(bbox_head=dict(type="SOLOHead", num_classes=3)),
            "bbox_head.type=SOLOHead is no dense head",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else value["type"],
)
def test_other_kinds_of_detectors_are_refused(model, says):
    with pytest.raises(
        InputError, match=f"{says}.*use type='RecurrentDetector' with a bbox_head such as"
    ):
        check_one_stage(ConfigDict(model))


@pytest.mark.parametrize(
    "head", [None, dict(type="DINOHead", num_classes=3)], ids=["none", "DINOHead"]
)
def test_heads_without_dense_boxes_are_refused_when_the_model_is_built(head):
    with pytest.raises(InputError, match="only one-stage dense heads"):
        build(bbox_head=head)


def test_a_phase_that_waits_for_an_epoch_is_refused():
    waits = HEADS["TOODHead"][1] | dict(initial_epoch=4)
    with pytest.raises(
        InputError, match=r"initial_epoch=4: TOODHead would stay.*set train_cfg.initial_epoch=0"
    ):
        head_of("TOODHead", train_cfg=waits)


def test_tood_takes_more_frames_than_mmcvs_operator():
    """33 frames: mmcv's deformable convolution takes up to 32 or a multiple.

    A copied head calls its own method.
    """
    model = head_of("TOODHead").eval()
    maps = [torch.randn(33, 8, 64 // stride, 64 // stride) for stride in (2, 4, 8)]
    with torch.no_grad():
        together = model.bbox_head(maps)
        apart = model.bbox_head([level[-1:] for level in maps])
    for one, other in zip(together, apart, strict=True):
        torch.testing.assert_close(one[0][-1:], other[0], rtol=1e-4, atol=1e-5)
    other = copy.deepcopy(model.bbox_head)
    assert other.deform_sampling.method.__self__ is other
    pickle.dumps(model)


def test_two_stages_are_refused_before_their_keys(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        f'_base_ = "{ROOT}/configs/baseline.py"\n'
        'model = dict(roi_head=dict(type="StandardRoIHead"))\n'
    )
    with pytest.raises(
        InputError, match=r"model.roi_head: RecurrentDetector finds boxes in two stages"
    ):
        load_config(path)


@pytest.mark.parametrize(("name", "owner"), [("ResNet", "backbone"), ("CSPNeXt", "model")])
def test_channels_of_the_representation_reach_the_backbone(name, owner):
    """In the backbone's config if it has such a key, else in the detector's.

    Other numbers are refused.
    """
    data = dict(dataset=dict(representation=dict(type="StackedHistogram", bins=5)))
    model = dict(type="RecurrentDetector", backbone=dict(type=name))
    cfg = Config(dict(model=model, train_dataloader=data))
    complete_model(cfg)
    assert (cfg.model if owner == "model" else cfg.model.backbone).in_channels == 10
    cfg.train_dataloader.dataset.representation.bins = 4
    with pytest.raises(
        InputError, match=rf"model{'' if owner == 'model' else '.backbone'}.in_channels=10, but"
    ):
        complete_model(cfg)
