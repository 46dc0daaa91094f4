"""The summary of a run before it starts, and the errors that --dry-run finds."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.config import Config

from etram_mmdet.datasets.etram_dataset import ETraMDataset
from etram_mmdet.engine.config.differences import differences_to_parent
from etram_mmdet.engine.config.load import load_config
from etram_mmdet.engine.summary.data import data_lines, other_steps, unlearnt_classes
from tests.helpers.cli import ALL_BOXES, CONFIG, SMALL, run
from tests.helpers.paths import ROOT


@pytest.fixture(scope="module")
def dry(sample):
    options = [
        "--cfg-options",
        f"data_root={sample}/",
        *SMALL,
        "model.micro_batch=2",
        "base_lr=0.01",
    ]
    return run("tools/train.py", CONFIG, "--dry-run", "--work-dir", "nowhere", *options)


def section(output: str, name: str) -> str:
    """The lines of a section of the summary, joined."""
    lines = output.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(f"{name}  "))
    rest = [line for line in lines[first + 1 :]]
    more = next(i for i, line in enumerate(rest) if not line.startswith("   "))
    return "\n".join([lines[first], *rest[:more]])


def test_summary_counts_the_data(dry, sample):
    train = ETraMDataset(sample, "train", [])
    counts = train.box_statistics().counts
    text = section(dry, "train data")
    assert f"3 recordings, {len(train)} labelled frames, {counts.sum()} boxes" in text
    assert f"car {counts[1]}" in text and "WARNING" not in text


def test_classes_without_boxes_are_named(sample, monkeypatch):
    train, val = (ETraMDataset(sample, split, []) for split in ("train", "val"))
    for sequence in train.sequences:
        without_cars = sequence.box_counts * (np.arange(8) != 1)
        monkeypatch.setattr(sequence, "box_counts", without_cars)
    assert data_lines(train)[-1] == "WARNING no boxes of car" and "car" not in data_lines(train)[1]
    assert unlearnt_classes(train, val) == [
        "WARNING car: boxes here, but none in the training data"
    ]
    assert unlearnt_classes(val, val) == []


def test_summary_tells_shapes_schedule_and_rule(dry):
    assert (
        "20 x 32 x 48 (StackedHistogram, 50 ms, 2 sensor px per px), clips of 5 frames every "
        "50 ms, 4 lanes" in dry
    )
    assert (
        "padded to 32 x 48; maps for the neck: stride 2: 16 x 16 x 24, stride 4: 32 x 8 x 12, "
        "stride 8: 64 x 4 x 6" in dry
    )
    assert "4 steps, effective batch 4, 16 samples" in section(dry, "schedule")
    assert (
        f"optimizer.lr {0.01 * math.sqrt(0.5):.3g} (base_lr 0.01 * sqrt(batch / base batch))" in dry
    )
    assert (
        "learning rate: first 0.00558, second 0.00372, highest (step 1) 0.00558, last "
        in section(dry, "schedule")
    )
    assert (
        "each of 2 lanes kept" in section(dry, "memory") and "protocol    coco: class-aware" in dry
    )
    assert "seed 0; " in section(dry, "origin") and "torch 2." in section(dry, "origin")
    assert "loss_bbox 5 * SizeAwareIoULoss" in section(dry, "losses")
    differs = section(dry, "differs")
    assert "from ./patch2_sizeaware.py" in differs and "model.micro_batch: unset, now 2" in differs
    assert (
        "base_lr: 0.0002, now 0.01" in differs
        and "train_dataloader.dataset.data_root" not in differs
    )


def test_accumulation_counts_as_batch(sample):
    """Four lanes and three steps an update: 12 lanes behind an update, and the rate for 12."""
    options = [
        "model.micro_batch=2",
        "base_lr=0.01",
        "optim_wrapper.accumulative_counts=3",
        "val_cfg=None",
    ]
    options += ["val_dataloader=None", "val_evaluator=None"]
    output = run(
        "tools/train.py",
        CONFIG,
        "--dry-run",
        "--cfg-options",
        f"data_root={sample}/",
        *SMALL,
        *options,
    )
    told = section(output, "schedule")
    assert "4 steps, effective batch 12 (an update every 3 steps), 16 samples" in told
    assert (
        f"optimizer.lr {0.01 * math.sqrt(12 / 8):.3g} (base_lr 0.01 * sqrt(batch / base batch))"
        in told
    )


def test_recordings_of_other_steps_are_named():
    recordings = [
        SimpleNamespace(name=f"r{ms}", step_us=1000 * ms, num_frames=3) for ms in (50, 51, 40)
    ]
    lone = SimpleNamespace(name="one", step_us=10_000, num_frames=1)
    (line,) = other_steps(SimpleNamespace(sequences=[*recordings, lone]), 50_000)
    assert (
        line
        == "WARNING some recordings have another time between frames (ms): r40 40; streams use "
        "50 ms"
    )


def test_dry_run_keeps_nothing(dry):
    line = next(line for line in dry.splitlines() if "dry run: " in line)
    assert (
        "loss_bbox" in line
        and "validation of 1 batches gives" in line
        and not (ROOT / "nowhere").exists()
    )


SPY = """
import json
from pathlib import Path
from mmdet.registry import HOOKS
from mmengine.hooks import Hook

