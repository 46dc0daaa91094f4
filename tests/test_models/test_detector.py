"""RecurrentDetector around backbones, necks and heads."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample, TrackDataSample
from mmengine.config import ConfigDict
from mmengine.optim import OptimWrapper
from mmengine.structures import InstanceData

from etram_mmdet.utils.errors import InputError
from tests.helpers.waits import Waits

BACKBONE = dict(
    type="MaxViTRNN",
    in_channels=4,
    embed_dims=8,
    head_dim=8,
    patch_size=2,
    partition_size=(2, 3),
    out_stages=(1, 2, 3),
)
NECK = dict(type="YOLOXPAFPN", num_csp_blocks=1)
HEAD = dict(type="RVTYOLOXHead", num_classes=3)
RANGES = ((-1, 8), (8, 16), (16, 1e8))
TRAIN = dict(assigner=dict(type="RVTSimOTAAssigner"))
TEST = dict(score_thr=0.0, nms=dict(type="nms", iou_threshold=0.5))


def build(**kwargs):
    torch.manual_seed(0)
    cfg = (
        dict(backbone=BACKBONE, neck=NECK, bbox_head=HEAD, train_cfg=TRAIN, test_cfg=TEST) | kwargs
    )
    model = MODELS.build(ConfigDict(type="RecurrentDetector", **cfg))
    model.init_weights()
    return model


def batch(is_first=(True, True), labelled=((0, 1), (0, 0), (1, 1)), boxes=2, seed=0, hw=(14, 22)):
    """Raw data as a loader gives it: T x B as ``labelled``, frames smaller than the padded size."""
    rng = np.random.default_rng(seed)
    steps = len(labelled)
    inputs, samples = [], []
    for lane, first in enumerate(is_first):
        track = TrackDataSample(metainfo=dict(lane=lane))
        track.video_data_samples = [
            frame(rng, lane, t, first, bool(labelled[t][lane]), boxes, hw) for t in range(steps)
        ]
        inputs.append(torch.from_numpy(rng.integers(0, 9, (steps, 4, *hw), dtype=np.uint8)))
        samples.append(track)
    return dict(inputs=inputs, data_samples=samples)


def frame(rng, lane, t, first, is_labelled, boxes, hw):
    corner = rng.uniform(0, 8, (boxes, 2))
    sample = DetDataSample(
        metainfo=dict(
            recording=f"r{lane}",
            t_us=t,
            is_labelled=is_labelled,
            is_first=first and t == 0,
            is_padding=False,
            img_shape=hw,
        )
    )
    xyxy = np.concatenate([corner, corner + rng.uniform(3, 6, (boxes, 2))], 1).astype(np.float32)
    sample.gt_instances = InstanceData(
        bboxes=torch.from_numpy(xyxy), labels=torch.from_numpy(rng.integers(0, 3, boxes))
    )
    return sample


def losses(model, data):
    return model(**model.data_preprocessor(data, True), mode="loss")


def predictions(model, data):
    with torch.no_grad():
        return model.eval().val_step(data)


def test_preprocessor_pads_and_marks():
    model = build()
    data = model.data_preprocessor(batch(is_first=(True, False)), True)
    assert data["inputs"].shape == (3, 2, 4, 16, 24)
    assert not data["inputs"][..., 14:, :].any() and not data["inputs"][..., 22:].any()
    assert data["is_first"].tolist() == [True, False]
    assert data["is_labelled"].tolist() == [[False, True], [False, False], [True, True]]


def test_chosen_frames_keep_channels_last_in_memory():
    """Attention returns this layout, and the neck's convolutions expect it."""
    data = build().data_preprocessor(batch(), True)
    features, _ = build().clip_features(data["inputs"], data["is_labelled"], None)
    assert [len(level) for level in features] == [3, 3, 3]
    assert all(level.is_contiguous(memory_format=torch.channels_last) for level in features)


def test_preprocessor_names_shapes_that_differ():
    data = batch()
    data["inputs"][0] = data["inputs"][0][..., :20]
    with pytest.raises(InputError, match=r"\(3, 4, 14, 20\), \(3, 4, 14, 22\)"):
        build().data_preprocessor(data, True)


def test_fills_neck_head_and_padding_from_the_backbone():
    model = build()
    assert model.neck.in_channels == [8, 16, 32]
    assert model.bbox_head.strides == [2, 4, 8]
    assert (
        model.bbox_head.in_channels
        == model.bbox_head.feat_channels
        == model.neck.out_channels
        == 32 // 4
    )
    assert model.data_preprocessor.size_divisor == [16, 24]


