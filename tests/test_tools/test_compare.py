"""tools/compare.py as its user calls it."""

from __future__ import annotations

import pytest

from tests.helpers.cli import run
from tests.test_analysis.test_runs.test_agreement import CONFIG, ROWS, write_run

TOOL = "tools/compare.py"


@pytest.fixture
def runs(tmp_path):
    config = CONFIG.replace("patch_size=4", "patch_size=2")
    return write_run(tmp_path / "baseline"), write_run(tmp_path / "patch2", ROWS[:2], config)


def test_table_and_figure(runs, tmp_path):
    out = tmp_path / "out"
    printed = run(TOOL, *runs, "--out", out)
    table = (out / "compare.md").read_text()
    assert table in printed and f"{out}/compare.md, {out}/compare.png" in printed
    assert sorted(path.name for path in out.iterdir()) == ["compare.md", "compare.png"]
    assert (
        "| patch2   | 60   | 30.1 |" in table
        and "| model.backbone.patch_size | 4        | 2      |" in table
    )
    assert "| baseline | 60   | 30.1 |" in run(TOOL, *runs, "--out", out, "--best")


def test_refusals_write_nothing(runs, tmp_path):
    other = write_run(tmp_path / "other", test_cfg=dict(score_thr=0.1))
    out = tmp_path / "out"
    assert "error: these runs may not be compared" in run(
        TOOL, *runs, other, "--out", out, ok=False
    )
    said = run(TOOL, *runs, "--step", 100, "--out", out, ok=False)
    assert f"error: {runs[1]}: no val evaluation at step 100" in said
    assert "expected two or more runs" in run(TOOL, runs[0], "--out", out, ok=False)
    assert not out.exists()


def test_other_training_data_on_demand(runs, tmp_path):
    data = dict(split="train", recordings=1, labelled_frames=2, boxes=3, sha256="1" * 16)
    other = write_run(tmp_path / "other", train_data=data)
    assert "--allow-other-training-data compares" in run(
        TOOL, runs[0], other, "--out", tmp_path, ok=False
    )
    said = run(TOOL, runs[0], other, "--out", tmp_path / "out", "--allow-other-training-data")
    assert "Not at equal conditions: the runs differ in training data" in said
