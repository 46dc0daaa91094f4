"""Tests comparisons of invented runs: compared numbers, listed differences, and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from etram_mmdet.analysis.runs.agreement import (
    FACTS,
    REFUSED,
    TRAINING_DATA,
    WARNED,
    check_comparable,
    obstacles,
    unequal_conditions,
    what_differs,
)
from etram_mmdet.analysis.runs.comparison_report import _COLOURS, draw_comparison, format_comparison
from etram_mmdet.analysis.runs.evaluations import Selection
from etram_mmdet.analysis.runs.run import read_runs
from etram_mmdet.evaluation.results_table import append_row
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.text import shown

DATA = dict(split="train", recordings=2, labelled_frames=1234, boxes=20, sha256="0" * 16)
TEST_CFG = dict(score_thr=0.001, nms=dict(type="nms", iou_threshold=0.45))
RECORD = dict(
    steps=100,
    batch=6,
    samples=600,
    clip_length=5,
    base_lr=2e-4,
    lr=1e-4,
    schedule=dict(type="OptimWrapper", param_scheduler=[dict(pct_start=0.05)]),
    seed=0,
    train_data=DATA,
    val_data=DATA | dict(split="val"),
    protocol="coco: class-aware, no box filter; prophesee: first 0.5 s left out",
    test_cfg=TEST_CFG,
    machine=dict(device="cpu", threads="1", torch="2.13.0"),
    commit="abc",
)
CONFIG = """
model = dict(
    backbone=dict(patch_size=4, partition_size=(4, 6), type='MaxViTRNN'),
    test_cfg=dict(score_thr=0.001, nms=dict(type='nms', iou_threshold=0.45)))
optim_wrapper = dict(optimizer=dict(lr=0.0001), paramwise_cfg=dict({'a.b': 2}))
train_cfg = dict(max_iters=100)
train_dataloader = dict(
    dataset=dict(pipeline=[dict(type='ClipFlip'), dict(type='ClipZoom', scale=2)]))
val_dataloader = dict(dataset=dict(class_set='etram3', data_root='data/a/'))
randomness = dict(seed=0)
load_from = None
resume = False
work_dir = 'work_dirs/a'
"""
COUNTS = {"coco/frames": 50, "coco/boxes": 90}
# AP rises and falls again; micro-mobility has no boxes.
ROWS = [
    {"split": "val", "step": step, "coco/AP": ap, "coco/AP50": 2 * ap, "coco/AP_pedestrian": ap / 2}
    | COUNTS
    for step, ap in ((20, 0.1), (60, 0.301), (100, 0.2))
]


def write_run(
    folder: Path, rows: list[dict] = ROWS, config: str = CONFIG, **changes: object
) -> Path:
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(RECORD | changes))
    (folder / "baseline.py").write_text(config)
    for row in rows:
        append_row(folder / "results.csv", row)
    return folder


def read(*folders: Path, **selected):
    return read_runs(folders, Selection(**selected))


@pytest.fixture
def first(tmp_path):
    return write_run(tmp_path / "first")


def cells(table: str, begin: str) -> list[list[str]]:
    """Cells of all table lines that begin with this cell."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.splitlines()
        if line[:1] == "|"
    ]
    return [row for row in rows if row[0] == begin]


@pytest.mark.parametrize(
    ("selected", "step", "ap", "says"),
    [
        ({}, 100, 0.2, "Each run's last val evaluation;"),
        (
            dict(best=True),
            60,
            0.301,
            "Each run's val evaluation of highest AP (--best), which favours every run;",
        ),
        (dict(step=20), 20, 0.1, "Each run's val evaluation at step 20;"),
        (dict(split="test"), 40, 0.7, "Each run's last test evaluation;"),
    ],
)
def test_which_evaluation_is_compared(tmp_path, selected, step, ap, says):
    rows = [*ROWS, dict(ROWS[0], split="test", step=40) | {"coco/AP": 0.7}]
    runs = read(write_run(tmp_path / "a", rows), write_run(tmp_path / "b", rows), **selected)
    assert [(run.step, run.metrics["AP"], run.samples) for run in runs] == [
        (step, ap, 6 * step)
    ] * 2
    table = format_comparison(runs, Selection(**selected))
    assert table.startswith(says)
    assert cells(table, "a")[0][:3] == ["a", str(step), f"{100 * ap:.1f}"]


