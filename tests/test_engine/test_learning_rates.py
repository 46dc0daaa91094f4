"""Learning rates that the run summary tells are those that a training has."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.optim import CosineAnnealingLR, LinearLR, OneCycleLR

from etram_mmdet.engine.runner.learning_rates import learning_rates

STEPS = 40


def one_cycle(optimizer):
    return [OneCycleLR(optimizer, eta_max=0.1, total_steps=STEPS, pct_start=0.25, by_epoch=False)]


def warm_up_and_cosine(optimizer):
    warm_up = LinearLR(optimizer, start_factor=0.1, by_epoch=False, end=5)
    return [warm_up, CosineAnnealingLR(optimizer, T_max=STEPS - 5, begin=5, by_epoch=False)]


def cosine_to_a_share(optimizer):
    return [CosineAnnealingLR(optimizer, T_max=STEPS, eta_min_ratio=0.2, by_epoch=False)]


@pytest.mark.parametrize(
    "schedule", [one_cycle, warm_up_and_cosine, cosine_to_a_share, lambda optimizer: []]
)
@pytest.mark.parametrize("done", [0, 7])
def test_they_are_those_of_a_training(schedule, done):
    """Three groups of parameters, two of them alike, at the start and resumed after some steps."""
    rates = [0.1, 0.01, 0.1]
    optimizer = torch.optim.SGD(
        [dict(params=[torch.nn.Parameter(torch.zeros(1))], lr=lr) for lr in rates], lr=0.1
    )
    schedulers = schedule(optimizer)

    def step():
        rates = [group["lr"] for group in optimizer.param_groups]
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
        return rates

    for _ in range(done):
        step()
    foretold = learning_rates(optimizer, schedulers, STEPS - done)
    np.testing.assert_allclose(foretold, [step() for _ in range(STEPS - done)], rtol=1e-12)
