"""Priors learn the boxes that they learn in the reference (tests/data).

Losses and gradients are equal, too.
"""

from __future__ import annotations

import pytest
import torch
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.structures import InstanceData

from tests.reference.answers import load
from tests.reference.simota_cases import HW, SIMOTA_CASES
from tests.test_models.test_reference import flat, instances, samples_of


def build_head(case, **options):
    return MODELS.build(
        dict(
            type="RVTYOLOXHead",
            num_classes=case.num_classes,
            in_channels=8,
            strides=case.strides,
            **options,
        )
    )


@pytest.mark.parametrize("case", SIMOTA_CASES, ids=lambda case: case.name)
def test_simota_agrees(case):
    answers = load(f"simota_{case.name}")
    head = build_head(case, train_cfg=dict(assigner=dict(type="RVTSimOTAAssigner")))
    raw = [torch.from_numpy(maps).requires_grad_() for maps in case.raw()]
    box, obj, cls = zip(*(m.split([4, 1, case.num_classes], dim=1) for m in raw), strict=True)
    targets = []
    matched = head.match
    head.match = lambda *args: targets.append(matched(*args)) or targets[-1]
    samples = samples_of(case.labels_cxcywh(), HW)
    losses = head.loss_by_feat(
        cls, box, obj, [s.gt_instances for s in samples], [s.metainfo for s in samples]
    )
    for ours, theirs in dict(loss_bbox="iou", loss_obj="obj", loss_cls="cls").items():
        assert losses[ours].item() == pytest.approx(
            float(answers[f"loss {theirs}"]), rel=1e-4, abs=1e-7
        )
    sum(losses.values()).backward()
    for stride, maps in zip(case.strides, raw, strict=True):
        expected = torch.from_numpy(answers[f"gradient {stride}"])
        torch.testing.assert_close(maps.grad, expected, rtol=1e-3, atol=1e-6)
    check_assignments(*targets, answers)


def check_assignments(targets, answers):
    assert targets.index.tolist() == answers["index"].tolist()
    assert targets.box_index.tolist() == answers["box_index"].tolist()
    torch.testing.assert_close(
        targets.ious, torch.from_numpy(answers["ious"]), rtol=1e-4, atol=1e-6
    )


def test_mmdet_simota_differs():
    """The reason for an assigner of our own: mmdet's chooses other priors on the same input."""
    case = SIMOTA_CASES[0]
    head = build_head(case)
    raw = [torch.from_numpy(maps) for maps in case.raw()]
    hw = [m.shape[2:] for m in raw]
    priors = torch.cat(head.prior_generator.grid_priors(hw, device="cpu", with_stride=True))
    maps = flat(raw)[0]
    predictions = InstanceData(
        bboxes=head._bbox_decode(priors, maps[None, :, :4])[0],
        scores=(maps[:, 4:5].sigmoid() * maps[:, 5:].sigmoid()).sqrt(),
        priors=torch.cat([priors[:, :2] + priors[:, 2:] / 2, priors[:, 2:]], -1),
    )
    truth = instances(torch.from_numpy(case.labels_cxcywh()[0]))
    chosen = [
        TASK_UTILS.build(dict(type=name)).assign(predictions, truth).gt_inds
        for name in ("RVTSimOTAAssigner", "SimOTAAssigner")
    ]
    assert not torch.equal(*chosen)
