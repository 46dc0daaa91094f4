"""The command lines of tools/train.py, test.py, convert_rvt.py and the distributed launchers."""

from __future__ import annotations

import csv
import json
import math
import runpy
import shutil

import pytest
import torch

from etram_mmdet.engine.checkpoints.carried_config import stored_config
from etram_mmdet.engine.checkpoints.opening import load_checkpoint_file
from etram_mmdet.engine.checkpoints.rvt_weights import to_rvt
from etram_mmdet.engine.config.load import load_config
from etram_mmdet.evaluation.predictions import load_predictions
from etram_mmdet.evaluation.results_table import evaluations
from tests.helpers.cli import ALL_BOXES, CONFIG, SMALL, run, run_together, torchrun
from tests.helpers.paths import ROOT
from tests.helpers.same_boxes import Found, assert_same_boxes


def rows(folder):
    with open(folder / "results.csv", newline="") as file:
        return list(csv.DictReader(file))


def metrics(row):
    return {k: float(v) for k, v in row.items() if k.startswith("coco/") and v}


def says_learning_rate(output, batch):
    """RVT's rule over the config's own rate, which was set for batches of 8."""
    lr = load_config(ROOT / CONFIG).base_lr * math.sqrt(batch / 8)
    return f"optimizer.lr {lr:.3g} (base_lr " in output


def test_training_leaves_everything_in_the_work_folder(trained):
    folder, output = trained
    assert {p.name for p in folder.glob("*.pth")} >= {"iter_4.pth"}
    assert not list(folder.glob(".part*"))
    assert (folder / "last_checkpoint").read_text().strip() == str(folder / "iter_4.pth")
    assert (folder / "patch2_sizeaware_demo.py").is_file()
    assert [(r["split"], r["step"]) for r in rows(folder)] == [("val", "2"), ("val", "4")]
    assert "protocol coco: class-aware, no box filter" in output
    assert "no GPU: training in float32" in output
    assert says_learning_rate(output, batch=4)


def test_checkpoint_alone_gives_the_numbers_of_validation(trained, tmp_path):
    """The standard validation loads a checkpoint; in the first experiment it could not."""
    folder, _ = trained
    out = tmp_path / "predictions.json"
    output = run("tools/test.py", folder / "iter_4.pth", "--work-dir", tmp_path, "--out", out)
    assert "protocol coco" in output
    (row,) = rows(tmp_path)
    assert (row["split"], row["step"]) == ("val", "4")
    assert metrics(row) == metrics(rows(folder)[-1]) and metrics(row)["coco/AP"] > 0
    saved = json.loads(out.read_text())
    assert saved["checkpoint"] == str(folder / "iter_4.pth")
    assert len(saved["frames"]) == int(row["coco/frames"])
    assert set(saved["frames"][0]) >= {
        "recording",
        "t_us",
        "bboxes",
        "scores",
        "labels",
        "gt_bboxes",
        "gt_labels",
    }


def test_matching_config_is_accepted(trained, sample, tmp_path):
    folder, _ = trained
    options = ["--cfg-options", f"data_root={sample}/", SMALL[-1], ALL_BOXES]
    run("tools/test.py", CONFIG, folder / "iter_4.pth", "--work-dir", tmp_path, *options)
    assert metrics(rows(tmp_path)[0]) == metrics(rows(folder)[-1])


def evaluated(checkpoint, folder, **loader):
    """Predicted frames by recording and time, with other settings of the loader.

    results.csv is in ``folder``.
    """
    options = [f"test_dataloader.{key}={value}" for key, value in loader.items()]
    out = folder / "predictions.json"
    options = ["--cfg-options", *options] if options else []
    run("tools/test.py", checkpoint, "--work-dir", folder, "--out", out, *options)
    return {frame.key: frame for frame in load_predictions(out).frames}


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_do_not_change_a_digit(trained, tmp_path, workers):
    folder, _ = trained
    evaluated(folder / "iter_4.pth", tmp_path, num_workers=workers, persistent_workers=workers > 0)
    assert metrics(rows(tmp_path)[0]) == metrics(rows(folder)[-1])


