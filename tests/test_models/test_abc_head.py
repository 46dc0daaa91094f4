"""Auxiliary balanced classifier: who takes part, what it costs, what it says at test time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.structures import InstanceData

from etram_mmdet.models import fit_to_data
from etram_mmdet.models.dense_heads.abc_yolox_head import keep_probability
from etram_mmdet.models.task_modules.assignment import Targets
from etram_mmdet.utils.errors import InputError
from tests.helpers.plugins import data_with, with_head
from tests.test_models.test_detector import batch, build, losses, predictions


def abc(data=None, **keys):
    model = build(**with_head(type="ABCYOLOXHead", **keys))
    fit_to_data(model, data or data_with(*[0] * 100, *[1] * 25, 2))
    return model.train()


def test_keep_probability_by_hand():
    """eTraM's training boxes: with gamma 1 a tram is worth 1853 cars, with .5 still 43."""
    etram = np.array([145539, 198229, 9789, 6023, 1596, 13679, 107, 236])
    assert keep_probability(etram, 1.0)[[1, 6]] == pytest.approx([107 / 198229, 1])
    halved = [0.027, 0.023, 0.10, 0.13, 0.26, 0.09, 1.0, 0.67]
    assert keep_probability(etram, 0.5) == pytest.approx(halved, abs=0.006)
    assert keep_probability(etram, 0.5) @ etram / etram.sum() == pytest.approx(0.033, abs=0.001)
    assert keep_probability(etram, 0.0).tolist() == [1.0] * 8


def test_classes_without_boxes_neither_set_the_scale_nor_vanish():
    assert keep_probability(np.array([100, 0, 25]), 1.0).tolist() == [0.25, 1, 1]
    assert keep_probability(np.array([0, 0]), 1.0).tolist() == [1, 1]
    assert keep_probability(np.array([5]), 1.0).tolist() == [1]


def test_draws_have_the_probability_and_one_value_per_box():
    head = abc(gamma=1.0).bbox_head
    labels = torch.tensor([0] * 2000 + [1] * 2000 + [2] * 20)
    drawn = head.shares(labels)
    assert set(drawn.tolist()) == {0.0, 1.0}
    assert drawn[:2000].mean().item() == pytest.approx(0.01, abs=0.007)
    assert drawn[2000:4000].mean().item() == pytest.approx(0.04, abs=0.014)
    assert drawn[4000:].all()


def test_draws_follow_seed_and_step():
    labels = torch.zeros(400, dtype=torch.long)
    one, same, other = (abc(gamma=0.2, seed=seed).bbox_head for seed in (1, 1, 2))
    first, second = one.shares(labels), one.shares(labels)
    assert torch.equal(first, same.shares(labels)) and not torch.equal(first, second)
    assert not torch.equal(first, other.shares(labels))
    resumed = abc(gamma=0.2, seed=1)
    resumed.bbox_head.load_state_dict({**one.state_dict(), "steps": torch.tensor(1)})
    assert torch.equal(resumed.bbox_head.shares(labels), second)


def test_all_priors_of_a_box_share_its_draw():
    """400 boxes of three priors each; a prior costs log 2 for each of three classes, or 0."""
    head = abc(gamma=0.2).bbox_head
    index = torch.arange(400).repeat(3)
    labels = torch.zeros(400, dtype=torch.long)
    scores = torch.zeros(1, 1200, 3, requires_grad=True)
    targets = Targets(
        torch.arange(1200), torch.zeros(1200, 4), labels[index], torch.zeros(1200), index
    )
    loss = head.balanced_terms(scores, targets, [InstanceData(labels=labels)])
    loss.backward()
    counted = scores.grad[0].abs().sum(1).view(3, 400) > 0
    assert (counted == counted[0]).all() and 100 < counted[
        0
    ].sum() < 220  # .4 of them: (1 / 100)^.2
    assert loss.item() == pytest.approx(counted.sum().item() * 3 * np.log(2), rel=1e-5)