@HOOKS.register_module()
class SpyHook(Hook):
    interval = 1000
    priority = "LOWEST"
    seen = {}
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if self.every_n_train_iters(runner, self.interval):
            self.seen["losses"] = sorted(outputs)
    def after_val_epoch(self, runner, metrics=None):
        self.seen["metrics"] = sorted(metrics)
        self.seen["files"] = [path.name for path in Path(runner.work_dir).iterdir()]
    def after_train(self, runner):
        Path(__file__).with_name("seen.json").write_text(json.dumps(self.seen))
        raise KeyError("AFTER TRAIN")
"""


def test_a_dry_run_calls_every_hook_and_keeps_the_traceback_of_own_code(
    sample, tmp_path, monkeypatch
):
    """What would end a training after its first validation, or at its end, ends the dry run."""
    (tmp_path / "spy_hook.py").write_text(SPY)
    (tmp_path / "config.py").write_text(
        f"_base_ = {str(ROOT / CONFIG)!r}\ncustom_imports = dict(imports=['spy_hook'])\n"
        "custom_hooks = [*_base_.custom_hooks, dict(type='SpyHook')]\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    words = [tmp_path / "config.py", "--dry-run", "--work-dir", tmp_path / "run", "--cfg-options"]
    words += [f"data_root={sample}/", *SMALL, "default_hooks.checkpoint.interval=1000"]
    with pytest.raises(
        AssertionError, match="AFTER TRAIN"
    ):  # `run` takes no traceback for an answer
        run("tools/train.py", *words, f"default_hooks.checkpoint.out_dir={tmp_path / 'run'}")
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert {"loss", "loss_bbox"} <= {*seen["losses"]} and "coco/AP" in seen["metrics"]
    assert {"iter_1.pth", "best_coco_AP_iter_1.pth", "results.csv", "val_1.png", "run.json"} <= {
        *seen["files"]
    }
    assert not (tmp_path / "run").exists()


def test_memory_grows_with_lanes(sample):
    def memory(*options):
        words = [*SMALL, *options, "val_cfg=None", "val_dataloader=None", "val_evaluator=None"]
        output = run(
            "tools/train.py", CONFIG, "--dry-run", "--cfg-options", f"data_root={sample}/", *words
        )
        assert "no evaluation while training" in output and "no validation" in output
        return int(section(output, "memory").split("about ")[1].split(" MiB")[0].replace(",", ""))

    two, four = memory("train_dataloader.batch_size=2"), memory("train_dataloader.batch_size=4")
    assert 1.4 < four / two < 2.1


@pytest.mark.parametrize(
    "options, says",
    [
        (("model.bbox_head.num_classes=3",), "num_classes=3"),
        (
            ("model.backbone.partition_size=(5,7)", "model.data_preprocessor.size_divisor=[2,2]"),
            "size_divisor",
        ),
        (
            ("model.bbox_head.strides=[8,16,32]",),
            "bbox_head.strides=[8, 16, 32] in the config contradicts [2, 4, 8]",
        ),
        (("class_set=etram3",), "not in class_set 'etram3'"),
        (
            ("val_evaluator.protocols=(prophesee,coco)",),
            "no ground-truth box is left under the headline",
        ),
        (
            ("val_evaluator.protocols=(etram_paper,)",),
            "save_best=coco/AP, but validation evaluates etram_paper",
        ),
        (
            ("default_hooks.checkpoint.save_best=coco/bbox_mAP",),
            "save_best=coco/bbox_mAP, but validation gives no such number; did you mean coco/AP? "
            "It gives coco/AP, ",
        ),
        (
            (
                "custom_hooks=[dict(type='EarlyStoppingHook', monitor='coco/AP_pedestrian', "
                "rule='greater')]",
            ),
            # no pedestrian in val
            "EarlyStoppingHook.monitor=coco/AP_pedestrian, but validation gives no such number",
        ),
        (
            ("custom_hooks=[dict(type='EarlyStoppingHook', monitor='coco/AP')]",),
            "custom_hooks.0: EarlyStoppingHook(monitor='coco/AP') cannot be used (ValueError: "
            "Cannot infer the rule",
        ),
        (
            ("default_hooks.checkpoint.save_best=coco/AP_S",),
            "new name holds the size limit in pixels; set it to coco/AP_S_network_px",
        ),
        (
            ("val_dataloader.dataset.class_set=cls8_sample",),
            "class_set is 'etram8' at the top of the config, but val_",
        ),
        (
            ("class_set=None", "val_dataloader.dataset.class_set=cls8_sample"),
            "give all data sets of a config the same class_set",
        ),
        (("train_dataloader.batch_size=0",), "batch_size is 0, expected at least 1"),
        (
            ("model.micro_batch=2", "model.bbox_head.loss_cls.type=SeesawClassLoss"),
            "model.micro_batch=2, but bbox_head.loss_cls (SeesawClassLoss) needs the whole batch",
        ),
        (("optim_wrapper.accumulative_counts=0",), "accumulative_counts is 0, expected at least 1"),
        (("train_dataloader=None",), "train: the config lacks train_dataloader"),
        (
            ("val_cfg=None",),
            "val: the config lacks val_cfg; add it, or set all of these to None: "
            "val_dataloader=None",
        ),
    ],
)
def test_contradictions_end_a_dry_run(sample, options, says):
    words = [*SMALL, *options]
    assert says in run(
        "tools/train.py",
        CONFIG,
        "--dry-run",
        "--cfg-options",
        f"data_root={sample}/",
        *words,
        ok=False,
    )


def test_a_stated_learning_rate_is_not_said_to_follow_the_rule(sample):
    options = ["--cfg-options", f"data_root={sample}/", *SMALL, "optim_wrapper.optimizer.lr=0.5"]
    rates = section(run("tools/train.py", CONFIG, "--dry-run", *options), "schedule")
    assert "optimizer.lr 0.5" in rates and "base_lr" not in rates
    output = run("tools/train.py", CONFIG, "--dry-run", "--auto-scale-lr", *options, ok=False)
    assert (
        "--auto-scale-lr: the config sets optim_wrapper.optimizer.lr=0.5" in output
        and "gives 0.00566" in output
    )


def test_checkpoint_of_other_classes_is_refused(trained, sample):
    """Both have eight classes, but different ones."""
    options = [f"data_root={sample}/", *SMALL, f"load_from={trained[0] / 'iter_4.pth'}"]
    run("tools/train.py", CONFIG, "--dry-run", "--cfg-options", *options)
    output = run(
        "tools/train.py",
        CONFIG,
        "--dry-run",
        "--cfg-options",
        *options,
        "class_set=cls8_sample",
        ok=False,
    )
    assert (
        "was trained to find pedestrian, car" in output
        and "the config's data have Car, Truck" in output
    )


def test_differences_of_configs():
    child = differences_to_parent(load_config(ROOT / "configs" / "patch2.py"))
    assert child[0] == "from ./baseline.py" and "model.backbone.patch_size: 4, now 2" in child
    assert differences_to_parent(load_config(ROOT / "configs" / "baseline.py"))[0].endswith(
        "default_runtime.py: nothing"
    )


def test_misspelt_keys_end_a_run_before_it_begins(tmp_path):
    output = run(
        "tools/train.py",
        CONFIG,
        "--cfg-options",
        "model.backbone.patchsize=4",
        "train_dataloder.batch_size=2",
        ok=False,
    )
    assert "model.backbone.patchsize: did you mean model.backbone.patch_size?" in output
    assert "train_dataloder: did you mean train_dataloader?" in output
    (tmp_path / "mine.py").write_text(
        f"_base_ = {str(ROOT / CONFIG)!r}\ntrain_config = dict(max_iters=4)\n"
        "val_dataloder = dict(batch_size=1)"
    )
    output = run("tools/train.py", tmp_path / "mine.py", ok=False)
    assert (
        f"{tmp_path / 'mine.py'}: unknown keys" in output
        and "val_dataloder: did you mean val_dataloader?" in output
    )


def test_a_resumed_training_can_be_tried(trained, sample):
    """The checkpoint is looked for where the training left it, and nothing there changes."""
    folder, before = trained[0], sorted(p.name for p in trained[0].iterdir())
    options = ["--cfg-options", f"data_root={sample}/", *SMALL, ALL_BOXES]
    output = run("tools/train.py", CONFIG, "--dry-run", "--resume", "--work-dir", folder, *options)
    assert "dry run: " in output and f"after step 4, resumed from {folder / 'iter_4.pth'}" in output
    assert sorted(p.name for p in folder.iterdir()) == before


def test_configs_of_mmdet_have_parents_too(tmp_path):
    (tmp_path / "mine.py").write_text(
        "_base_ = 'mmdet::_base_/models/retinanet_r50_fpn.py'\nmodel = dict(neck=dict(num_outs=6))"
    )
    assert "model.neck.num_outs: 5, now 6" in differences_to_parent(
        Config.fromfile(tmp_path / "mine.py")
    )
