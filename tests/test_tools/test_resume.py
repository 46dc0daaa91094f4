"""``--resume`` goes on with the same training, or says by name what would make it another."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from etram_mmdet.engine.checkpoints.opening import load_checkpoint_file
from etram_mmdet.engine.config.differences import training_differences
from etram_mmdet.engine.config.load import load_config
from tests.helpers.cli import ALL_BOXES, CONFIG, SMALL, run


def resume(trained, folder, data_root, *more, ok=True):
    words = ["--work-dir", folder, "--resume", trained[0] / "iter_2.pth"]
    options = ["--cfg-options", f"data_root={data_root}/", *SMALL, ALL_BOXES]
    return run("tools/train.py", CONFIG, *words, *options, *more, ok=ok)


def test_other_settings_are_refused_by_name(trained, sample, tmp_path):
    options = (
        "base_lr=1e-5",
        "train_dataloader.batch_size=3",
        "train_dataloader.batch_sampler.mode=stream",
        "train_dataloader.dataset.clip_length=3",
        "model.bbox_head.loss_bbox.loss_weight=1.0",
        "optim_wrapper.optimizer.weight_decay=0.1",
        "optim_wrapper.optimizer.lr=0.5",
        "param_scheduler.0.div_factor=2",
        "randomness.seed=1",
    )
    output = resume(trained, tmp_path, sample, *options, ok=False)
    for line in (
        "base_lr: 0.008, now 1e-05",
        "train_dataloader.batch_size: 4, now 3 (for less memory set model.micro_batch",
        "train_dataloader.batch_sampler.mode: mixed, now stream",
        "train_dataloader.dataset.clip_length: 5, now 3",
        "model.bbox_head.loss_bbox.loss_weight: 5.0, now 1.0",
        "optim_wrapper.optimizer.weight_decay: 0.0, now 0.1",
        "optim_wrapper.optimizer.lr: 0.005656854249492381, now 0.5 (if no other setting causes "
        "it: --cfg-options optim_wrapper.optimizer.lr=0.005656854249492381)",
        "param_scheduler.0.div_factor: 20, now 2",
        "randomness.seed: 0, now 1 (--cfg-options randomness.seed=0)",
    ):
        assert f"\n  {line}" in output, line
    assert f"leave --resume out: --cfg-options load_from={trained[0] / 'iter_2.pth'}" in output
    assert not list(tmp_path.rglob("*.pth")) and not (tmp_path / "run.json").exists()


def test_data_may_move_but_not_change(trained, sample, tmp_path):
    """The work folder may move, but its content must fit.

    A resumed run keeps what its run.json said before.
    """
    shutil.copytree(sample, tmp_path / "moved")
    shutil.copytree(trained[0], tmp_path / "run")
    first = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (first["from_step"], first["earlier_starts"]) == (0, [])
    resume(
        trained, tmp_path / "run", tmp_path / "moved", "val_evaluator.protocols=(coco,prophesee)"
    )
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    del first["earlier_starts"]
    assert record["earlier_starts"] == [first] and (record["from_step"], record["run"]) == (
        2,
        first["run"],
    )
    assert "prophesee" in record["protocol"] and "prophesee" not in first["protocol"]
    shutil.rmtree(sorted((tmp_path / "moved" / "train").iterdir())[0])
    output = resume(trained, tmp_path / "x", tmp_path / "moved", ok=False)
    assert output.splitlines()[-2].startswith("  digest of the training data: ")
    assert output.splitlines()[-3].endswith("belongs to a training with other settings:")


def test_as_many_processes_where_a_checkpoint_tells_them_else_a_warning(trained, sample, tmp_path):
    content = load_checkpoint_file(trained[0] / "iter_2.pth")
    assert content["meta"]["processes"] == 1
    content["meta"]["processes"] = 2
    torch.save(content, tmp_path / "iter_2.pth")
    output = resume((tmp_path,), tmp_path / "x", sample, ok=False)
    assert (
        "processes: 2, now 1 (start the same number: tools/dist_train.sh CONFIG 2 --resume"
        in output
    )
    del content["meta"]["train_data"], content["meta"]["processes"], content["own_states"]
    torch.save(content, tmp_path / "iter_2.pth")
    output = resume(
        (tmp_path,), tmp_path / "x", sample, "train_dataloader.persistent_workers=False"
    )
    assert "kept no digest of the training data" in output and "Iter(train) [4/4]" in output
    assert "holds no recurrent state" in output and "every lane starts from zero" in output
    ours, straight = (
        load_checkpoint_file(f / "iter_4.pth")["state_dict"] for f in (tmp_path / "x", trained[0])
    )
    assert not all(
        torch.equal(weight, straight[name]) for name, weight in ours.items()
    )  # so the state matters


@pytest.fixture
def configs():
    """What a checkpoint stores, and the config of the run that shall go on."""
    cfg = load_config(CONFIG)
    return json.loads(json.dumps(cfg.to_dict())), cfg.to_dict()


@pytest.mark.parametrize("has_gpu", [False, True])
def test_what_may_change(configs, has_gpu):
    stored, given = configs
    given.update(
        data_root="elsewhere",
        log_level="ERROR",
        work_dir="x",
        val_evaluator=dict(type="CocoMetric"),
    )
    given["train_dataloader"].update(
        num_workers=7, dataset=given["train_dataloader"]["dataset"] | dict(data_root="e")
    )
    given["model"].update(micro_batch=1, with_cp=True, test_cfg=dict(score_thr=0.5))
    given["train_cfg"].update(val_interval=3)
    given["custom_hooks"] = given["custom_hooks"][1:]
    assert training_differences(stored, given, has_gpu) == {}
    given["custom_hooks"] = [dict(type="EMAHook")]
    given["optim_wrapper"]["type"] = "OptimWrapper"
    found = training_differences(stored, given, has_gpu)
    assert ("optim_wrapper.type" in found) == has_gpu and "custom_hooks" in found


def test_a_longer_training_where_no_rate_depends_on_its_length(configs):
    stored, given = configs
    given["train_cfg"]["max_iters"] = given["param_scheduler"][0]["total_steps"] = 900
    assert training_differences(stored, given, True) == {"train_cfg.max_iters": [850, 900]}
    for config in configs:
        config["param_scheduler"] = [dict(type="MultiStepLR", milestones=[100], by_epoch=False)]
    assert training_differences(stored, given, True) == {}


def test_what_an_older_version_left_open_is_no_difference(configs):
    stored, given = configs
    for place, key in (
        (stored["model"]["backbone"], "in_channels"),
        (stored["model"]["bbox_head"], "num_classes"),
        (stored["optim_wrapper"]["optimizer"], "lr"),
        (stored["param_scheduler"][0], "total_steps"),
        (stored["train_dataloader"]["dataset"], "window_us"),
    ):
        del place[key]
    assert training_differences(stored, given, True) == {}