def test_the_sum_is_over_all_positives():
    """By hand from the head's own maps: BCE of each positive prior times the share of its box."""
    model = abc(balance="expected")
    data = model.data_preprocessor(batch(), True)
    seen = {}
    head = model.bbox_head
    terms = head.balanced_terms
    head.balanced_terms = lambda *args: seen.update(args=args, out=terms(*args)) or seen["out"]
    result = model(**data, mode="loss")
    scores, targets, truth = seen["args"]
    chances = torch.tensor([0.1, 0.2, 1.0])  # (1 / N)^.5 of 100, 25 and 1 boxes
    labels = torch.cat([boxes.labels for boxes in truth])
    by_hand = 0.0
    for row, (frame, prior) in enumerate(divmod(int(i), scores.shape[1]) for i in targets.index):
        label = labels[targets.box_index[row]]
        assert label == targets.labels[row]
        wanted = torch.zeros(3)
        wanted[label] = targets.ious[row]
        p = scores[frame, prior].sigmoid()
        by_hand += chances[label] * -(wanted * p.log() + (1 - wanted) * (1 - p).log()).sum()
    assert len(targets.labels) >= len(labels) > 3
    assert result["loss_abc"].item() == pytest.approx(
        by_hand.item() / result["num_pos"].item(), rel=1e-4
    )


def test_expectation_is_the_mean_of_the_draws():
    drawn = abc()
    expected = losses(abc(balance="expected"), batch())["loss_abc"].item()
    values = [losses(drawn, batch())["loss_abc"].item() for _ in range(300)]
    assert np.mean(values) == pytest.approx(expected, rel=0.15)
    assert np.std(values) > 0.2 * expected


def test_main_losses_stay_as_they_are():
    plain, balanced = losses(build().train(), batch()), losses(abc(), batch())
    # both are built from the same random numbers up to the classifier itself, which comes last
    assert set(balanced) - set(plain) == {"loss_abc"}


def test_gradient_reaches_the_shared_features_but_not_the_main_classifier():
    model = abc(balance="expected")
    losses(model, batch())["loss_abc"].backward()
    head = model.bbox_head
    assert all(p.grad.abs().sum() > 0 for p in head.multi_level_cls_convs[0].parameters())
    assert all(p.grad is None for p in head.multi_level_conv_cls.parameters())
    assert model.backbone.stages[0].downsample.conv.weight.grad.abs().sum() > 0


def test_scores_at_test_time():
    """Both classifiers made constant: the main one says class 0, the balanced one class 2."""
    tops = {}
    for which in ("main", "balanced", "mean"):
        model = abc(test_scores=which)
        for conv, bias in ((model.bbox_head.multi_level_conv_cls, [3.0, -3, -1]),
                           (model.bbox_head.multi_level_conv_abc, [-2.0, -3, 2])):  # fmt: skip
            for level in conv:
                level.weight.data.zero_()
                level.bias.data.copy_(torch.tensor(bias))
        for level in model.bbox_head.multi_level_conv_obj:
            level.weight.data.zero_()
            level.bias.data.fill_(50.0)  # objectness 1
        found = predictions(model, batch())[0].pred_instances
        tops[which] = found.labels[0].item(), found.scores.max().item()
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    assert tops["main"] == (0, pytest.approx(sigmoid(3), abs=1e-5))
    assert tops["balanced"] == (2, pytest.approx(sigmoid(2), abs=1e-5))
    assert tops["mean"] == (2, pytest.approx((sigmoid(2) + sigmoid(-1)) / 2, abs=1e-5))


def test_every_step_counts_also_one_without_boxes():
    """Otherwise processes would differ, and a resumed one would draw other numbers."""
    model = abc()
    for boxes in (2, 0, 2):
        losses(model, batch(boxes=boxes))
    assert int(model.bbox_head.steps) == 3


def test_seed_is_the_runs_where_none_is_given():
    torch.manual_seed(5)
    head = dict(type="ABCYOLOXHead", num_classes=3, in_channels=8, strides=[2])
    assert MODELS.build(head).seed == 5 and MODELS.build(head | dict(seed=2)).seed == 2


def test_class_losses_that_read_scores_differently_are_refused():
    with pytest.raises(InputError, match="SeesawClassLoss does not read class scores by sigmoid"):
        build(**with_head(type="ABCYOLOXHead", loss_cls=dict(type="SeesawClassLoss")))


def test_without_counts_it_says_so():
    with pytest.raises(InputError, match=r"numbers of boxes per class are not known.*fit_to_data"):
        losses(build(**with_head(type="ABCYOLOXHead")), batch())


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (dict(gamma=2.0), "gamma=2.0, expected 0"),
        (dict(balance="maybe"), "balance='maybe', expected one of draw, expected"),
        (dict(test_scores="aux"), "test_scores='aux', expected one of balanced, main, mean"),
    ],
)
def test_bad_keys_get_a_sentence(keys, says):
    with pytest.raises(InputError, match=says):
        build(**with_head(type="ABCYOLOXHead", **keys))
