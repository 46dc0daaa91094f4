"""tools/ablate.py as its user calls it: finishes, resumes, refuses, tells apart."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from mmdet.registry import MODELS

from etram_mmdet.analysis.runs.plan import load_plan
from etram_mmdet.utils.errors import InputError
from tests.helpers.cli import run
from tests.helpers.paths import ROOT

FIRST = "configs/ablations/seed_experiment.py"
PLAN = """
_base_ = "{root}/configs/ablations/seed_experiment_small.py"
samples = 12
seeds = (0, 1)
common = {{
    "data_root": "{data}/",
    "model.backbone.partition_size": [1, 3],
    "default_hooks.logger.interval": 1,
}}
runs = dict(
    _delete_=True,
    baseline=dict(config="configs/baseline_tiny.py"),
    sizeaware=dict(config="configs/sizeaware.py", note="small boxes count twice"),
    less=dict(config="configs/baseline_tiny.py", samples=6),
)
"""


@pytest.fixture(scope="module")
def plan(sample, tmp_path_factory):
    path = tmp_path_factory.mktemp("plan") / "ablation.py"
    path.write_text(PLAN.format(root=ROOT, data=sample))
    return path


@pytest.fixture(scope="module")
def done(plan):
    out = plan.parent / "out"
    return out, run("tools/ablate.py", plan, "--out", out, "--devices", "cpu", "cpu", timeout=900)


def test_as_run_is_as_the_first_experiment_ran():
    """Its learning rate did not follow the rule, and all of its rows were streams."""
    (variant,) = [v for v in load_plan(ROOT / FIRST).variants if v.name.endswith("as_run")]
    cfg = variant.config_for(0)
    schedule = cfg.param_scheduler[0]
    assert (variant.steps, variant.batch) == (100_000, 2)
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(2e-4)
    assert schedule.div_factor == 25 and schedule.div_factor * schedule.final_div_factor == 10_000
    assert cfg.train_dataloader.batch_sampler.mode == "stream"
    assert cfg.model.backbone.out_stages == (2, 3, 4)


def test_small_boxes_of_the_sample_are_told_apart_by_size():
    """32² px would be more than nearly all of them."""
    variants = {
        v.name: v for v in load_plan(ROOT / "configs/ablations/seed_experiment_small.py").variants
    }
    sized = [
        name for name, v in variants.items() if "model.bbox_head.loss_bbox.small_area" in v.options
    ]
    assert sized == [
        name for name in variants if "sizeaware" in name and not name.endswith(("as_run", "32px"))
    ]
    loss = MODELS.build(variants["patch2_sizeaware_batch6"].config_for(0).model.bbox_head.loss_bbox)
    areas_px2 = torch.tensor(
        [18.0, 87.0, 784.0]
    )  # 5, 50 and 95 % of the sample's boxes are smaller
    assert loss.weights(areas_px2).tolist() == pytest.approx([1.74, 1.02, 1.0], abs=0.01)


def rows(table: str) -> dict[str, list[str]]:
    lines = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("| ")]
    lines = [[cell.strip() for cell in line] for line in lines]
    return {cells[0]: cells for cells in lines[2:]}


def test_table_and_figure(done):
    out, output = done
    table = (out / "table.md").read_text()
    assert table in output and (out / "table.png").stat().st_size > 10_000
    assert list(rows(table)) == ["baseline", "sizeaware", "less"]
    assert rows(table)["sizeaware"][1:6] == ["6", "2", "12", "0.00693", "2"]
    assert "instead of 12" in rows(table)["less"][-1] and rows(table)["less"][-2] == "not compared"
    assert (
        "protocol coco: class-aware" in table.replace("Protocol", "protocol")
        and "score threshold 0.001" in table
    )
    assert "small boxes count twice" in table


def test_jobs_of_submitit_give_the_same_numbers(done, plan, tmp_path):
    """A run that cannot train is told with the last line of its log."""
    pytest.importorskip("submitit")
    words = ("--seeds", 0, "--runs", "less", "--out", tmp_path)
    (tmp_path / "baseline" / "seed_0" / "iter_2.pth").mkdir(parents=True)
    jobs = ("--submitit", 2, "--submitit-options", "cluster=local")
    output = run("tools/ablate.py", plan, *words, *jobs, ok=False)
    assert "less seed 0: AP " in output and "FAILED baseline seed 0: error: " in output
    ours, theirs = (
        list(csv.DictReader((folder / "less" / "seed_0" / "results.csv").open()))[-1]
        for folder in (tmp_path, done[0])
    )
    assert ours.pop("run") != theirs.pop("run") and ours == theirs


def test_numbers_are_those_of_the_last_step(done):
    out, _ = done
    for seed in (0, 1):
        folder = out / "sizeaware" / f"seed_{seed}"
        with (folder / "results.csv").open(newline="") as file:
            assert [row["step"] for row in csv.DictReader(file)] == ["2"]
        record = json.loads((folder / "run.json").read_text())
        assert (record["seed"], record["samples"], record["steps"]) == (seed, 12, 2)


def test_a_second_call_trains_nothing(done, plan):
    out, _ = done
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/*/iter_*.pth")}
    output = run("tools/ablate.py", plan, "--out", out)
    assert "6 runs, 6 already finished" in output and " in " not in output.split("\n\n")[0]
    assert (
        before == {path: path.stat().st_mtime_ns for path in out.glob("*/*/iter_*.pth")} and before
    )


def test_an_unfinished_run_goes_on(done, plan, tmp_path):
    """Its last checkpoint is of step 1 and it never was evaluated."""
    out = tmp_path / "out"
    shutil.copytree(done[0], out)
    folder = out / "baseline" / "seed_1"
    weights = (folder / "results.csv").read_text()
    (folder / "results.csv").unlink()
    (folder / "iter_2.pth").unlink()
    (folder / "last_checkpoint").write_text(str(folder / "iter_1.pth"))
    output = run("tools/ablate.py", plan, "--out", out)
    assert "6 runs, 5 already finished" in output
    assert "begins      after step 1, " in (folder / "train.log").read_text()
    assert (folder / "results.csv").read_text() == weights


def test_a_run_that_only_lacks_its_validation_gets_it(done, plan, tmp_path):
    """Killed between the last step's checkpoint and the end of its validation."""
    out = tmp_path / "out"
    shutil.copytree(done[0], out)
    folder = out / "baseline" / "seed_1"
    numbers = (folder / "results.csv").read_text()
    (folder / "results.csv").unlink()
    (folder / "last_checkpoint").write_text(str(folder / "iter_2.pth"))
    run("tools/ablate.py", plan, "--out", out)
    assert (folder / "results.csv").read_text() == numbers


