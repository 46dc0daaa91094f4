"""Weights that follow the running loss of each size."""

from __future__ import annotations

import pytest
import torch

from etram_mmdet.models import FeedbackIoULoss
from etram_mmdet.utils.errors import InputError

SMALL, LARGE = torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([[0.0, 0, 40, 40]])
TARGET = torch.cat([SMALL, LARGE])
PRED = torch.cat([SMALL + torch.tensor([2.0, 0, 2, 0]), LARGE + torch.tensor([4.0, 0, 4, 0])])
LOSS = 1 - (1 / 3) ** 2, 1 - (36 / 44) ** 2  # .889 and .331


def feedback(**keys):
    return FeedbackIoULoss(edges_px=(8.0, 16.0), **keys)


def test_first_step_weighs_nothing():
    loss = feedback()
    assert loss(PRED, TARGET).item() == pytest.approx(5 * sum(LOSS), rel=1e-5)
    assert loss.bin_loss.tolist() == pytest.approx(
        [LOSS[0], float("nan"), LOSS[1]], nan_ok=True, rel=1e-5
    )


def test_second_step_by_hand():
    """Mean .610: small boxes weigh .889 / .610 = 1.457, large ones no less than 1.

    A bin that was never seen weighs 1.
    """
    loss = feedback()
    loss(PRED, TARGET)
    ratio = LOSS[0] / (sum(LOSS) / 2)
    assert loss.weights().tolist() == pytest.approx([ratio, 1, 1], rel=1e-5)
    assert loss(PRED, TARGET).item() == pytest.approx(5 * (ratio * LOSS[0] + LOSS[1]), rel=1e-5)


def test_running_means_forget_slowly_and_only_where_boxes_are():
    loss = feedback(momentum=0.9)
    loss(PRED, TARGET)
    loss(SMALL, SMALL)  # a perfect small box
    assert loss.bin_loss[0].item() == pytest.approx(0.9 * LOSS[0], rel=1e-4)
    assert loss.bin_loss[2].item() == pytest.approx(LOSS[1], rel=1e-5)
    assert loss.mean_loss.item() == pytest.approx(0.9 * sum(LOSS) / 2, rel=1e-4)


def test_limit_evaluation_and_state():
    loss = feedback(max_weight=1.2)
    loss(PRED, TARGET)
    assert loss.weights()[0].item() == pytest.approx(1.2)
    before = loss.bin_loss.clone()
    loss.eval()(SMALL, SMALL)
    assert torch.equal(loss.bin_loss.nan_to_num(), before.nan_to_num())
    resumed = feedback(max_weight=1.2)
    resumed.load_state_dict(loss.state_dict())
    assert torch.equal(resumed.weights(), loss.weights())


def test_gradient_is_weighted_too():
    loss, grads = feedback(), []
    for _ in range(2):
        pred = PRED.clone().requires_grad_()
        loss(pred, TARGET).backward()
        grads.append(pred.grad)
    assert grads[1][0, 0] / grads[0][0, 0] == pytest.approx(LOSS[0] / (sum(LOSS) / 2), rel=1e-4)
    assert torch.equal(grads[1][1], grads[0][1])


@pytest.mark.parametrize("keys", [dict(max_weight=0.5), dict(momentum=1.0)])
def test_bad_keys_get_a_sentence(keys):
    with pytest.raises(InputError, match="expected max_weight of at least 1, and momentum"):
        feedback(**keys)
