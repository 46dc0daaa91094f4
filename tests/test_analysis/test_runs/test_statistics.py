"""Tests which variants an ablation compares, and how sure it is of a difference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from etram_mmdet.analysis.runs.ablation_report import format_ablation, mean_and_spread
from etram_mmdet.analysis.runs.agreement import obstacles
from etram_mmdet.analysis.runs.plan import Variant
from etram_mmdet.analysis.runs.statistics import compare, holm

DATA = dict(split="train", recordings=2, labelled_frames=10, boxes=20, sha256="0" * 16)
RECORD = dict(
    samples=600,
    steps=100,
    batch=6,
    clip_length=5,
    base_lr=2e-4,
    lr=2e-4 * 0.866,
    schedule=dict(
        type="OptimWrapper", optimizer=dict(type="AdamW"), param_scheduler=[dict(pct_start=0.05)]
    ),
    protocol="coco",
    test_cfg=dict(score_thr=0.001, nms=dict(type="nms", iou_threshold=0.45)),
    train_data=DATA,
    val_data=DATA | dict(split="val"),
    machine=dict(device="cpu"),
    commit="abc",
)


def results(name: str, *aps: float, **changes) -> tuple[Variant, list[dict]]:
    metrics = [{"coco/AP": ap, "coco/AP50": 2 * ap, "coco/AP_S_network_px": ap} for ap in aps]
    variant = Variant(name, Path(f"configs/{name}.py"), 600, 6)
    return variant, [RECORD | changes | dict(metrics=m) for m in metrics]


def test_difference_is_welchs():
    ours, theirs = (0.30, 0.32, 0.31), (0.25, 0.27, 0.20)
    rows = compare([results("baseline", *theirs), results("better", *ours)])
    test = stats.ttest_ind(ours, theirs, equal_var=False)
    found = rows[1].difference
    assert found.mean == pytest.approx(0.07) and found.p == pytest.approx(test.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(test.confidence_interval(0.95)))
    assert not found.is_significant and rows[0].difference is None


def test_clear_effects_are_significant_and_none_is_not():
    base = results("baseline", 0.100, 0.101, 0.102)
    rows = compare([base, results("up", 0.200, 0.201, 0.202), results("same", 0.100, 0.101, 0.102)])
    assert rows[1].difference.is_significant and not rows[2].difference.is_significant
    assert rows[2].difference.p == 1


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0] and holm([]) == []
    assert holm([np.nan, 0.01, 0.02]) == pytest.approx([np.nan, 0.03, 0.04], nan_ok=True)


def test_seeds_without_spread_have_no_p_value():
    """If all seeds give the same AP up to rounding, a difference is not significant.

    Its p-value is then unknown, not 0.
    """
    base = results("baseline", 0.3, 0.1 + 0.2)
    rows = compare([base, results("flat", 0.31, 0.31), results("varies", 0.2, 0.4)])
    flat, varies = (row.difference for row in rows[1:])
    assert flat.mean == pytest.approx(0.01) and np.isnan([flat.low, flat.high, flat.p]).all()
    assert not flat.is_significant and 0 < varies.p <= 1
    line = next(line for line in format_ablation(rows).splitlines() if line.startswith("| flat"))
    assert [cell.strip() for cell in line.split("|")[-3:-1]] == [
        "+1.0",
        "unknown: AP is the same for all seeds",
    ]


def test_many_comparisons_need_more():
    """With five comparisons a p-value of .02 becomes .1."""
    rng = np.random.default_rng(0)
    base = results("baseline", *rng.normal(0.2, 0.01, 4))
    one, five = (
        compare([base] + [results(f"v{i}", 0.215, 0.222, 0.23, 0.21) for i in range(n)])
        for n in (1, 5)
    )
    assert five[1].difference.p == pytest.approx(min(1, 5 * one[1].difference.p))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (dict(samples=200), "samples seen 200 instead of 600"),
        (dict(lr=3.5e-5), "learning rate / sqrt(batch) 1.429e-05 instead of 7.071e-05"),
        (
            dict(schedule=RECORD["schedule"] | dict(type="AmpOptimWrapper")),
            "schedule.type AmpOptimWrapper instead of OptimWrapper",
        ),
        (
            dict(schedule=RECORD["schedule"] | dict(param_scheduler=[])),
            "schedule.param_scheduler [] instead of [dict(pct_start=0.05)]",
        ),
        (dict(commit="def"), "commit def instead of abc"),
        (dict(machine=dict(device="gpu")), "device gpu instead of cpu"),
        (dict(protocol="prophesee"), "protocol prophesee instead of coco"),
        (dict(clip_length=10), "clip length 10 instead of 5"),
        (
            dict(test_cfg=dict(RECORD["test_cfg"], score_thr=0.1)),
            "test_cfg.score_thr 0.1 instead of 0.001",
        ),
        (
            dict(test_cfg=dict(score_thr=0.001, nms=dict(type="soft_nms", iou_threshold=0.45))),
            "test_cfg.nms.type soft_nms instead of nms",
        ),
        (
            dict(train_data=DATA | dict(sha256="1" * 16)),
            "training data train of 2 recordings, 10 labelled frames, 20 boxes (1111111111111111) "
            "instead",
        ),
        (
            dict(val_data=DATA | dict(split="val", boxes=3)),
            "evaluated data val of 2 recordings, 10 labelled frames, 3 boxes",
        ),
    ],
)
def test_what_differs_is_named_and_not_compared(changes, says):
    rows = compare([results("baseline", 0.1, 0.2), results("other", 0.3, 0.4, **changes)])
    assert len(rows[1].obstacles) == 1 and rows[1].obstacles[0].startswith(says)
    assert rows[1].difference is None
    line = next(line for line in format_ablation(rows).splitlines() if line.startswith("| other"))
    assert "not compared" in line and says in line


def test_other_batch_and_steps_at_equal_samples_may_be_compared():
    rule = RECORD["lr"] * (2 / 6) ** 0.5
    assert obstacles(RECORD | dict(batch=2, steps=300, lr=rule), RECORD) == []
    assert len(obstacles(RECORD | dict(batch=2, steps=300), RECORD)) == 1


def test_a_baseline_whose_seeds_differ_is_compared_with_nothing():
    variant, records = results("baseline", 0.1, 0.2)
    rows = compare(
        [(variant, [records[0], records[1] | dict(commit="def")]), results("other", 0.3, 0.4)]
    )
    assert rows[0].obstacles and rows[1].difference is None


def test_one_seed_has_no_spread_and_no_verdict():
    rows = compare([results("baseline", 0.1), results("other", 0.3)])
    assert rows[1].difference is None and mean_and_spread(rows[1].values["AP"]) == "30.0"


def test_table_shows_mean_and_standard_deviation_in_percent():
    assert mean_and_spread(np.array([0.1, 0.2, 0.3])) == "20.0 ± 10.0"
    assert mean_and_spread(np.array([])) == "-"
    table = format_ablation(compare([results("baseline", 0.1, 0.2), results("other")]))
    cells = [cell.strip() for cell in table.splitlines()[-3].strip("|").split("|")]
    assert cells == ["other", "6", "100", "600", "-", "0", "-", "-", "-", "-", "", ""]


def test_a_table_of_nothing():
    assert format_ablation(compare([results("baseline"), results("other")])).startswith(
        "No run has finished yet."
    )