def test_a_view_leaves_the_table_alone(done, plan):
    before = (done[0] / "table.md").read_text()
    run(
        "tools/ablate.py",
        plan,
        "--out",
        done[0],
        "--table-only",
        "--baseline",
        "sizeaware",
        "--seeds",
        "1",
    )
    assert (done[0] / "table.md").read_text() == before
    assert list(rows((done[0] / "view.md").read_text())) == ["sizeaware", "baseline", "less"]


def test_a_broken_result_is_told(done, plan, tmp_path):
    """An error in the launcher's own thread must not look like success."""
    out = tmp_path / "out"
    shutil.copytree(done[0], out)
    folder = out / "baseline" / "seed_1"
    shutil.rmtree(folder)
    folder.write_text("a file in the place of the run's folder")
    output = run("tools/ablate.py", plan, "--out", out, ok=False)
    assert "1 runs failed" in output and "baseline seed 1: " in output


def test_other_settings_in_the_same_folder_are_refused(done, plan, tmp_path):
    changed = tmp_path / "changed.py"
    changed.write_text(plan.read_text().replace('"default_hooks', '"base_lr": 0.5, "default_hooks'))
    output = run("tools/ablate.py", changed, "--out", done[0], ok=False)
    assert "a run with other settings was begun there (base_lr: 0.008, now 0.5" in output
    output = run("tools/ablate.py", changed, "--out", done[0], "--table-only", ok=False)
    assert "a run with other settings was begun there (base_lr" in output


def test_a_failing_run_is_told_and_the_others_go_on(plan, tmp_path):
    broken = tmp_path / "broken.py"
    text = plan.read_text().replace("seeds = (0, 1)", "seeds = (0,)")
    broken.write_text(
        text.replace(
            '"configs/sizeaware.py",', '"configs/sizeaware.py", options={"class_set": "etram3"},'
        )
    )
    output = run(
        "tools/ablate.py", broken, "--out", tmp_path / "out", "--runs", "sizeaware", ok=False
    )
    assert (
        "1 runs failed" in output and "sizeaware seed 0: error:" in output and "train.log" in output
    )
    assert [row[5] for row in rows((tmp_path / "out" / "view.md").read_text()).values()] == [
        "1",
        "0",
    ]


def test_a_kill_stops_what_it_started(plan, tmp_path):
    words = [sys.executable, "tools/ablate.py", str(plan), "--out", str(tmp_path)]
    process = subprocess.Popen(
        words, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL
    )
    log = tmp_path / "baseline" / "seed_0" / "train.log"
    while not (log.is_file() and "Iter(train)" in log.read_text()):
        time.sleep(0.2)
        assert process.poll() is None
    assert "works in this folder" in run("tools/ablate.py", plan, "--out", tmp_path, ok=False)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    time.sleep(0.5)
    left = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True).stdout
    assert not left.strip()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("samples = 12", "samples = 13", "13 samples, which is no multiple of its batch size 6"),
        ("samples = 12", "sampels = 12", "unknown keys \\['sampels'\\]"),
        (
            'config="configs/sizeaware.py"',
            'config="configs/size.py"',
            "configs/size.py: no such config",
        ),
        (
            'config="configs/sizeaware.py"',
            'konfig="configs/sizeaware.py"',
            "run 'sizeaware' has unknown keys",
        ),
    ],
)
def test_bad_plans_get_a_sentence(plan, tmp_path, old, new, says):
    bad = tmp_path / "bad.py"
    bad.write_text(plan.read_text().replace(old, new))
    with pytest.raises(InputError, match=says):
        load_plan(bad)


def test_less_of_a_plan(plan):
    less = load_plan(plan, samples=24, seeds=[7], runs=["less"])
    assert [(v.name, v.samples, v.steps) for v in less.variants] == [
        ("baseline", 24, 4),
        ("less", 12, 2),
    ]
    assert less.seeds == (7,) and [v.name for v in load_plan(plan).variants] == [
        "baseline",
        "sizeaware",
        "less",
    ]
    other = load_plan(plan, runs=["sizeaware"], baseline="less")
    assert [v.name for v in other.variants] == ["less", "sizeaware"]
    with pytest.raises(
        InputError, match="no runs \\['nothing'\\]; expected some of baseline, sizeaware, less"
    ):
        load_plan(plan, runs=["nothing"])


def test_missing_plan_and_wrong_baseline(plan, tmp_path):
    with pytest.raises(InputError, match="no such ablation"):
        load_plan(tmp_path / "nothing.py")
    (tmp_path / "bad.py").write_text(plan.read_text() + 'baseline = "nobody"\n')
    with pytest.raises(
        InputError, match="baseline='nobody' is not among its runs: baseline, sizeaware, less"
    ):
        load_plan(tmp_path / "bad.py")