def test_the_order_of_rows_and_other_protocols_do_not_matter(tmp_path):
    """The last row of a step counts, and rows of other protocols do not.

    Step 100 is evaluated again after resuming, then step 10, then step 100 by another protocol.
    """
    rows = [
        *ROWS,
        ROWS[2] | {"coco/AP": 0.25},
        dict(ROWS[0], step=10),
        dict(ROWS[2], **{"coco/AP": ""}),
    ]
    (run,) = read(
        write_run(tmp_path / "a", [*rows, {"split": "val", "step": 100, "prophesee/AP": 0.9}])
    )
    found = [(step, metrics["AP"]) for step, metrics in run.evaluations.items()]
    assert found == [(10, 0.1), (20, 0.1), (60, 0.301), (100, 0.25)]


def test_table(first, tmp_path):
    """Missing numbers are shown in three ways.

    A column that no run has is left out. A value that one run lacks is a dash. A class without a
    key has no boxes. AP_S is the name that version 0.1 wrote.
    """
    rows = [*ROWS[:2], ROWS[2] | {"coco/AP_S": 0.05, "coco/AP_low": 0.9}]
    runs = read(
        first,
        write_run(tmp_path / "second|2", rows, seed=7, batch=12, samples=1200, lr=1e-4 * 2**0.5),
    )
    table = format_comparison(runs, Selection())
    overall, per_class = cells(table, "run")
    assert overall == [
        "run",
        "step",
        "AP",
        "AP50",
        "AP, boxes < 32² network px",
        "seed",
        "samples seen",
    ]
    assert per_class == ["run", "pedestrian", "vehicle", "micro-mobility"]
    assert cells(table, "first") == [
        ["first", "100", "20.0", "40.0", "-", "0", "600"],
        ["first", "10.0", "no boxes", "no boxes"],
    ]
    assert (
        "| second\\|2 | 100  | 20.0 | 40.0 | 5.0                        | 7    | 1,200        |"
        in table
    )
    assert (
        "Not at equal samples: the runs differ in samples seen, seed, which alone may make the "
        "difference in AP." in table
    )
    assert (
        "A single run each cannot show whether a difference is significant." in table
        and "tools/ablate.py" in table
    )


@pytest.mark.filterwarnings("error:Attempting to set identical")
def test_no_classes_under_a_class_agnostic_protocol(tmp_path):
    rows = [{"split": "val", "step": 100, "etram_paper/AP": 0.2}]
    runs = read(write_run(tmp_path / "a", rows, protocol="etram_paper: any class"))
    assert "per class" not in format_comparison(runs, Selection())
    draw_comparison(runs, Selection(), tmp_path / "a.png")
    assert (tmp_path / "a.png").is_file()


def test_runs_of_an_ablation_are_told_apart(tmp_path):
    folders = [write_run(tmp_path / name / "seed_0") for name in ("baseline", "sizeaware")]
    assert [run.name for run in read(*folders)] == ["baseline/seed_0", "sizeaware/seed_0"]


def test_what_differs_is_listed_exactly(first, tmp_path):
    config = (
        CONFIG.replace("patch_size=4", "patch_size=2")
        .replace("scale=2", "scale=3")
        .replace("(4, 6)", "[4, 6]")
    )
    config = (
        config.replace("work_dirs/a", "elsewhere")
        .replace("data/a/", "data/b/")
        .replace("'a.b': 2", "'a.b': 3")
    )
    config = config.replace(
        "load_from = None\nresume = False", "load_from = 'own.pth'\nresume = True"
    )
    machine = dict(device="cpu", threads="2", torch="2.14.0")
    runs = read(first, write_run(tmp_path / "second", config=config, machine=machine, commit="def"))
    found = {
        "model.backbone.patch_size": [4, 2],
        "optim_wrapper.paramwise_cfg.a.b": [2, 3],
        "train_dataloader.dataset.pipeline.1.scale": [2, 3],
        "commit": ["abc", "def"],
        "machine.torch": ["2.13.0", "2.14.0"],
    }
    assert what_differs(runs) == found and unequal_conditions(runs) == []
    table = format_comparison(runs, Selection())
    assert cells(table, "setting") == [["setting", "first", "second"]]
    assert cells(table, "model.backbone.patch_size") == [["model.backbone.patch_size", "4", "2"]]
    assert "Not at equal" not in table


