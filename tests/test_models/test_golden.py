"""Agreement with the reference implementation of RVT, on its own numbers (../shared/golden)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from etram_mmdet.engine.rvt_weights import rvt_name
from etram_mmdet.models.layers.recompute import recompute_layers
from tests.golden import build_golden_detector, load_golden

STEPS = 6


@pytest.fixture(params=["rvt_tiny_patch4", "rvt_tiny_patch2"])
def golden(request, shared):
    return load_golden(shared / "golden" / f"{request.param}.pt")


def reset(states, is_first):
    keep = (~is_first).float().view(-1, 1, 1, 1)
    return tuple(tuple(row * keep for row in state) for state in states)


def flat(maps):
    """Per-level (N, C, H, W) -> (N, P, C)."""
    return torch.cat([m.flatten(2) for m in maps], 2).transpose(1, 2)


def decode(head, cls, box):
    hw = [m.shape[2:] for m in cls]
    priors = torch.cat(head.prior_generator.grid_priors(hw, device="cpu", with_stride=True))
    return head._bbox_decode(priors, flat(box))


def xyxy(cxcywh):
    center, size = cxcywh[..., :2], cxcywh[..., 2:4]
    return torch.cat([center - size / 2, center + size / 2], -1)


@torch.no_grad()
def test_inference_agrees(golden):
    model = build_golden_detector(golden).eval()
    states = None
    for t in range(STEPS):
        states = None if states is None else reset(states, golden["is_first"][t])
        features, states = model.backbone(golden["inputs"][t : t + 1].float(), states)
        for which, kind in enumerate(("stages", "cells")):
            for k, expected in golden.get(kind, {}).get(t, {}).items():
                torch.testing.assert_close(states[k - 1][which], expected, rtol=0, atol=1e-5)
        if t in golden["head"]:
            cls, box, obj = model.bbox_head(model.neck(tuple(f[0] for f in features)))
            expected = golden["head"][t]
            torch.testing.assert_close(decode(model.bbox_head, cls, box), xyxy(expected), rtol=0, atol=1e-3)
            torch.testing.assert_close(flat(obj).sigmoid(), expected[..., 4:5], rtol=0, atol=1e-5)
            torch.testing.assert_close(flat(cls).sigmoid(), expected[..., 5:], rtol=0, atol=1e-5)


def instances(labels_cxcywh):
    """Zero-padded (N, 5) class, cx, cy, w, h."""
    real = labels_cxcywh[labels_cxcywh.sum(1) > 0]
    return InstanceData(bboxes=xyxy(real[:, 1:]), labels=real[:, 0].long())


def frames(labels, hw):
    samples = []
    for boxes in labels:
        sample = DetDataSample(metainfo=dict(img_shape=tuple(hw)))
        sample.gt_instances = instances(boxes)
        samples.append(sample)
    return samples


@pytest.mark.parametrize("recomputed", [False, True])
def test_training_step_agrees(golden, recomputed, monkeypatch):
    """Losses and gradients after back-propagation through three steps of time, from a given state.

    Also with frames going through the stages one by one, everything computed twice.
    """
    model = build_golden_detector(golden).train()
    if recomputed:
        monkeypatch.setattr("etram_mmdet.models.backbones.maxvit_rnn.CPU_MAP_BYTES", 1)
        for stage in model.backbone.stages:
            stage.with_cp = True
        for module in (model.neck, model.bbox_head):
            recompute_layers(module)
    expected = golden["train"]
    features, _ = model.backbone(golden["inputs"][3:6].float(), expected["start_state"])
    samples = frames(expected["labels_cxcywh"], golden["meta"]["hw"])
    losses = model.bbox_head.loss(model.neck(tuple(f[-1] for f in features)), samples)
    named = dict(loss_bbox="iou_loss", loss_obj="conf_loss", loss_cls="cls_loss")
    for ours, theirs in named.items():
        assert losses[ours].item() == pytest.approx(expected["losses"][theirs], rel=1e-4)
    sum(losses.values()).backward()
    ours = dict(model.named_parameters())
    norms = {rvt_name(name): p.grad.norm().item() for name, p in ours.items() if p.grad is not None}
    assert set(norms) == set(expected["grad_norm"])
    for name, norm in expected["grad_norm"].items():
        assert norms[name] == pytest.approx(float(norm), rel=1e-3, abs=1e-7), name
    grads = {rvt_name(name): p.grad for name, p in ours.items()}
    for name, grad in expected["grads"].items():
        torch.testing.assert_close(grads[name], grad.float(), rtol=1e-2, atol=2e-3 * float(grad.abs().max()) + 1e-7)


def test_simota_agrees(shared):
    for case in torch.load(shared / "golden" / "simota_rvt.pt", weights_only=True):
        raw = [m.clone().requires_grad_() for m in case["raw"]]
        head = MODELS.build(
            dict(
                type="RVTYOLOXHead",
                num_classes=case["num_classes"],
                in_channels=8,
                strides=case["strides"],
                train_cfg=dict(assigner=dict(type="RVTSimOTAAssigner")),
            )
        )
        box, obj, cls = zip(*(m.split([4, 1, case["num_classes"]], dim=1) for m in raw), strict=True)
        targets = []
        matched = head.match
        head.match = lambda *args, matched=matched, found=targets: found.append(matched(*args)) or found[-1]
        samples = frames(case["labels_cxcywh"], case["hw"])
        losses = head.loss_by_feat(cls, box, obj, [s.gt_instances for s in samples], [s.metainfo for s in samples])
        check_losses(losses, case)
        sum(losses.values()).backward()
        for ours, expected in zip(raw, case["grads"], strict=True):
            torch.testing.assert_close(ours.grad, expected, rtol=1e-3, atol=1e-6)
        check_assignments(*targets, [len(s.gt_instances) for s in samples], case["assign"])


def check_losses(losses, case):
    expected = case["losses"] if "losses" in case else case
    for ours, theirs in dict(loss_bbox="iou", loss_obj="obj", loss_cls="cls").items():
        assert losses[ours].item() == pytest.approx(expected[theirs], rel=1e-4, abs=1e-7)


def check_assignments(targets, counts, expected):
    first_box = np.cumsum([0, *counts])
    index, box, iou = [], [], []
    for frame, wanted in ((f, w) for f, w in enumerate(expected) if w is not None):
        index.append(wanted["fg_mask"].nonzero().squeeze(1) + frame * len(wanted["fg_mask"]))
        box.append(wanted["gt_idx"] + first_box[frame])
        iou.append(wanted["iou"])
    assert torch.equal(targets.index, torch.cat(index))
    assert torch.equal(targets.box_index, torch.cat(box))
    torch.testing.assert_close(targets.ious, torch.cat(iou), rtol=1e-4, atol=1e-6)


def test_mmdet_simota_differs(shared):
    """The reason for an assigner of our own: mmdet's chooses other priors on the same input."""
    case = torch.load(shared / "golden" / "simota_rvt.pt", weights_only=True)[0]
    head = MODELS.build(
        dict(type="RVTYOLOXHead", num_classes=case["num_classes"], in_channels=8, strides=case["strides"])
    )
    hw = [m.shape[2:] for m in case["raw"]]
    priors = torch.cat(head.prior_generator.grid_priors(hw, device="cpu", with_stride=True))
    maps = flat(case["raw"])[0]
    predictions = InstanceData(
        bboxes=head._bbox_decode(priors, maps[None, :, :4])[0],
        scores=(maps[:, 4:5].sigmoid() * maps[:, 5:].sigmoid()).sqrt(),
        priors=torch.cat([priors[:, :2] + priors[:, 2:] / 2, priors[:, 2:]], -1),
    )
    chosen = [
        TASK_UTILS.build(dict(type=name)).assign(predictions, instances(case["labels_cxcywh"][0])).gt_inds
        for name in ("RVTSimOTAAssigner", "SimOTAAssigner")
    ]
    assert not torch.equal(*chosen)
