"""The content of a checkpoint is neither executed nor trusted.

This holds when it is resumed, tested, or opened by somebody else.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import time

import pytest
import torch

from etram_mmdet.apis.inference import EventInferencer
from etram_mmdet.engine.checkpoints.contents import CONFIG_KEY
from etram_mmdet.engine.checkpoints.folder import find_checkpoint
from etram_mmdet.engine.checkpoints.opening import config_for_checkpoint, load_checkpoint_file
from etram_mmdet.utils.errors import InputError
from tests.helpers.cli import ALL_BOXES, CONFIG, SMALL, run
from tests.test_engine.test_checkpoint_files import Bomb


def changed(source, target, change) -> str:
    """A copy of a checkpoint in which ``change`` has altered something."""
    content = torch.load(source, weights_only=True)
    change(content)
    torch.save(content, target)
    return str(target)


def resume(checkpoint, sample, work_dir, *more, ok=True):
    options = ["--cfg-options", f"data_root={sample}/", *SMALL, ALL_BOXES]
    return run(
        "tools/train.py",
        CONFIG,
        "--work-dir",
        work_dir,
        "--resume",
        checkpoint,
        *more,
        *options,
        ok=ok,
    )


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_python_text_in_a_checkpoint_is_not_run(trained, sample, tmp_path, more):
    """mmengine's own resume evaluates ``meta.config``.

    Its inferencers evaluate ``meta.cfg`` and the config in the message hub.
    """
    trace = tmp_path / "executed"
    text = f"import os; os.system('touch {trace}')"

    def plant(content):
        content["meta"].update(config=text, cfg=text)
        content["message_hub"]["runtime_info"]["cfg"] = text

    evil = changed(trained[0] / "iter_2.pth", tmp_path / "evil.pth", plant)
    output = resume(evil, sample, tmp_path / "run", *more)
    assert "ignored the unknown keys meta.config, meta.cfg, message_hub.runtime_info.cfg" in output
    assert "after step 2" in output and not trace.exists()


def test_nothing_outside_the_work_folder_is_removed(trained, sample, tmp_path):
    """The next better checkpoint replaces the best one, and a checkpoint says where that is."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.pth").write_text("years")
    for number, place in enumerate((precious, precious / "thesis.pth", tmp_path / "run" / "sub")):
        (tmp_path / "run" / "sub").mkdir(parents=True, exist_ok=True)

        def point(content, place=place):
            content["message_hub"]["runtime_info"].update(
                best_ckpt=str(place), last_ckpt=str(place), best_score=-1.0
            )

        evil = changed(trained[0] / "iter_2.pth", tmp_path / f"evil_{number}.pth", point)
        resume(evil, sample, tmp_path / "run")
        assert (precious / "thesis.pth").read_text() == "years"
        assert (tmp_path / "run" / "sub").is_dir()


def test_a_best_checkpoint_that_is_a_program_is_not_opened(trained, sample, tmp_path):
    """With ``published_keys`` mmengine unpickles anything in the best checkpoint at the end."""
    (tmp_path / "run").mkdir()
    trace = tmp_path / "executed"
    torch.save(dict(state_dict={}, meta=Bomb(trace)), tmp_path / "run" / "best.pth")

    def point(content):
        content["message_hub"]["runtime_info"].update(best_ckpt="best.pth", best_score=10.0)

    evil = changed(trained[0] / "iter_2.pth", tmp_path / "evil.pth", point)
    options = [
        f"data_root={sample}/",
        *SMALL,
        ALL_BOXES,
        "default_hooks.checkpoint.published_keys=[meta,state_dict]",
    ]
    command = [
        "tools/train.py",
        CONFIG,
        "--work-dir",
        tmp_path / "run",
        "--resume",
        evil,
        "--cfg-options",
        *options,
    ]
    assert "is published to" in run(*command)
    assert not trace.exists() and (tmp_path / "run" / "best.pth").is_file()