def test_config_is_not_changed():
    neck, head = dict(NECK), dict(HEAD)
    build(neck=neck, bbox_head=head)
    assert neck == NECK and head == HEAD


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        (
            dict(bbox_head=HEAD | dict(strides=[8, 16, 32])),
            r"bbox_head.strides=\[8, 16, 32\].*\[2, 4, 8\]",
        ),
        (
            dict(neck=NECK | dict(in_channels=[8, 16, 64])),
            r"neck.in_channels=\[8, 16, 64\].*\[8, 16, 32\]",
        ),
        (
            dict(neck=NECK | dict(out_channels=16), bbox_head=HEAD | dict(in_channels=8)),
            "bbox_head.in_channels=8.*16",
        ),
        (
            dict(data_preprocessor=dict(type="EventDataPreprocessor", size_divisor=[32, 32])),
            r"\[32, 32\].*\[16, 24\]",
        ),
    ],
)
def test_contradictions_are_named(kwargs, says):
    with pytest.raises(InputError, match=says):
        build(**kwargs)


def test_head_with_anchors_of_other_strides_is_refused():
    anchors = dict(
        type="AnchorGenerator",
        octave_base_scale=4,
        scales_per_octave=1,
        ratios=[1.0],
        strides=[8, 16, 32],
    )
    head = dict(type="RetinaHead", num_classes=3, anchor_generator=anchors)
    with pytest.raises(InputError, match=r"\[8, 16, 32\].*\[2, 4, 8\]"):
        build(bbox_head=head, train_cfg=None)


def test_predicts_labelled_frames():
    outputs = predictions(build(), batch())
    assert [(s.recording, s.t_us) for s in outputs] == [("r1", 0), ("r0", 2), ("r1", 2)]
    assert all(len(sample.pred_instances) for sample in outputs)


def test_predictions_are_the_heads_whole_boxes():
    """As the reference's boxes, which are not cut to the frame.

    Three streams of one frame each, decoded by hand.
    """
    model = build().eval()
    data = batch(is_first=(True, True, True), labelled=((1, 1, 1),))
    with torch.no_grad():
        maps = model(model.data_preprocessor(data)["inputs"], mode="tensor")
        expected = model.bbox_head.predict_by_feat(*maps, batch_img_metas=[{}] * 3)
    for sample, boxes in zip(predictions(model, data), expected, strict=True):
        assert torch.equal(sample.pred_instances.bboxes, boxes.bboxes)
        assert (
            boxes.bboxes.min() < 0
            and (boxes.bboxes[:, 2] > 22).any()
            and (boxes.bboxes[:, 3] > 14).any()
        )


def test_nms_sees_the_best_boxes_only():
    counts = {}
    for nms_pre in (-1, 20):
        model = build(
            test_cfg=dict(score_thr=0.0, nms_pre=nms_pre, nms=dict(type="nms", iou_threshold=1.0))
        )
        counts[nms_pre] = predictions(model, batch())[0].pred_instances
    assert len(counts[-1]) > 100 and len(counts[20]) == 20
    assert torch.equal(counts[20].scores, counts[-1].scores[:20])


def test_a_batch_without_labels_predicts_one_unlabelled_frame():
    (sample,) = predictions(build(), batch(labelled=((0, 0),) * 3))
    assert not sample.is_labelled and "pred_instances" in sample


def test_state_is_carried_and_reset():
    first, second = batch(seed=1), batch(is_first=(False, False), seed=2)
    scores = []
    for restart in (False, True):
        model = build()
        predictions(model, first)
        data = batch(is_first=(restart, False), seed=2) if restart else second
        scores.append([s.pred_instances.scores.sort().values for s in predictions(model, data)])
    changed = [not torch.equal(a, b) for a, b in zip(*scores, strict=True)]
    assert changed == [False, True, False]  # frames r1, r0, r1: only lane 0 started afresh


def test_validation_leaves_the_training_state_alone():
    def second_loss(validate):
        model = build().train()
        losses(model, batch(seed=1))
        if validate:
            predictions(model, batch(seed=5))
            model.train()
            model.load_state_dict(weights[0])
        weights.append({k: v.clone() for k, v in model.state_dict().items()})
        return losses(model, batch(is_first=(False, False), seed=2))

    weights = []
    plain, interrupted = second_loss(False), second_loss(True)
    assert all(torch.equal(plain[k], interrupted[k]) for k in plain)


def test_state_is_not_saved_and_does_not_hold_the_graph():
    model = build().train()
    sum(losses(model, batch()).values()).backward()
    assert not any("stream" in name or "lstm.h" in name for name in model.state_dict())
    sum(
        losses(model, batch(is_first=(False, False))).values()
    ).backward()  # raises if the first graph was kept


