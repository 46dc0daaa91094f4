"""The detector agrees with the reference implementation of RVT in maps, losses and gradients.

Its numbers are in tests/data.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from etram_mmdet.engine.checkpoints.rvt_weights import rvt_name
from etram_mmdet.models.layers.checkpointing import recompute_layers
from tests.reference.answers import load_packed
from tests.reference.model_cases import (
    GRADIENT_COUNT,
    HEAD_COUNT,
    HW,
    MAP_COUNT,
    MODEL_CASES,
    SEEN_STEPS,
    STEPS,
    TRAINED_STEPS,
    is_first,
)
from tests.reference.our_detector import build_detector
from tests.reference.thin import thin


@pytest.fixture(params=MODEL_CASES, ids=lambda case: case.name)
def case(request):
    return request.param


def reset(states, first):
    keep = torch.from_numpy(~first).float().view(-1, 1, 1, 1)
    return tuple(tuple(row * keep for row in state) for state in states)


def flat(maps):
    """Per-level (N, C, H, W) -> (N, P, C)."""
    return torch.cat([m.flatten(2) for m in maps], 2).transpose(1, 2)


def cxcywh(xyxy):
    low, high = xyxy.split(2, dim=-1)
    return torch.cat([(low + high) / 2, high - low], -1)


def xyxy(cxcywh):
    center, size = cxcywh[..., :2], cxcywh[..., 2:4]
    return torch.cat([center - size / 2, center + size / 2], -1)


def neck_maps(neck, features):
    """Maps of the neck, and the input of its last layers, which are in the reference's head."""
    inner = []
    hooks = [
        conv.register_forward_pre_hook(lambda _, inputs: inner.append(inputs[0]))
        for conv in neck.out_convs
    ]
    maps = neck(features)
    for hook in hooks:
        hook.remove()
    return maps, inner


def predictions(head, maps):
    """Decoded boxes as centre and size in pixels, and probabilities of object and classes."""
    cls, box, obj = head(maps)
    priors = torch.cat(
        head.prior_generator.grid_priors([m.shape[2:] for m in cls], device="cpu", with_stride=True)
    )
    return cxcywh(head._bbox_decode(priors, flat(box))), torch.cat(
        [flat(obj), flat(cls)], -1
    ).sigmoid()


def assert_close(answers, name, values, count, atol):
    np.testing.assert_allclose(
        thin(name, values.numpy(), count), answers[name], rtol=0, atol=atol, err_msg=name
    )


@torch.no_grad()
def test_inference_agrees(case):
    answers = load_packed(f"model_{case.name}")
    model = build_detector(case).eval()
    frames = torch.from_numpy(case.frames()).float()
    states = None
    for t in range(STEPS):
        states = None if states is None else reset(states, is_first()[t])
        features, states = model.backbone(frames[t : t + 1], states)
        if t not in SEEN_STEPS:
            continue
        for k, (output, cell) in enumerate(states):
            assert_close(answers, f"stage {t} {k}", output, MAP_COUNT, 1e-5)
            assert_close(answers, f"cell {t} {k}", cell, MAP_COUNT, 1e-5)
        maps, inner = neck_maps(model.neck, tuple(f[0] for f in features))
        for k, values in enumerate(inner):
            assert_close(answers, f"neck {t} {k}", values, MAP_COUNT, 1e-5)
        boxes, scores = predictions(model.bbox_head, maps)
        assert_close(answers, f"boxes {t}", boxes, HEAD_COUNT, 1e-3)
        assert_close(answers, f"scores {t}", scores, HEAD_COUNT, 1e-5)


def instances(labels_cxcywh):
    """Zero-padded (N, 5) class, cx, cy, w, h."""
    real = labels_cxcywh[labels_cxcywh.sum(1) > 0]
    return InstanceData(bboxes=xyxy(real[:, 1:]), labels=real[:, 0].long())


def samples_of(labels, hw):
    samples = []
    for boxes in torch.from_numpy(labels):
        sample = DetDataSample(metainfo=dict(img_shape=tuple(hw)))
        sample.gt_instances = instances(boxes)
        samples.append(sample)
    return samples


@pytest.mark.parametrize("recomputed", [False, True])
def test_training_step_agrees(case, recomputed, monkeypatch):
    """Losses and gradients after back-propagation through three steps of time, from a given state.

    Also with frames going through the stages one by one, everything computed twice.
    """
    answers = load_packed(f"model_{case.name}")
    model = build_detector(case).train()
    if recomputed:
        monkeypatch.setattr("etram_mmdet.models.backbones.maxvit_rnn.CPU_MAP_BYTES", 1)
        for stage in model.backbone.stages:
            stage.with_cp = True
        for module in (model.neck, model.bbox_head):
            recompute_layers(module)
    start = tuple(tuple(map(torch.from_numpy, state)) for state in case.start_state())
    features, _ = model.backbone(torch.from_numpy(case.frames()[TRAINED_STEPS]).float(), start)
    losses = model.bbox_head.loss(
        model.neck(tuple(f[-1] for f in features)), samples_of(case.labels_cxcywh(), HW)
    )
    for ours, theirs in dict(
        loss_bbox="iou_loss", loss_obj="conf_loss", loss_cls="cls_loss"
    ).items():
        assert losses[ours].item() == pytest.approx(answers[f"loss {theirs}"][0], rel=1e-4)
    sum(losses.values()).backward()
    check_gradients(
        {rvt_name(n): p.grad for n, p in model.named_parameters() if p.grad is not None}, answers
    )
    for name, tensor in model.named_buffers():
        if "running" in name:
            assert_close(answers, f"statistic {rvt_name(name)}", tensor, GRADIENT_COUNT, 1e-4)


def check_gradients(gradients, answers):
    assert {f"norm {name}" for name in gradients} == {
        name for name in answers if name.startswith("norm ")
    }
    for name, gradient in gradients.items():
        norm = answers[f"norm {name}"][0]
        assert gradient.norm().item() == pytest.approx(norm, rel=1e-3, abs=1e-7), name
        rms = norm / gradient.numel() ** 0.5
        assert_close(answers, f"gradient {name}", gradient, GRADIENT_COUNT, 1e-3 * rms + 1e-7)