def test_a_run_resumed_elsewhere_leaves_the_first_alone(trained, sample, tmp_path):
    """Its own best checkpoint is replaced, whatever folder it was copied from."""
    shutil.copytree(trained[0], tmp_path / "first")
    best = next((tmp_path / "first").glob("best_*.pth"))

    def improve(content):
        content["message_hub"]["runtime_info"].update(best_ckpt=str(best), best_score=-1.0)

    start = changed(trained[0] / "iter_2.pth", tmp_path / "first" / "iter_2.pth", improve)
    resume(start, sample, tmp_path / "second")
    assert best.is_file()
    shutil.copytree(tmp_path / "first", tmp_path / "moved")
    resume(tmp_path / "moved" / "iter_2.pth", sample, tmp_path / "moved")
    names = [path.name for path in (tmp_path / "moved").glob("best_*.pth")]
    assert names == ["best_coco_AP_iter_4.pth"] and best.is_file()
    info = load_checkpoint_file(tmp_path / "moved" / "iter_4.pth")["message_hub"]["runtime_info"]
    stored = torch.load(tmp_path / "moved" / "iter_4.pth", weights_only=True)["message_hub"][
        "runtime_info"
    ]
    assert (
        info["best_ckpt"] == stored["best_ckpt"] == names[0] and stored["last_ckpt"] == "iter_4.pth"
    )


def test_long_paths_of_the_first_version_become_names(trained, tmp_path):
    def deepen(content):
        content["message_hub"]["runtime_info"].update(best_ckpt=f"/{'deep/' * 200}best.pth")

    path = changed(trained[0] / "iter_4.pth", tmp_path / "x.pth", deepen)
    assert load_checkpoint_file(path)["message_hub"]["runtime_info"]["best_ckpt"] == "best.pth"


def test_a_moved_folder_stands_for_itself(tmp_path):
    for name in ("iter_2.pth", "iter_10.pth"):
        (tmp_path / name).touch()
    (tmp_path / "last_checkpoint").write_text("/another/machine/iter_2.pth")
    assert find_checkpoint(tmp_path) == str(tmp_path / "iter_2.pth")
    (tmp_path / "last_checkpoint").write_text("/another/machine/../iter_7.pth")
    assert find_checkpoint(tmp_path) == str(tmp_path / "iter_10.pth")
    (tmp_path / "last_checkpoint").write_text("")
    assert find_checkpoint(tmp_path) == str(tmp_path / "iter_10.pth")


ODD = ["x", None, -1, 10**17, [], {}, [1, "a"], {"a": {"b": 1}}, torch.ones(3), b"x"]
PLACES = [
    "meta",
    "meta.epoch",
    "meta.iter",
    "meta.seed",
    "meta.dataset_meta",
    f"meta.{CONFIG_KEY}",
    "state_dict",
    "message_hub",
    "message_hub.log_scalars",
    "message_hub.log_scalars.train/loss",
    "message_hub.log_scalars.train/loss.values",
    "message_hub.log_scalars.train/loss.max_length",
    "message_hub.runtime_info",
    "message_hub.runtime_info.best_ckpt",
    "message_hub.runtime_info.keep_ckpt_ids",
    "message_hub.resumed_keys",
    "optimizer",
    "optimizer.state",
    "optimizer.param_groups",
    "own_states",
    "param_schedulers",
]


@pytest.mark.parametrize("place", PLACES)
def test_values_of_another_type_are_named(trained, tmp_path, place):
    """A key with a value of a wrong type ends in a sentence that names the place."""
    content = torch.load(trained[0] / "iter_4.pth", weights_only=True)
    *parents, last = place.split(".")
    refused = 0
    for value in ODD:
        odd = copy.deepcopy(content)
        node = odd
        for parent in parents:
            node = node[parent]
        node[last] = value
        torch.save(odd, tmp_path / "x.pth")
        try:
            load_checkpoint_file(tmp_path / "x.pth")
        except InputError as error:
            refused += 1
            assert place.rsplit("/loss.", 1)[0].startswith(
                str(error).split(": ")[1].split(" is ")[0]
            )
    assert refused >= 6


def shrink_moments(content):
    """What made the fused optimizer write beyond its memory."""
    content["optimizer"]["state"][0]["exp_avg"] = torch.tensor(0.0)