@pytest.fixture(scope="module")
def as_it_is(trained, tmp_path_factory):
    """Work folder of a test with the config's own batch size, and its frames."""
    folder = tmp_path_factory.mktemp("as_it_is")
    return folder, evaluated(trained[0] / "iter_4.pth", folder)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_batch_size_changes_nothing_but_rounding(trained, as_it_is, tmp_path, batch_size):
    """Two recordings: one after the other, side by side with an empty lane, with six empty ones."""
    folder, expected = as_it_is
    found = evaluated(trained[0] / "iter_4.pth", tmp_path, batch_size=batch_size)
    assert found.keys() == expected.keys() and len(found) > 30
    for key, frame in found.items():
        ours, theirs = (
            Found(f.bboxes_xyxy, f.scores, f.labels) for f in (frame.found, expected[key].found)
        )
        assert_same_boxes(ours, theirs)
    one, other = rows(folder)[0], rows(tmp_path)[0]
    for count in ("coco/frames", "coco/boxes"):
        assert one[count] == other[count]


def test_each_validation_is_of_its_own_step(trained, tmp_path):
    """The checkpoint of step 2 gives the numbers logged for step 2, not those of step 4."""
    folder, _ = trained
    run("tools/test.py", folder / "iter_2.pth", "--work-dir", tmp_path)
    (row,) = rows(tmp_path)
    assert row["step"] == "2" and metrics(row) == metrics(rows(folder)[0])
    assert metrics(row)["coco/AP"] != metrics(rows(folder)[1])["coco/AP"]


def test_rows_tell_the_run_and_the_data(trained, sample, tmp_path):
    """A test belongs to the run that trained its weights.

    A second training in the same folder is another run.
    """
    folder, _ = trained
    run_of = json.loads((folder / "run.json").read_text())
    assert {row["run"] for row in rows(folder)} == {run_of["run"]} and len(run_of["run"]) == 12
    assert {row["data"] for row in rows(folder)} == {run_of["val_data"]["sha256"]}
    run(
        "tools/test.py",
        folder / "iter_4.pth",
        "--work-dir",
        tmp_path,
        "--cfg-options",
        "test_dataloader.dataset.split=test",
    )
    (row,) = rows(tmp_path)
    assert row["run"] == run_of["run"] and row["data"] != run_of["val_data"]["sha256"]
    options = ["--cfg-options", f"data_root={sample}/", *SMALL, "train_cfg.max_iters=2"]
    for _ in range(2):
        run("tools/train.py", CONFIG, "--work-dir", tmp_path / "again", *options)
    assert len({row["run"] for row in rows(tmp_path / "again")}) == 2
    record = json.loads((tmp_path / "again" / "run.json").read_text())
    (last,) = evaluations(tmp_path / "again" / "results.csv", "val", record)
    assert last["run"] == record["run"]


def test_resumed_runs_log_only_what_they_measure(trained, sample, tmp_path):
    """Two protocols, then one: nothing of the other may be repeated for a later step."""
    options = [
        "--cfg-options",
        f"data_root={sample}/",
        *SMALL,
        "default_hooks.checkpoint.interval=2",
    ]
    both, one = ("val_evaluator.protocols=(coco,prophesee_gen1)", "val_evaluator.protocols=(coco,)")
    run("tools/train.py", CONFIG, "--work-dir", tmp_path, *options, both)
    output = run(
        "tools/train.py",
        CONFIG,
        "--work-dir",
        tmp_path,
        "--resume",
        tmp_path / "iter_2.pth",
        *options,
        one,
    )
    line = [line for line in output.splitlines() if "Iter(val)" in line][-1]
    assert "coco/AP" in line and "prophesee" not in line
    assert len({row["run"] for row in rows(tmp_path)}) == 1  # a resumed run is the same run
    assert [row["step"] for row in rows(tmp_path)] == [
        "2",
        "4",
    ]  # the later one of step 4 takes the place of the earlier


PLUGIN = """
from mmdet.registry import METRICS
from etram_mmdet.evaluation.event_coco_metric import EventCocoMetric

@METRICS.register_module()
class NearlyConstant(EventCocoMetric):
    calls = 0
    def compute_metrics(self, results):
        NearlyConstant.calls += 1
        return super().compute_metrics(results) | {"coco/AP": 0.5 + STEP * NearlyConstant.calls}
"""


