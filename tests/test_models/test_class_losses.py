"""Class losses on positive priors, by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from mmdet.models.losses import SeesawLoss

from etram_mmdet.models import EQLV2ClassLoss, SeesawClassLoss, SmoothedClassLoss
from etram_mmdet.utils.errors import InputError
from tests.helpers.plugins import build_plugin, with_head
from tests.test_models.test_detector import batch, build, losses, predictions

SCORES = torch.tensor([[2.0, -1, 0], [0.5, 0.5, -2]])
LABELS = torch.tensor([0, 2])


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_smoothed_by_hand():
    """Target .8 becomes .8 * .7 + .1 = .66, the others .1; without smoothing it is YOLOX's loss."""
    target = torch.tensor([[0.8, 0, 0]])
    expected = F.binary_cross_entropy_with_logits(
        SCORES[:1], torch.tensor([[0.66, 0.1, 0.1]]), reduction="sum"
    )
    assert SmoothedClassLoss(0.3)(SCORES[:1], target).item() == pytest.approx(expected.item())
    without = dict(loss_cls=dict(type="SmoothedClassLoss", smoothing=0.0))
    plain, unsmoothed = (
        losses(build(**with_head(**keys)).train(), batch())["loss_cls"] for keys in ({}, without)
    )
    assert unsmoothed.item() == pytest.approx(plain.item(), rel=1e-6)


def test_smoothing_of_everything_is_refused():
    with pytest.raises(InputError, match="smoothing=1"):
        SmoothedClassLoss(1.0)


def test_eqlv2_starts_as_plain_binary_cross_entropy():
    loss = EQLV2ClassLoss(num_classes=3)
    target = F.one_hot(LABELS, 3).float()
    expected = F.binary_cross_entropy_with_logits(SCORES, target, reduction="sum")
    assert loss(SCORES, LABELS).item() == pytest.approx(expected.item(), rel=1e-5)


def test_eqlv2_second_step_by_hand():
    """Class 1 was never positive, so its ratio is 0.

    Its negatives weigh 1 / (1 + e^9.6), its positives almost 5.
    """
    loss = EQLV2ClassLoss(num_classes=3)
    loss(SCORES, LABELS)
    p = SCORES.sigmoid()
    positive = torch.stack([1 - p[0, 0], torch.tensor(0.0), 1 - p[1, 2]])
    negative = torch.stack([p[1, 0], p[0, 1] + p[1, 1], p[0, 2]])
    torch.testing.assert_close(loss.pos_neg, positive / negative, rtol=1e-4, atol=1e-6)
    negative_weight = 1 / (1 + torch.exp(-12 * (positive / negative - 0.8)))
    positive_weight = 1 + 4 * (1 - negative_weight)
    target = F.one_hot(LABELS, 3).float()
    each = F.binary_cross_entropy_with_logits(SCORES, target, reduction="none")
    expected = (each * (positive_weight * target + negative_weight * (1 - target))).sum()
    assert loss(SCORES, LABELS).item() == pytest.approx(expected.item(), rel=1e-4)
    assert negative_weight[1] == pytest.approx(1 / (1 + math.exp(9.6)))


def test_seesaw_by_hand():
    """After four boxes of class 0, it punishes the other classes less, by (1/4)^.8."""
    loss = SeesawClassLoss(num_classes=3)
    loss(torch.zeros(3, 3), torch.tensor([0, 0, 0]))
    value = loss(torch.tensor([[1.0, 0, 0.0]]), torch.tensor([0])).item()
    counts = torch.tensor([4.0, 0, 0]).clamp(min=1)  # this step counts too
    mitigation = (counts / counts[0]).clamp(max=1) ** 0.8
    p = torch.tensor([1.0, 0, 0]).softmax(0)
    compensation = (p / p[0]).clamp(min=1) ** 2  # no class beats the right one
    logits = torch.tensor([1.0, 0, 0]) + (mitigation * compensation).log() * torch.tensor(
        [0.0, 1, 1]
    )
    assert value == pytest.approx(-logits.log_softmax(0)[0].item(), rel=1e-4)


def test_seesaw_is_a_sum_over_priors():
    values = []
    for n in (1, 3):
        loss = SeesawClassLoss(num_classes=3)
        loss(
            torch.zeros(30_000, 3), torch.arange(30_000) % 3
        )  # so many that this step's boxes change no count
        values.append(loss(SCORES[:1].expand(n, 3), LABELS[:1].expand(n)).item())
    assert values[1] == pytest.approx(3 * values[0], rel=1e-3)


def test_seesaw_is_mmdets_to_the_last_bit():
    """With its gradients and the number of boxes of each class, over two steps."""
    generator = torch.Generator().manual_seed(0)
    ours = SeesawClassLoss(num_classes=3)
    theirs = SeesawLoss(num_classes=3, reduction="sum")
    for labels in (torch.tensor([0, 0, 0, 2, 1, 0]), torch.tensor([2, 2, 0])):
        scores = torch.randn(len(labels), 3, generator=generator)
        found = []
        for loss in (ours, theirs):
            given = scores.clone().requires_grad_()
            total = loss(given, labels) if loss is ours else of_classes(loss, given, labels)
            total.backward()
            found.append((total.detach(), given.grad, loss.cum_samples[:3]))
        assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def of_classes(loss: SeesawLoss, scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return loss(torch.nn.functional.pad(scores, (0, 2)), labels)["loss_cls_classes"]


def test_seesaw_scores_are_a_softmax():
    """A classifier with logits (2, 0, 0) everywhere: e^2 / (e^2 + 2); a sigmoid would give .88."""
    model = build_plugin("SeesawClassLoss")
    for level in model.bbox_head.multi_level_conv_cls:
        level.weight.data.zero_()
        level.bias.data.copy_(torch.tensor([2.0, 0, 0]))
    for level in model.bbox_head.multi_level_conv_obj:
        level.weight.data.zero_()
        level.bias.data.fill_(50.0)
    found = predictions(model, batch())[0].pred_instances
    assert found.scores.max().item() == pytest.approx(math.e**2 / (math.e**2 + 2), abs=1e-5)
    assert set(found.labels.tolist()) == {0} and sigmoid(2) > 0.87


def test_number_of_classes_is_the_heads():
    for name in ("EQLV2ClassLoss", "SeesawClassLoss"):
        assert build(**with_head(loss_cls=dict(type=name))).bbox_head.loss_cls.num_classes == 3


def test_losses_on_labels_keep_no_graph():
    """Otherwise the model could not be copied (EMA, --fuse) after a step."""
    import copy

    model = build_plugin("EQLV2ClassLoss")
    losses(model, batch())
    copy.deepcopy(model.bbox_head.loss_cls)