@pytest.mark.parametrize(
    "data", [dict(boxes=0), dict(labelled=((0, 0),) * 3)], ids=["no boxes", "no labels"]
)
def test_empty_ground_truth_reaches_every_parameter(data):
    model = build().train()
    result = losses(model, batch(**data))
    total = sum(result.values())
    assert torch.isfinite(total)
    total.backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None]
    assert not missing
    if "labelled" in data:
        assert total == 0 and not any(p.grad.any() for p in model.parameters())


def test_an_image_on_its_own_leaves_the_stream_as_it_is():
    """mmdet's inference_detector uses the same detector, perhaps while a stream goes on."""
    first, second, lone = (batch((seed == 0,), ((1,),), seed=seed) for seed in range(3))
    lone["data_samples"][0].set_metainfo(dict(streamed=False))
    lone["data_samples"][0][0].set_metainfo(dict(is_first=True))
    model = build()
    predictions(model, first)
    (expected,) = predictions(model, second)
    expected = expected.pred_instances.scores
    predictions(model, first)
    predictions(model, lone)
    (found,) = predictions(model, second)
    assert torch.equal(found.pred_instances.scores, expected)


def test_checkpointing_changes_neither_gradients_nor_statistics():
    """BatchNorm sees the maps twice but may count them once."""
    plain, recomputed = build(), build(with_cp=True, backbone=dict(BACKBONE, with_cp=True))
    for model in (plain, recomputed):
        sum(
            sum(v) if isinstance(v, list) else v for v in losses(model, batch()).values()
        ).backward()
    for (name, one), other in zip(plain.named_parameters(), recomputed.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6, msg=name)
    for (name, one), other in zip(plain.named_buffers(), recomputed.buffers(), strict=True):
        assert torch.equal(one, other), name
    assert recomputed.neck.out_convs[0].bn.momentum == plain.neck.out_convs[0].bn.momentum


def test_parts_give_the_gradient_of_the_whole_batch():
    """Six lanes at once, and two at a time: the same weights after two steps.

    The state is carried from one step to the next.

    Parts differ in positives, one has no label at all. BatchNorm's statistics are frozen, since
    they would differ.
    """
    labelled = ((1, 0, 0, 0, 1, 1), (0, 1, 0, 0, 1, 1), (1, 0, 0, 0, 0, 1))
    steps = [batch((first,) * 6, labelled, seed=seed) for seed, first in enumerate((True, False))]
    models, logs = [build(), build(micro_batch=2)], []
    for model in models:
        wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-3))
        model.train()
        for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)):
            norm.eval()
        logs.append([model.train_step(data, wrapper) for data in steps])
    assert list(models[1].stream_states["loss"]._groups) == [(0, 1), (2, 3), (4, 5)]
    for whole, parts in zip(*logs, strict=True):
        assert whole.keys() == parts.keys() and whole["num_pos"] > 10
        for name, value in whole.items():
            assert float(parts[name]) == pytest.approx(float(value), rel=1e-5), name
    for (name, one), other in zip(
        models[0].named_parameters(), models[1].parameters(), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6, msg=name)


@pytest.mark.parametrize("counts", [2, 3])
def test_parts_accumulate_over_iterations_as_the_whole_batch_does(counts):
    """Four iterations with an update after every second, or after the third and the fourth.

    The training ends after the fourth.
    """
    labelled = ((1, 0, 0, 0, 1, 1), (0, 1, 0, 0, 1, 1), (1, 0, 0, 0, 0, 1))
    models = [build(), build(micro_batch=2)]
    wrappers = [
        OptimWrapper(torch.optim.SGD(m.parameters(), lr=1e-3), accumulative_counts=counts)
        for m in models
    ]
    for model, wrapper in zip(models, wrappers, strict=True):
        model.train()
        wrapper.initialize_count_status(model, 0, 4)
        for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)):
            norm.eval()
    moved = []
    for iteration in range(4):
        before = [p.detach().clone() for p in models[1].parameters()]
        for model, wrapper in zip(models, wrappers, strict=True):
            model.train_step(batch((iteration == 0,) * 6, labelled, seed=iteration), wrapper)
        moved.append(not all(map(torch.equal, before, models[1].parameters())))
        for (name, one), other in zip(
            models[0].named_parameters(), models[1].parameters(), strict=True
        ):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-6, msg=name)
            assert (one.grad is None) == (other.grad is None) == moved[-1]
    assert moved == [False, counts == 2, counts == 3, True]


def test_parts_of_nothing_are_refused():
    with pytest.raises(InputError, match="micro_batch=0, expected at least 1"):
        build(micro_batch=0)