@pytest.mark.parametrize("step, best", [(1e-9, 4), (-1e-9, 2)])
def test_best_is_chosen_by_unrounded_numbers(sample, tmp_path, monkeypatch, step, best):
    (tmp_path / "nearly_constant.py").write_text(PLUGIN.replace("STEP", str(step)))
    (tmp_path / "config.py").write_text(
        f"_base_ = {str(ROOT / CONFIG)!r}\n"
        "custom_imports = dict(imports=['etram_mmdet', 'nearly_constant'])\n"
        "val_evaluator = dict(type='NearlyConstant')\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    options = ["--cfg-options", f"data_root={sample}/", *SMALL]
    run("tools/train.py", tmp_path / "config.py", "--work-dir", tmp_path / "run", *options)
    assert [p.name for p in (tmp_path / "run").glob("best_*")] == [f"best_coco_AP_iter_{best}.pth"]
    assert [float(row["coco/AP"]) for row in rows(tmp_path / "run")] == [0.5 + step, 0.5 + 2 * step]


def test_config_of_another_model_is_refused_by_name(trained):
    folder, _ = trained
    output = run("tools/test.py", "configs/baseline.py", folder / "iter_4.pth", ok=False)
    assert "backbone.patch_size: config 4, checkpoint 2" in output
    assert "backbone.out_stages: config [2, 3, 4], checkpoint [1, 2, 3]" in output
    assert f"tools/test.py {folder / 'iter_4.pth'}" in output


def test_resume_goes_on_where_it_stopped(trained, sample, tmp_path):
    """Resumed in the middle of a run and of its recordings, it ends with the same weights.

    They are equal to the last bit.
    """
    folder, _ = trained
    options = ["--cfg-options", f"data_root={sample}/", *SMALL, ALL_BOXES]
    output = run(
        "tools/train.py",
        CONFIG,
        "--work-dir",
        tmp_path,
        "--resume",
        folder / "iter_2.pth",
        *options,
    )
    assert "begins      after step 2, " in output
    assert "Iter(train) [3/4]" in output and "Iter(train) [2/4]" not in output
    straight, resumed = (load_checkpoint_file(f / "iter_4.pth") for f in (folder, tmp_path))
    assert resumed["meta"]["iter"] == 4
    for ours, theirs in zip(resumed["param_schedulers"], straight["param_schedulers"], strict=True):
        assert (
            ours["_last_value"] == theirs["_last_value"]
            and ours["last_step"] == theirs["last_step"]
        )
    steps = [
        {float(s["step"]) for s in c["optimizer"]["state"].values()} for c in (resumed, straight)
    ]
    assert steps[0] == steps[1] == {4.0}
    ((ours,), (theirs,)) = (c["own_states"] for c in (resumed, straight))
    assert (
        ours["lanes"].keys() == theirs["lanes"].keys() == {0, 1}
    )  # the other two rows hold clips on their own
    assert (
        torch.equal(ours["lanes"][1][0][0], theirs["lanes"][1][0][0])
        and theirs["lanes"][1][0][0].any()
    )
    assert all(
        torch.equal(weight, straight["state_dict"][name])
        for name, weight in resumed["state_dict"].items()
    )
    assert "own_states" not in load_checkpoint_file(next(folder.glob("best_*.pth")))
    assert "cfg" not in resumed["message_hub"]["runtime_info"]


def test_resume_of_the_latest_checkpoint(trained, sample, tmp_path):
    """This works even if the last file is gone, as after a kill while it was replaced."""
    folder, _ = trained
    shutil.copy(folder / "iter_2.pth", tmp_path)
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "iter_4.pth"))
    options = ["--cfg-options", f"data_root={sample}/", *SMALL, ALL_BOXES]
    output = run("tools/train.py", CONFIG, "--work-dir", tmp_path, "--resume", *options)
    assert "begins      after step 2, " in output
    assert [row["step"] for row in rows(tmp_path)] == ["2", "4"]  # that at step 2 had no row here


def test_resume_refuses_another_schedule_and_bare_weights(trained, sample, tmp_path):
    folder, _ = trained
    options = ["--cfg-options", f"data_root={sample}/", *SMALL]
    resume = ["tools/train.py", CONFIG, "--work-dir", tmp_path, "--resume"]
    output = run(*resume, folder / "iter_2.pth", *options, "train_cfg.max_iters=9", ok=False)
    assert (
        "train_cfg.max_iters: 4, now 9 (the schedule of the learning rate ends with the training"
        in output
    )
    assert not list(tmp_path.glob("*.py"))  # the config of the run that is there already stays
    best = next(folder.glob("best_*.pth"))
    assert "holds weights only" in run(*resume, best, *options, ok=False)


def stored_data_root(folder):
    return stored_config(load_checkpoint_file(folder / "iter_4.pth"), "x")["data_root"]


def test_same_seed_same_weights(trained, sample, tmp_path):
    folder, _ = trained
    run(
        "tools/train.py",
        CONFIG,
        "--work-dir",
        tmp_path,
        "--cfg-options",
        f"data_root={sample}/",
        *SMALL,
    )
    ours, again = (load_checkpoint_file(f / "iter_4.pth")["state_dict"] for f in (folder, tmp_path))
    assert all(torch.equal(ours[k], again[k]) for k in ours)