def name_of_weight(content):
    return next(name for name, weight in content["state_dict"].items() if weight.shape == (16,))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda c: c["optimizer"]["param_groups"].append({"params": []}),
            "has 2 groups of parameters, the config's",
        ),
        (lambda c: c["optimizer"]["param_groups"][0].pop("betas"), "settings are amsgrad"),
        (
            lambda c: c["optimizer"]["param_groups"][0].update(lr="fast"),
            "lr is 'fast', the config's is",
        ),
        (
            lambda c: c["optimizer"]["state"][0].pop("exp_avg"),
            "keeps exp_avg_sq, step for each parameter",
        ),
        (
            lambda c: c["optimizer"]["state"][0].update(exp_avg=torch.ones(2, 2)),
            "exp_avg of parameter 0 is (2, 2)",
        ),
        (lambda c: c["optimizer"]["state"].update({9999: {}}), "knows parameter 9999"),
        (
            shrink_moments,
            "exp_avg of parameter 0 is a single number of torch.float32, expected finite numbers "
            "of shape",
        ),
        (lambda c: c["optimizer"]["state"][0]["exp_avg_sq"].fill_(-1), "exp_avg_sq of parameter 0"),
        (lambda c: c["optimizer"]["state"][0]["step"].fill_(float("nan")), "step of parameter 0"),
        (lambda c: c["optimizer"]["param_groups"][0].update(lr=float("nan")), "lr is nan"),
        (
            lambda c: c["optimizer"]["param_groups"][0].update(betas=(0.9, 5.0)),
            "betas is (0.9, 5.0)",
        ),
        (
            lambda c: c["optimizer"]["param_groups"][0].update(amsgrad=True),
            "amsgrad is True, the config's is False",
        ),
        (
            lambda c: c["optimizer"].update(base_param_settings={"lr": 1.0}),
            "has base_param_settings",
        ),
        (
            lambda c: c["param_schedulers"][0].update(last_step=99),
            "last_step is 99, expected 0 to 2",
        ),
        (lambda c: c["param_schedulers"][0].update(param_name="params"), "param_name is 'params'"),
        (
            lambda c: c["optimizer"]["param_groups"][0].update(betas=("a", "b")),
            "betas is ('a', 'b')",
        ),
        (
            lambda c: c["state_dict"][name_of_weight(c)].fill_(float("inf")),
            "holds NaN or infinity: the training had",
        ),
        (
            lambda c: c["meta"].update(iter=2**40),
            "step is 1099511627776, but the config trains 4 steps",
        ),
        (
            lambda c: c["state_dict"].update({name_of_weight(c): torch.ones(16) > 0}),
            "is torch.bool, expected",
        ),
        (lambda c: c["param_schedulers"].clear(), "follows 0 schedules, the config's follows 1"),
        (lambda c: c["param_schedulers"][0].update(optimizer=1), "OneCycleLR's settings are"),
        (
            lambda c: c["param_schedulers"][0].update(total_steps="all"),
            "total_steps is 'all', the config's is 4",
        ),
        (
            lambda c: c["own_states"][0]["lanes"][0][0][0].fill_(float("nan")),
            "its recurrent state holds NaN or infinity",
        ),
        (lambda c: c["message_hub"].pop("resumed_keys"), "lacks resumed_keys"),
        (lambda c: c["optimizer"].pop("state"), "lacks state"),
        (lambda c: c["meta"].pop("iter"), "lacks iter"),
        (lambda c: c.pop("optimizer"), "holds weights only"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_before_the_first_step(
    trained, sample, tmp_path, change, says
):
    odd = changed(trained[0] / "iter_2.pth", tmp_path / "odd.pth", change)
    assert says in resume(odd, sample, tmp_path / "run", "--dry-run", ok=False)


def with_setting(folder, target, place, value):
    """A checkpoint whose config says ``value`` at a dotted ``place``."""

    def change(content):
        config = json.loads(content["meta"][CONFIG_KEY])
        node = config
        *parents, last = (int(part) if part.isdecimal() else part for part in place.split("."))
        for parent in parents:
            node = node[parent]
        node[last] = value
        content["meta"][CONFIG_KEY] = json.dumps(config)

    return changed(folder / "iter_4.pth", target, change)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("model.backbone.num_blocks", [100_000, 1, 1, 1]),
        ("model.backbone.num_blocks", [2_000_000, 1, 1, 1]),
        ("model.backbone.embed_dims", 20_000),
        ("model.backbone.embed_dims", 999_999),
        ("model.backbone.embed_dims", 10**12),
        ("model.backbone.embed_dims", "many"),
        ("model.backbone.partition_size", [60_000, 60_000]),
        ("model.backbone.partition_size", [-1, 3]),
        ("model.backbone.out_stages", [7]),
        ("model.backbone", []),
        ("model.backbone.type", 3),
        ("model.neck.num_csp_blocks", 10_000),
        ("model.neck.norm_cfg.eps", []),
        ("model.bbox_head.num_classes", 1_000_000),
        ("model.bbox_head.stacked_convs", 1_000_000),
        ("model.bbox_head.loss_bbox", {"type": "Bomb"}),
        ("model.bbox_head.strange key", 1),
        ("model.train_cfg.assigner", None),
        ("model.test_cfg", [1]),
        ("model.test_cfg.score_thr", "high"),
        ("model.test_cfg.nms", True),
        ("model.test_cfg.nms_pre", 1.5),
        ("test_dataloader.dataset.representation.bins", 100_000),
        ("test_dataloader.dataset.window_us", "long"),
        ("test_dataloader.dataset.data_root", 3),
        ("test_dataloader.dataset.class_set", "letters"),
        ("test_dataloader.dataset.class_set", {"classes": [1, {}]}),
        ("test_dataloader.num_workers", 3000),
        ("test_dataloader.batch_size", 10**9),
        ("test_dataloader.dataset.clip_length", 10**9),
    ],
)
def test_what_a_carried_config_asks_for_is_bounded(trained, tmp_path, place, value):
    """A sentence within a second or two, before memory is taken."""
    odd = with_setting(trained[0], tmp_path / "odd.pth", place, value)
    start, before = time.monotonic(), peak_mib()
    with pytest.raises(InputError, match=r"odd\.pth|class_set|out_stages"):
        config_for_checkpoint(None, odd, None)
        EventInferencer(odd, device="cpu")
    assert peak_mib() - before < 1000 and time.monotonic() - start < 60