def test_lists_of_other_classes_are_one_setting(first, tmp_path):
    config = CONFIG.replace("dict(type='ClipFlip'), ", "")
    (setting,) = what_differs(read(first, write_run(tmp_path / "second", config=config))).items()
    assert setting[0] == "train_dataloader.dataset.pipeline"
    assert list(map(shown, setting[1])) == ["[ClipFlip, ClipZoom(scale=2)]", "[ClipZoom(scale=2)]"]


def test_nothing_but_the_seed(first, tmp_path):
    seed = write_run(tmp_path / "seed", config=CONFIG.replace("seed=0", "seed=1"), seed=1)
    assert "### What differs\n\nNothing but the seed.\n" in format_comparison(
        read(first, seed), Selection()
    )
    same = write_run(tmp_path / "same")
    assert "Nothing, not even the seed." in format_comparison(read(first, same), Selection())


@pytest.mark.parametrize(
    ("changes", "unequal"),
    [
        (dict(batch=12, samples=1200), ["samples seen", "learning rate / sqrt(batch)"]),
        (dict(clip_length=9), ["clip length"]),
        (dict(lr=2e-4), ["learning rate / sqrt(batch)"]),
        (dict(schedule={}), ["schedule"]),
        (
            dict(schedule=dict(accumulative_counts=4), lr=2e-4),
            ["schedule"],
        ),  # the rate of a batch four times as large
        (dict(samples=1200), ["part of the schedule"]),
        (
            dict(config=CONFIG.replace("load_from = None", "load_from = 'other.pth'")),
            ["starting weights"],
        ),
        (dict(seed=3), ["seed"]),
    ],
)
def test_unequal_conditions_are_told_and_compared(first, tmp_path, changes, unequal):
    runs = read(first, write_run(tmp_path / "second", **changes))
    assert unequal_conditions(runs) == unequal
    check_comparable(runs)
    what = "samples" if "batch" in changes else "conditions"
    assert (
        f"Not at equal {what}: the runs differ in {', '.join(unequal)}, which"
        in format_comparison(runs, Selection())
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            dict(protocol="coco: other; prophesee: first 0.5 s left out"),
            "protocol: {first} has coco: class-aware, no box filter, {second} has coco: other",
        ),
        (
            dict(test_cfg=TEST_CFG | dict(score_thr=0.1)),
            "test_cfg.score_thr: {first} has 0.001, {second} has 0.1",
        ),
        (
            dict(val_data=DATA | dict(split="val", sha256="f" * 16)),
            "evaluated data: {first} has val of 2 recordings, 1,234 labelled frames, 20 boxes "
            "(0000000000000000), "
            "{second} has val of 2 recordings, 1,234 labelled frames, 20 boxes (ffffffffffffffff)",
        ),
        (
            dict(rows=[ROWS[2] | {"coco/boxes": 91}]),
            "evaluated frames: {first} has 50 frames, 90 boxes, {second} has 50 frames, 91 boxes",
        ),
        (
            dict(train_data=DATA | dict(boxes=21)),
            "training data: {first} has train of 2 recordings, 1,234 labelled frames, 20 boxes "
            "(0000000000000000), "
            "{second} has train of 2 recordings, 1,234 labelled frames, 21 boxes "
            "(0000000000000000)",
        ),
    ],
)
def test_what_may_not_be_compared_is_refused(first, tmp_path, changes, says):
    second = write_run(tmp_path / "second", **changes)
    with pytest.raises(InputError) as error:
        check_comparable(read(first, second))
    lines = str(error.value).splitlines()
    assert lines[1] == "  " + says.format(first=first, second=second) and len(lines) == 3
    assert ("--allow-other-training-data" in lines[2]) == ("train_data" in changes)