def test_resume_without_checkpoint_is_an_error(sample, tmp_path):
    options = ["--cfg-options", f"data_root={sample}/", *SMALL, ALL_BOXES]
    output = run("tools/train.py", CONFIG, "--work-dir", tmp_path, "--resume", *options, ok=False)
    assert "holds no checkpoint to resume from" in output


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("tools/train.py", "configs/nothing.py"), "configs/nothing.py: no such config"),
        (
            ("tools/train.py", CONFIG, "--cfg-options", "data_root=/nothing/"),
            "tools/make_sample.py",
        ),
        (("tools/test.py", "nothing.pth"), "nothing.pth: no such checkpoint"),
        (("tools/test.py", CONFIG, "nothing.pth"), "nothing.pth: no such checkpoint"),
    ],
)
def test_bad_input_gets_a_sentence(command, says, tmp_path):
    words = [*command, "--work-dir", tmp_path]
    assert says in run(*words, ok=False)


def test_wrong_number_of_classes_gets_a_sentence(sample, tmp_path):
    options = ["--cfg-options", f"data_root={sample}/", *SMALL, "model.bbox_head.num_classes=3"]
    output = run("tools/train.py", CONFIG, "--work-dir", tmp_path, *options, ok=False)
    assert "num_classes=3" in output and "8 classes (pedestrian, car" in output


def test_two_processes_train_and_test(trained, sample, tmp_path):
    """The shell scripts call exactly this; evaluation agrees with one process to the last digit."""
    folder, _ = trained
    options = ["--cfg-options", f"data_root={sample}/", *SMALL]
    output = torchrun(
        2, "tools/train.py", CONFIG, "--launcher", "pytorch", "--auto-scale-lr",
        "--work-dir", tmp_path / "a", *options, "model.micro_batch=2",
    )  # fmt: skip
    assert says_learning_rate(output, batch=8)
    assert rows(tmp_path / "a")[-1]["step"] == "4"
    run_together(
        2,
        "tools/test.py",
        folder / "iter_4.pth",
        "--launcher",
        "pytorch",
        "--work-dir",
        tmp_path / "b",
    )
    assert metrics(rows(tmp_path / "b")[0]) == metrics(rows(folder)[-1])


@pytest.mark.parametrize(
    ("words", "data", "size_px"),
    [
        ((), dict(class_set="gen1"), (304, 240)),
        ((), dict(class_set="etram8"), (1280, 720)),
        ((), dict(class_set="etram8", sensor_px=(346, 260)), (346, 260)),
        (("--sensor", "640", "480"), dict(class_set="1mpx"), (640, 480)),
        ((), dict(class_set=dict(classes=("car",))), None),
    ],
)
def test_a_converted_checkpoint_knows_its_sensor_where_the_config_says_it(
    words, data, size_px, monkeypatch
):
    tool = runpy.run_path(str(ROOT / "tools/convert_rvt.py"))
    monkeypatch.setattr("sys.argv", ["convert_rvt.py", "a", "b", "--config", "c.py", *words])
    assert tool["sensor_of"](tool["parse_args"](), data) == size_px


def test_converted_rvt_checkpoint_can_be_tested(trained, tmp_path):
    folder, _ = trained
    weights = load_checkpoint_file(folder / "iter_4.pth")["state_dict"]
    lightning = {f"mdl.{k}": v for k, v in to_rvt(weights).items()}
    torch.save(dict(state_dict=lightning, hyper_parameters=object), tmp_path / "rvt.ckpt")
    root = stored_data_root(folder)
    options = ["--config", CONFIG, "--cfg-options", f"data_root={root}", SMALL[-1], ALL_BOXES]
    size = ("--sensor", 96, 64)
    run("tools/convert_rvt.py", tmp_path / "rvt.ckpt", tmp_path / "ours.pth", *size, *options)
    meta = load_checkpoint_file(tmp_path / "ours.pth")["meta"]
    assert (meta["step_us"], meta["sensor_px"]) == (50_000, [96, 64])
    run("tools/test.py", tmp_path / "ours.pth")
    assert metrics(rows(tmp_path)[0]) == metrics(rows(folder)[-1])
    output = run(
        "tools/convert_rvt.py",
        tmp_path / "rvt.ckpt",
        tmp_path / "x.pth",
        "--config",
        "configs/baseline.py",
        ok=False,
    )
    assert "does not fit the config's model" in output and not (tmp_path / "x.pth").exists()
