"""Tests which numbers the GPU check takes as the same."""

from __future__ import annotations

import math

import pytest
import torch
from mmengine.structures import InstanceData

from etram_mmdet.analysis.speed.gpu_check import same_numbers
from etram_mmdet.analysis.speed.gpu_check.same_numbers import CPU, share_of_same_boxes
from etram_mmdet.analysis.speed.gpu_check.size import SMALL


def boxes(count=50, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return InstanceData(
        bboxes=640 * torch.rand(count, 4, generator=generator),
        scores=torch.rand(count, generator=generator),
        labels=torch.randint(8, (count,), generator=generator),
    )


def moved(what, by):
    """Returns `boxes` with one number of the first box changed."""
    result = boxes()
    result[what].view(len(result), -1)[0, 0] += by
    return result


def test_same_boxes_in_any_order():
    order = torch.randperm(50, generator=torch.Generator().manual_seed(1))
    assert share_of_same_boxes(boxes()[order], boxes()) == 1
    assert share_of_same_boxes(moved("bboxes", 0.005), boxes()) == 1
    assert (
        share_of_same_boxes(boxes(0), boxes(0)) == 1 and share_of_same_boxes(boxes(0), boxes()) == 0
    )


@pytest.mark.parametrize(("what", "by"), [("bboxes", 0.02), ("scores", 2e-4), ("labels", 1)])
def test_a_box_elsewhere_counts_on_both_sides(what, by):
    assert share_of_same_boxes(moved(what, by), boxes()) == pytest.approx(49 / 50)
    assert share_of_same_boxes(boxes()[:40], boxes()) == pytest.approx(80 / 90)


def rows_of(part, monkeypatch, change):
    """Returns the rows of a part if ``change`` is done to the device's copy of the weights."""
    original = same_numbers._twins

    def twins(*args):
        on_cpu, model = original(*args)
        change(model)
        return on_cpu, model

    monkeypatch.setattr(same_numbers, "_twins", twins)
    monkeypatch.setattr(same_numbers, "AGREEING", ("baseline_tiny",))
    monkeypatch.setattr(same_numbers, "TRAINED", ("baseline_tiny",))
    return list(part(CPU, SMALL, None))


@torch.no_grad()
def scaled_lstm(model):
    model.backbone.stages[0].lstm.gates.weight.mul_(1.2)


def test_other_weights_do_not_agree(monkeypatch):
    *maps, boxes = rows_of(same_numbers.agreement, monkeypatch, scaled_lstm)
    assert (
        not any(row["holds"] for row in maps if row["precision"] != "bfloat16") and len(maps) == 3
    )
    assert boxes["holds"]  # from given maps


def test_not_a_number_is_no_agreement():
    maps = [torch.ones(2), torch.ones(2)]
    assert same_numbers._differences(maps, maps, 0.0)["holds"]
    assert not same_numbers._differences([maps[0], torch.full((2,), math.nan)], maps, 1e9)["holds"]


def test_other_weights_do_not_train_alike(monkeypatch):
    *step, mixed = rows_of(same_numbers.training, monkeypatch, scaled_lstm)
    assert not all(row["holds"] for row in step) and mixed["holds"]
    assert {"loss", "loss_obj", "gradient_norm"} <= {row["what"] for row in step}


def test_a_loss_that_does_not_fall_does_not_hold(monkeypatch):
    monkeypatch.setattr(same_numbers, "LEAST_FALL", 0.01)
    row = same_numbers._mixed_training(CPU, SMALL)
    assert not row["holds"] and row["is_finite"] and row["last_loss"] < row["first_loss"]
