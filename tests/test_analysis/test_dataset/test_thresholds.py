"""Tests size thresholds by hand, on labels that RVT wrote, and in the loss that uses them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from etram_mmdet.analysis.dataset import RULES
from etram_mmdet.analysis.dataset.read import take_census
from etram_mmdet.analysis.dataset.thresholds import all_thresholds, derive, thresholds_as_config
from etram_mmdet.engine.config.load import load_config
from etram_mmdet.models.losses.size_aware_iou_loss import SizeWeight, size_weight
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.sizes import exponential_weight
from tests.helpers.made_up import boxes, census, recording
from tests.helpers.paths import ROOT
from tests.reference.answers import DATA


def by_rule(thresholds):
    return {t.rule: t for t in thresholds}


def test_by_hand():
    """Small areas 0, 100 ... 1000, medium 2000, 2400 ... 3600, two large of 9000: 18 boxes."""
    areas = np.array([*range(0, 1001, 100), *range(2000, 3601, 400), 9000, 9000], float)
    groups = np.array(["small"] * 11 + ["medium"] * 5 + ["large"] * 2)
    found = by_rule(derive(areas, groups))
    assert list(found) == ["fixed", *RULES]
    # The 90th percentile of 11 is the tenth of the ten steps, the 75th of 5 the third of the four.
    assert (found["classes"].small_area, found["classes"].medium_area) == (900, 3200)
    assert found["classes"].size_weight == 2  # 1.5 * 5 / 11 = 0.68, limited
    # 18 boxes have 17 steps between them. The percentiles are 4.25, 5.1 and 11.9 steps from the
    # first box. The twelfth area is 2000, the one before it 1000.
    assert found["p25"].small_area == pytest.approx(425)
    assert found["p30"].small_area == pytest.approx(510)
    assert found["p25"].medium_area == found["p30"].medium_area == pytest.approx(2360)
    # Weight 2 exp(-a / s) is above 1 for areas below s ln 2. Of the 18 areas 7 are below 623.8, 3
    # below 294.6 and 4 below 353.5.
    shares = [found[rule].weighted_share for rule in RULES]
    assert shares == pytest.approx([7 / 18, 3 / 18, 4 / 18])
    assert found["fixed"].weighted_share == pytest.approx(8 / 18)  # 1024 ln 2 = 709.8
    assert not any(t.notes for t in found.values())


@pytest.mark.parametrize(("medium", "weight"), [(10, 2.0), (30, 4.5), (24, 3.6), (400, 5.0)])
def test_weight_is_limited(medium, weight):
    groups = np.array(["small"] * 10 + ["medium"] * medium)
    found = by_rule(derive(np.arange(10.0 + medium), groups))
    assert found["classes"].size_weight == found["p25"].size_weight == pytest.approx(weight)


def test_share_is_the_losss():
    areas = np.linspace(1, 3000, 997)
    for weight, small in ((2.0, 1024.0), (3.3, 400.0)):
        loss = size_weight(torch.from_numpy(areas), weight=weight, small_area=small).numpy()
        np.testing.assert_allclose(exponential_weight(areas, weight, small), loss)
        assert np.mean(loss > 1) == np.mean(areas < small * math.log(weight))


def test_labels_that_the_reference_wrote():
    found = by_rule(all_thresholds(take_census(DATA / "preprocessed_etram")))
    # 22 pedestrians, bicycles, motorbikes and wheelchairs: 18.9 steps, between areas 13580.15625
    # and 16189.875.
    assert found["classes"].small_area == pytest.approx(
        13580.15625 + 0.9 * (16189.875 - 13580.15625)
    )
    # 14 cars: 9.75 steps, between 3387.234375 and 8802.9375.
    assert found["classes"].medium_area == pytest.approx(
        3387.234375 + 0.75 * (8802.9375 - 3387.234375)
    )
    # 46 boxes: 11.25, 13.5 and 31.5 steps.
    assert found["p25"].small_area == pytest.approx(835.40625 + 0.25 * (862.75 - 835.40625))
    assert found["p30"].small_area == pytest.approx((872.578125 + 987.65625) / 2)
    assert found["p30"].medium_area == pytest.approx((5819.9375 + 8203.828125) / 2)
    assert found["classes"].size_weight == 2  # 1.5 * 14 / 22 = 0.95
    assert (
        "small_area is not below medium_area" in found["classes"].notes[0]
    )  # these boxes were drawn at random


def test_groups_go_by_name():
    """``cls8_sample`` calls id 0 a car and id 4 a pedestrian, and writes both with a capital."""
    made = census(
        recording("train", of=boxes((0, 30, 30), (4, 10, 10), (4, 10, 20))), class_set="cls8_sample"
    )
    found = by_rule(all_thresholds(made))["classes"]
    assert (found.small_area, found.medium_area) == (190, 900)
    made = census(recording("train", of=boxes((2, 5, 10), (1, 30, 30))), class_set="etram3")
    found = by_rule(all_thresholds(made))["classes"]
    assert (found.small_area, found.medium_area) == (50, 900)


@pytest.mark.parametrize(
    ("label", "areas", "group"),
    # Areas 100 to 500, four steps: percentile 30 at 1.2, 70 at 2.8, 75 at 3, 90 at 3.6 of them.
    [(1, (220, 400), "small"), (0, (460, 380), "medium")],
)
def test_empty_group_falls_back_and_says_so(label, areas, group):
    made = census(recording("train", of=boxes(*((label, 10, 10 * k) for k in range(1, 6)))))
    found = by_rule(all_thresholds(made))["classes"]
    assert (found.small_area, found.medium_area) == pytest.approx(areas) and found.size_weight == 2
    assert f"no box of a {group} class, so {group}_area is percentile" in found.notes[0]
    assert f"no box of a {group} class, so size_weight" in found.notes[1]


def test_only_training_boxes_count():
    train, val = boxes((0, 10, 10), (1, 20, 20)), boxes((0, 90, 90), (1, 90, 90))
    found = by_rule(all_thresholds(census(recording("train", of=train), recording("val", of=val))))[
        "classes"
    ]
    assert (found.small_area, found.medium_area) == (100, 400)
    with pytest.raises(InputError, match="no training boxes"):
        all_thresholds(census(recording("val", of=val)))


@pytest.mark.parametrize("rule", RULES)
def test_fragment_reaches_the_loss(tmp_path, rule):
    rows = [(0, 10, 10 + k) for k in range(11)] + [(1, 40, 40 + k) for k in range(41)]
    made = census(recording("train", of=boxes(*rows)))
    chosen = by_rule(all_thresholds(made))[rule]
    (tmp_path / "mine.py").write_text(thresholds_as_config(made, chosen))
    config = (ROOT / "configs" / "patch2_sizeaware_datadriven.py").read_text()
    config = config.replace('"./patch2.py"', repr(str(ROOT / "configs" / "patch2.py")))
    (tmp_path / "child.py").write_text(
        config.replace("./_base_/models/size_thresholds_sample.py", "./mine.py")
    )
    loss = MODELS.build(load_config(tmp_path / "child.py").model.bbox_head.loss_bbox)
    assert loss.weights == SizeWeight(
        size_weight=5.0,  # 1.5 * 41 / 11 = 5.6, limited
        small_area=round(chosen.small_area, 1),
        medium_area=round(chosen.medium_area, 1),
        mode="exponential",
    )
    assert "52 training boxes" in (tmp_path / "mine.py").read_text()


def test_config_of_the_sample():
    plain, tuned = (
        load_config(ROOT / "configs" / f"patch2_sizeaware{s}.py") for s in ("", "_datadriven")
    )
    thresholds = Config.fromfile(
        ROOT / "configs" / "_base_" / "models" / "size_thresholds_sample.py"
    ).size_thresholds
    assert tuned.model.bbox_head.loss_bbox == dict(type="SizeAwareIoULoss", **thresholds)
    assert plain.model.bbox_head.pop("loss_bbox") and tuned.model.bbox_head.pop("loss_bbox")
    assert plain.model == tuned.model and plain.train_dataloader == tuned.train_dataloader