def test_a_carried_class_set_opens_no_file(trained, tmp_path):
    (tmp_path / "own.json").write_text('{"classes": ["car"]}')
    path = str(tmp_path / "own.json")
    odd = with_setting(trained[0], tmp_path / "odd.pth", "test_dataloader.dataset.class_set", path)
    with pytest.raises(InputError, match=r"class_set='/.*, which would open or download another"):
        config_for_checkpoint(None, odd, None)


def test_a_deep_config_is_a_sentence(trained, tmp_path):
    deep: list = []
    for _ in range(500):
        deep = [deep]
    odd = with_setting(trained[0], tmp_path / "odd.pth", "model.test_cfg.nms", deep)
    with pytest.raises(InputError, match="nested deeper"):
        config_for_checkpoint(None, odd, None)
    changed(odd, odd, lambda c: c["meta"].update({CONFIG_KEY: '{"model":' + "[" * 200_000}))
    with pytest.raises(InputError, match="not JSON"):
        config_for_checkpoint(None, odd, None)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("test_dataloader.dataset.pipeline", []),
        ("test_dataloader.batch_sampler", 3),
        ("test_dataloader.dataset.split", 3),
        ("test_evaluator", {"type": "EventCocoMetric", "protocols": 7}),
    ],
)
def test_data_of_a_carried_config_are_tried_first(trained, tmp_path, place, value):
    odd = with_setting(trained[0], tmp_path / "odd.pth", place, value)
    assert "odd.pth: nothing can be built from the config that it carries" in run(
        "tools/test.py", odd, "--work-dir", tmp_path, ok=False
    )


def peak_mib() -> float:
    with open(f"/proc/{os.getpid()}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024
