"""Variants that reach into training itself, trained and tested through the tools."""

from __future__ import annotations

import json

import pytest
import torch

from etram_mmdet.engine.checkpoints.opening import load_checkpoint_file
from tests.helpers.cli import ALL_BOXES, CONFIG, SMALL, run
from tests.helpers.paths import ROOT
from tests.test_tools.test_train_and_test import metrics, rows

# A rate so high that four steps move weights, and an average that lags behind them. Random clips
# need no state of the step before, which a resumed training has lost.
OPTIONS = (
    *SMALL,
    "base_lr=5e-3",
    "train_dataloader.batch_size=2",
    "train_dataloader.batch_sampler.mode=random",
    "model.backbone.embed_dims=32",
)


def train(config, sample, folder, *options, resume=()):
    words = [
        "--work-dir",
        folder,
        *resume,
        "--cfg-options",
        f"data_root={sample}/",
        *OPTIONS,
        *options,
    ]
    return run("tools/train.py", f"configs/{config}.py", *words)


@pytest.fixture(scope="module")
def averaged(sample, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ema")
    return folder, train("ema", sample, folder)


def test_run_record_says_what_the_numbers_depend_on(averaged, sample):
    record = json.loads((averaged[0] / "run.json").read_text())
    assert (record["steps"], record["batch"], record["samples"], record["seed"]) == (4, 2, 8, 0)
    assert record["base_lr"] == 5e-3 and record["lr"] == pytest.approx(5e-3 * 0.5)
    assert record["protocol"].startswith("coco: class-aware, no box filter")
    assert record["test_cfg"]["score_thr"] == 0.001 and record["clip_length"] == 5
    assert record["train_data"]["split"] == "train" and record["val_data"]["split"] == "val"
    assert record["train_data"]["recordings"] == 3 and record["parameters"] > 1e6


def test_averaged_weights_are_the_ones_that_are_evaluated_and_kept(averaged):
    """Validation, the checkpoint's weights and tools/test.py agree.

    The raw weights are elsewhere and differ.
    """
    folder, _ = averaged
    content = load_checkpoint_file(folder / "iter_4.pth")
    raw = {name.removeprefix("module."): w for name, w in content["ema_state_dict"].items()}
    name = "backbone.stages.0.downsample.conv.weight"
    assert not torch.equal(content["state_dict"][name], raw[name])
    run("tools/test.py", folder / "iter_4.pth", "--work-dir", folder / "test", "--cfg-options",
        "test_dataloader.dataset.split=val")  # fmt: skip
    assert metrics(rows(folder / "test")[-1]) == metrics(rows(folder)[-1])


def test_a_resumed_average_goes_on_where_it_was(averaged, sample, tmp_path):
    folder, _ = averaged
    train("ema", sample, tmp_path, resume=("--resume", folder / "iter_2.pth"))
    whole, resumed = (load_checkpoint_file(f / "iter_4.pth") for f in (folder, tmp_path))
    for weights in ("state_dict", "ema_state_dict"):
        for name, tensor in whole[weights].items():
            torch.testing.assert_close(
                resumed[weights][name], tensor, rtol=1e-4, atol=1e-5, msg=f"{weights} {name}"
            )


OTHER_SCHEDULE = """
_base_ = {base!r}
optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=1e-4),
    paramwise_cfg=dict(norm_decay_mult=0.0, custom_keys=dict(backbone=dict(lr_mult=0.1))),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=2),
    dict(type="MultiStepLR", milestones=[2, 3], by_epoch=False),
]
default_hooks = dict(checkpoint=dict(save_best=["coco/AP", "coco/AP50"]))
"""


def test_other_optimizers_and_schedules_are_resumed_too(sample, tmp_path):
    """Their state holds more than that of our defaults.

    That is momenta that may be missing, milestones, a learning rate per group, and two best scores.
    """
    (tmp_path / "other.py").write_text(OTHER_SCHEDULE.format(base=str(ROOT / CONFIG)))
    words = [
        "tools/train.py",
        tmp_path / "other.py",
        "--cfg-options",
        f"data_root={sample}/",
        *SMALL,
        ALL_BOXES,
    ]
    run(*words, "--work-dir", tmp_path / "whole")
    output = run(
        *words, "--work-dir", tmp_path / "resumed", "--resume", tmp_path / "whole" / "iter_2.pth"
    )
    assert "begins      after step 2, " in output and "just skip resuming" not in output
    whole, resumed = (
        load_checkpoint_file(tmp_path / name / "iter_4.pth") for name in ("whole", "resumed")
    )
    assert len(whole["optimizer"]["param_groups"]) > 100
    for ours, theirs in zip(resumed["param_schedulers"], whole["param_schedulers"], strict=True):
        assert ours == theirs
    assert {"best_ckpt_coco/AP", "best_ckpt_coco/AP50"} <= set(whole["message_hub"]["runtime_info"])


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (
            "patch2_sizeaware_abc",
            "balanced classifier: share of boxes that it learns from: pedestrian 0.",
        ),
        ("nwd", "NWDLoss: constant"),
    ],
)
def test_what_a_plugin_takes_from_the_data_is_logged_and_survives_in_the_checkpoint(
    config, says, sample, tmp_path
):
    output = train(config, sample, tmp_path, "train_cfg.max_iters=2")
    assert says in output
    run(
        "tools/test.py",
        tmp_path / "iter_2.pth",
        "--cfg-options",
        "test_dataloader.dataset.split=val",
    )
    tested, validated = rows(tmp_path)[-1], rows(tmp_path)[-2]
    assert metrics(tested) == metrics(validated)


def test_weights_from_other_data_do_not_bring_their_class_counts(sample, tmp_path):
    train("patch2_sizeaware_abc", sample, tmp_path / "first", "train_cfg.max_iters=2")
    content = load_checkpoint_file(tmp_path / "first" / "iter_2.pth")
    right = content["state_dict"]["bbox_head.keep_probability"].clone()
    content["state_dict"]["bbox_head.keep_probability"].fill_(0.123)
    torch.save(dict(meta=content["meta"], state_dict=content["state_dict"]), tmp_path / "other.pth")
    options = ("train_cfg.max_iters=2", f"load_from={tmp_path / 'other.pth'}")
    train("patch2_sizeaware_abc", sample, tmp_path / "second", *options)
    found = load_checkpoint_file(tmp_path / "second" / "iter_2.pth")["state_dict"][
        "bbox_head.keep_probability"
    ]
    assert torch.equal(found, right) and not (right == 0.123).any()
