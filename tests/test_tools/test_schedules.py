"""A training with everything that fine-tuning uses.

It stops early by itself, and a resumed one ends with the same bytes.
"""

from __future__ import annotations

import shutil

import pytest
import torch

from etram_mmdet.engine.checkpoints.opening import load_checkpoint_file
from tests.helpers.cli import ALL_BOXES, CONFIG, SMALL, run
from tests.helpers.paths import ROOT
from tests.test_tools.test_train_and_test import rows

# Epochs of four steps, updates every third step: one of them spans two epochs.
FINE_TUNING = """
_base_ = {base!r}
train_cfg = dict(_delete_=True, type="EpochBasedTrainLoop", max_epochs=9, val_interval=1)
param_scheduler = [dict(type="CosineAnnealingLR", by_epoch=True, eta_min=1e-4)]
default_hooks = dict(checkpoint=dict(by_epoch=True, interval=1, max_keep_ckpts=5))
optim_wrapper = dict(
    accumulative_counts=3, paramwise_cfg=dict(custom_keys=dict(neck=dict(lr_mult=0)))
)
model = dict(backbone=dict(frozen_stages=1))
train_dataloader = dict(dataset=dict(indices=[1]))
custom_hooks = [
    *_base_.custom_hooks,
    dict(type="EMAHook", begin_epoch=2, priority="NORMAL"),
    dict(type="EarlyStoppingHook", monitor="coco/AP", rule="greater", patience=1, min_delta=1.0),
]
"""
OPTIONS = [word for word in SMALL if "train_cfg" not in word and "checkpoint" not in word]


@pytest.fixture(scope="module")
def tuned(sample, trained, tmp_path_factory):
    """Command, work folder and output of a training that would last nine epochs."""
    folder = tmp_path_factory.mktemp("tuned")
    (folder / "tune.py").write_text(FINE_TUNING.format(base=str(ROOT / CONFIG)))
    options = [
        f"data_root={sample}/",
        *OPTIONS,
        ALL_BOXES,
        f"load_from={trained[0] / 'iter_4.pth'}",
    ]
    command = ["tools/train.py", folder / "tune.py", "--cfg-options", *options]
    return command, folder / "run", run(*command, "--work-dir", folder / "run")


def test_it_ends_after_the_epoch_that_was_no_better(tuned):
    _, folder, output = tuned
    steps = sorted(int(path.stem.split("_")[1]) for path in folder.glob("iter_*.pth"))
    length = steps[0]
    assert steps == [length, 2 * length] and length % 3  # an update goes on in the next epoch
    assert f"{9 * length} steps (9 epochs of {length}), effective batch 12" in output
    assert "train: uses 1 of 3 recordings, chosen by" in output
    assert "frozen      backbone.stages.0, neck: " in output
    assert "the monitored metric did not improve in the last 1 records" in output
    assert [int(row["step"]) for row in rows(folder)] == steps


def test_what_is_frozen_is_what_it_started_from(tuned, trained):
    _, folder, _ = tuned
    start = load_checkpoint_file(trained[0] / "iter_4.pth")["state_dict"]
    content = load_checkpoint_file(
        max(folder.glob("iter_*.pth"), key=lambda path: path.stat().st_mtime)
    )
    trained_weights = {
        name.removeprefix("module."): tensor for name, tensor in content["ema_state_dict"].items()
    }
    for weights in (content["state_dict"], trained_weights):  # averaged ones, and those behind them
        same = {name for name, tensor in start.items() if torch.equal(weights[name], tensor)}
        frozen = {name for name in start if name.startswith(("neck.", "backbone.stages.0."))}
        assert frozen <= same and len(same - frozen) < 0.1 * len(start)


def test_a_resumed_one_ends_at_the_same_step_with_the_same_bytes(tuned, tmp_path):
    """A checkpoint in the middle of an update is resumed completely.

    Gradients, averages, statistics, learning rates and patience are all restored.
    """
    command, folder, _ = tuned
    again = tmp_path / "run"
    shutil.copytree(folder, again)
    first, last = sorted(again.glob("iter_*.pth"), key=lambda path: int(path.stem.split("_")[1]))
    last.unlink()
    (again / "last_checkpoint").write_text(first.name)
    lines = (again / "results.csv").read_text().splitlines(keepends=True)
    (again / "results.csv").write_text("".join(lines[:-1]))
    run(*command, "--work-dir", again, "--resume")
    whole, resumed = (load_checkpoint_file(path / last.name) for path in (folder, again))
    for part in ("state_dict", "ema_state_dict"):
        assert all(torch.equal(resumed[part][name], tensor) for name, tensor in whole[part].items())
    assert resumed["param_schedulers"] == whole["param_schedulers"]
    assert [row["step"] for row in rows(again)] == [row["step"] for row in rows(folder)]
    assert len(list(again.glob("iter_*.pth"))) == 2