def test_other_training_data_is_allowed_on_demand_and_told(first, tmp_path):
    runs = read(first, write_run(tmp_path / "second", train_data=DATA | dict(boxes=21)))
    check_comparable(runs, allow_other_training_data=True)
    assert unequal_conditions(runs) == ["training data"] and list(what_differs(runs)) == [
        "training data"
    ]
    other = read(
        first, write_run(tmp_path / "third", train_data=DATA | dict(boxes=21), test_cfg={})
    )
    with pytest.raises(
        InputError, match=r"differ in\n  test_cfg.nms: .*\n  test_cfg.score_thr: .*\nleave"
    ):
        check_comparable(other, allow_other_training_data=True)


def test_equal_headlines_beside_other_protocols_may_be_compared(first, tmp_path):
    check_comparable(
        read(first, write_run(tmp_path / "second", protocol="coco: class-aware, no box filter"))
    )


# A change that makes a run differ in one fact only.
CHANGES = {
    "protocol": dict(protocol="coco: other"),
    "test_cfg": dict(test_cfg={}),
    "evaluated data": dict(val_data=DATA | dict(split="val", boxes=3)),
    "evaluated frames": dict(rows=[ROWS[2] | {"coco/boxes": 91}]),
    "training data": dict(train_data=DATA | dict(boxes=21)),
    "samples seen": dict(batch=12, samples=1200, lr=1e-4 * 2**0.5),
    "clip length": dict(clip_length=9),
    "learning rate / sqrt(batch)": dict(lr=2e-4),
    "schedule": dict(schedule={}),
    "part of the schedule": dict(samples=1200),
    "starting weights": dict(config=CONFIG.replace("load_from = None", "load_from = 'other.pth'")),
    "seed": dict(seed=3),
    "device": dict(machine=RECORD["machine"] | dict(device="gpu")),
    "commit": dict(commit="def"),
}


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.name)
def test_both_tools_go_by_one_list(first, tmp_path, fact):
    """Both tools treat runs that differ in one fact as the list says."""
    runs = read(first, write_run(tmp_path / "second", **CHANGES[fact.name]))
    found = obstacles(runs[1].facts, runs[0].facts)
    assert bool(found) == (fact.ablation == REFUSED) and all(
        line.startswith(fact.name) for line in found
    )
    warned = fact.comparison == WARNED or fact.name == TRAINING_DATA
    assert unequal_conditions(runs) == ([fact.name] if warned else [])
    if fact.comparison == REFUSED:
        with pytest.raises(InputError, match=f"they differ in\n  {fact.name}"):
            check_comparable(runs)
    else:
        check_comparable(runs)


def test_a_resumed_run_has_the_commits_of_all_starts_that_led_to_it():
    """A start whose steps were all trained again is not counted."""
    earlier = [
        RECORD | dict(from_step=step, commit=commit)
        for step, commit in ((0, "one"), (40, "lost"), (20, "two"))
    ]
    resumed = RECORD | dict(from_step=30, commit="abc", earlier_starts=earlier)
    assert obstacles(resumed, RECORD) == ["commit [one, two, abc] instead of abc"]
    assert obstacles(RECORD | dict(from_step=20, earlier_starts=[RECORD]), RECORD) == []