def test_learns_one_batch():
    model = build().train()
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    history = []
    for _ in range(80):
        loss, _ = model.parse_losses(losses(model, batch()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.6 * history[0]


@pytest.mark.parametrize(
    "head",
    [
        dict(
            type="FCOSHead",
            num_classes=3,
            feat_channels=8,
            stacked_convs=1,
            norm_cfg=dict(type="BN"),
            regress_ranges=RANGES,
        ),
        dict(
            type="RetinaHead",
            num_classes=3,
            feat_channels=8,
            stacked_convs=1,
            anchor_generator=dict(
                type="AnchorGenerator", scales=[4], ratios=[1.0], strides=[2, 4, 8]
            ),
            bbox_coder=dict(type="DeltaXYWHBBoxCoder"),
        ),
    ],
    ids=lambda h: h["type"],
)
def test_works_with_other_mmdet_parts(head):
    assigner = dict(type="MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0)
    train_cfg = dict(assigner=assigner, allowed_border=-1, pos_weight=-1, debug=False)
    test_cfg = dict(
        nms_pre=50,
        min_bbox_size=0,
        score_thr=0.0,
        nms=dict(type="nms", iou_threshold=0.5),
        max_per_img=20,
    )
    neck = dict(type="FPN", out_channels=8, num_outs=3)
    model = build(neck=neck, bbox_head=head, train_cfg=train_cfg, test_cfg=test_cfg).train()
    total = sum(sum(v) if isinstance(v, list) else v for v in losses(model, batch()).values())
    total.backward()
    assert torch.isfinite(total)
    assert len(predictions(model, batch())) == 3


def test_works_with_a_backbone_without_state():
    backbone = dict(
        type="ResNet",
        depth=18,
        in_channels=4,
        base_channels=8,
        out_indices=(1, 2, 3),
        strides=(1, 2, 2, 2),
    )
    backbone |= dict(stem_channels=8, norm_cfg=dict(type="BN"), num_stages=4)
    neck = dict(type="YOLOXPAFPN", in_channels=[16, 32, 64], out_channels=16, num_csp_blocks=1)
    head = dict(
        type="YOLOXHead", num_classes=3, in_channels=16, feat_channels=16, strides=[8, 16, 32]
    )
    preprocessor = dict(type="EventDataPreprocessor", size_divisor=[32, 32])
    model = build(
        backbone=backbone, neck=neck, bbox_head=head, data_preprocessor=preprocessor
    ).train()
    assert torch.isfinite(sum(losses(model, batch()).values()))
    assert torch.isfinite(sum(losses(model, batch(is_first=(False, False))).values()))
    assert len(predictions(model, batch())) == 3


def test_half_precision_keeps_boxes_and_losses_in_float32():
    model = build().train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = losses(model, batch())
    assert all(v.dtype == torch.float32 and torch.isfinite(v) for v in result.values())


def test_half_precision_predicts_nearly_the_same():
    """Two clips, so that the state is handed on in half precision as well."""
    scores = {}
    for enabled in (False, True):
        model = build()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            predictions(model, batch(seed=1))
            found = predictions(model, batch(is_first=(False, False), seed=2))
        scores[enabled] = torch.stack([s.pred_instances.scores.max() for s in found])
    assert torch.isfinite(scores[True]).all() and not torch.equal(scores[True], scores[False])
    torch.testing.assert_close(scores[True], scores[False], rtol=0.05, atol=1e-3)


def test_unknown_mode_is_named():
    model = build()
    with pytest.raises(InputError, match="mode='train'"):
        model(**model.data_preprocessor(batch(), True), mode="train")


def test_boxes_too_large_for_a_float_cost_nothing_without_ground_truth():
    model = build().train()
    for level in model.bbox_head.multi_level_conv_reg:
        level.bias.data.fill_(200.0)
    assert losses(model, batch(boxes=0))["loss_bbox"] == 0


def test_class_scores_stand_beside_the_products():
    """Score = objectness * class probability, and RVT's evaluation ranks by the latter."""
    found = predictions(build(), batch())[0].pred_instances
    assert (
        len(found) and (found.class_scores > found.scores).all() and (found.class_scores < 1).all()
    )
    order = found.scores / found.class_scores  # objectness, which differs from box to box
    assert order.std() > 0


def test_data_go_to_the_device_without_waiting():
    """Every number that is read would wait for a GPU, some ninety times a lane."""
    model = build()
    loaded = batch()
    with Waits() as waits:
        data = model.data_preprocessor(loaded, True)
    assert waits.seen == []
    assert [len(lane) for lane in data["data_samples"]] == [3, 3]
    assert data["data_samples"][1].lane == 1 and data["data_samples"][1][2].recording == "r1"
