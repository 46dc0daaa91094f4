"""Class and objectness losses that count small boxes more."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from etram_mmdet.models.task_modules.assignment import Targets
from etram_mmdet.utils.errors import InputError
from tests.helpers.plugins import with_head
from tests.test_models.test_detector import batch, build, losses

# four priors of one frame; the first and third are matched to boxes of 10 and 100 px
TARGETS = Targets(
    index=torch.tensor([0, 2]),
    bboxes=torch.tensor([[0.0, 0, 10, 10], [0.0, 0, 100, 100]]),
    labels=torch.tensor([0, 1]),
    ious=torch.tensor([0.5, 0.7]),
    box_index=torch.tensor([0, 1]),
)
W = 2 * math.exp(-100 / 1024)


def head(**keys):
    return build(**with_head(type="SizeAwareYOLOXHead", **keys)).bbox_head


def test_objectness_by_hand():
    logits = torch.tensor([[1.0], [2.0], [-1.0], [0.5]])
    each = F.binary_cross_entropy_with_logits(
        logits, torch.tensor([[1.0], [0], [1], [0]]), reduction="none"
    )
    expected = (each[:, 0] * torch.tensor([W, 1, 1, 1])).sum()
    assert head().objectness_terms(logits, TARGETS).item() == pytest.approx(
        expected.item(), rel=1e-6
    )


def test_classes_by_hand():
    scores = torch.tensor([[1.0, 0, -1], [0.5, 2, 0]])
    target = torch.tensor([[0.5, 0, 0], [0, 0.7, 0]])
    each = F.binary_cross_entropy_with_logits(scores, target, reduction="none").sum(1)
    assert head().class_terms(scores, TARGETS).item() == pytest.approx(
        (W * each[0] + each[1]).item(), rel=1e-6
    )


def test_each_term_has_its_switch():
    plain = losses(build().train(), batch())
    for terms in (("cls",), ("obj",), ("cls", "obj")):
        result = losses(build(**with_head(type="SizeAwareYOLOXHead", terms=terms)).train(), batch())
        assert {name for name in plain if result[name] != plain[name]} == {
            f"loss_{t}" for t in terms
        }
    neutral = dict(type="SizeAwareYOLOXHead", size_weight=dict(size_weight=1.0))
    same = losses(build(**with_head(**neutral)).train(), batch())
    assert all(same[name].item() == pytest.approx(plain[name].item(), rel=1e-6) for name in plain)


def test_normalised_weights_have_mean_one():
    logits = torch.zeros(4, 1)
    value = head(size_weight=dict(normalize=True)).objectness_terms(logits, TARGETS)
    assert value.item() == pytest.approx(4 * math.log(2), rel=1e-6)


@pytest.mark.parametrize("terms", [(), ("bbox",)])
def test_other_terms_are_refused(terms):
    with pytest.raises(InputError, match="expected cls or obj"):
        head(terms=terms)


def test_losses_that_weigh_classes_themselves_are_refused():
    with pytest.raises(InputError, match="EQLV2ClassLoss weighs classes itself"):
        head(loss_cls=dict(type="EQLV2ClassLoss"))
    assert head(loss_cls=dict(type="EQLV2ClassLoss"), terms=("obj",))