def broken(folder: Path, name: str, text: str | None) -> None:
    (folder / name).unlink()
    if text is not None:
        (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("run.json", None, "{}: holds no run.json, so it is not the folder of a run"),
        ("results.csv", None, "{}: holds no results.csv, so it is not the folder of a run"),
        ("run.json", '{"steps": 1', "{}/run.json: not valid JSON"),
        ("run.json", "[]", "{}/run.json: lacks steps, batch"),
        (
            "run.json",
            json.dumps(RECORD | dict(val_data=None)),
            "{}/run.json: lacks val_data, so nobody knows",
        ),
        (
            "results.csv",
            "",
            "{}/results.csv: no val evaluation under the run's headline protocol yet; add one: "
            "tools/",
        ),
        (
            "results.csv",
            "split,step,coco/AP\nval,5",
            "{}/results.csv: damaged, not a table that training wrote",
        ),
        (
            "results.csv",
            "split,step,coco/AP\nval,x,0.1\n",
            "{}/results.csv: damaged, not a table that training wrote",
        ),
        (
            "results.csv",
            "step,coco/AP\n5,0.1\n",
            "{}/results.csv: damaged, not a table that training wrote",
        ),
        (
            "results.csv",
            "split,step,coco/AP\nval,5,0.1,7\n",
            "{}/results.csv: damaged, not a table that training wrote",
        ),
        ("baseline.py", None, "{}: holds no .py with the config that belongs to its run.json"),
        (
            "baseline.py",
            "import torch\nmodel = torch.nn.Linear\n",
            "{}: holds no .py with the config that belongs",
        ),
    ],
)
def test_damaged_runs_get_a_sentence(first, name, text, says):
    broken(first, name, text)
    with pytest.raises(InputError) as error:
        read(first)
    assert str(error.value).startswith(says.format(first))


def test_missing_and_repeated_folders_get_a_sentence(first, tmp_path):
    with pytest.raises(
        InputError, match=r"nowhere: no such folder; name work folders of tools/train.py"
    ):
        read(first, tmp_path / "nowhere")
    again = tmp_path / "x" / ".." / "first"
    with pytest.raises(InputError, match=r"x/\.\./first: named twice"):
        read(first, again)


def test_a_step_that_a_run_lacks_is_refused_with_those_it_has(first, tmp_path):
    second = write_run(tmp_path / "second", ROWS[1:])
    with pytest.raises(
        InputError, match=r"second: no val evaluation at step 20, expected one of 60, 100; leave"
    ):
        read(first, second, step=20)


def test_the_config_of_the_run_is_found_among_others(first):
    (first / "plugin.py").write_text("import torch\n")
    (first / "baseline_copy.py").write_text(CONFIG)
    (first / "a_longer_training.py").write_text(CONFIG.replace("max_iters=100", "max_iters=200"))
    (run,) = read(first)
    assert run.config["train_cfg"] == dict(max_iters=100)
    assert run.config["model"]["backbone"]["partition_size"] == [4, 6]
    (first / "other_loss.py").write_text(CONFIG.replace("patch_size=4", "patch_size=2"))
    with pytest.raises(
        InputError, match=r"baseline.py, baseline_copy.py, other_loss.py differ and each may be"
    ):
        read(first)


def test_a_config_is_not_executed(first, tmp_path):
    (first / "baseline.py").write_text(
        f"{CONFIG}\nlog_level = open({str(tmp_path / 'written')!r}, 'w')\n"
    )
    with pytest.raises(InputError, match=r"holds no \.py with the config"):
        read(first)
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize("number", [2, 6])
def test_figure_shows_every_run_in_both_panels(tmp_path, number):
    rows = [[row | {"coco/AP": row["coco/AP"] + i / 20} for row in ROWS] for i in range(number)]
    runs = read(*(write_run(tmp_path / f"{i}_{'long_name' * 6}", rows[i]) for i in range(number)))
    draw_comparison(runs, Selection(), tmp_path / "compare.png")
    picture = imread(tmp_path / "compare.png")[..., :3]
    height, width = picture.shape[:2]
    assert width == 1200 and 500 < height < 1000
    for panel in np.split(picture[30 + 24 * number :], 2, axis=1):  # below the legend
        for colour in _COLOURS[:number]:
            assert (np.abs(panel - to_rgb(colour)).max(-1) < 0.02).sum() > 30, colour


def test_classes_are_found_inside_wrappers(tmp_path):
    """Two cities in one validation."""
    wrapped = CONFIG.replace(
        "dict(class_set='etram3', data_root='data/a/')",
        "dict(type='ConcatDataset', datasets=[dict(class_set='etram3', data_root='data/a/')])",
    )
    plain, inside = read_runs(
        [write_run(tmp_path / "a"), write_run(tmp_path / "b", config=wrapped)], Selection()
    )
    assert plain.classes == inside.classes == ("pedestrian", "vehicle", "micro-mobility")
