"""Training and testing over machines by torchrun and Slurm, by the scripts that users call."""

from __future__ import annotations

import csv
import json
import subprocess

import pytest
import torch

from etram_mmdet.engine.checkpoints.opening import load_checkpoint_file
from tests.helpers.cli import ALL_BOXES, CONFIG, SMALL, run_together
from tests.helpers.nodes import Cluster
from tests.helpers.paths import ROOT

TEN_STEPS = (
    *SMALL,
    ALL_BOXES,
    "train_cfg.max_iters=10",
    "train_cfg.val_interval=10",
    "default_hooks.checkpoint.interval=5",
    "model.backbone.embed_dims=16",
    "model.backbone.head_dim=16",
    "model.neck.num_csp_blocks=1",
    "randomness.seed=1",
)
SCRIPTS = sorted((ROOT / "tools").glob("*.sh"))
DIES = """
_base_ = "{root}/{config}"
custom_imports = dict(imports=["etram_mmdet.plugins", "tests.helpers.dying"])
custom_hooks = [dict(type="DieOnceHook", step=7)]
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    return Cluster(tmp_path_factory.mktemp("cluster"))


@pytest.fixture(scope="module")
def options(sample):
    return ("--cfg-options", f"data_root={sample}/", *TEN_STEPS)


@pytest.fixture(scope="module")
def one_node(options, tmp_path_factory):
    """Work folder of two processes on one machine."""
    folder = tmp_path_factory.mktemp("one")
    words = ("--launcher", "pytorch", "--work-dir", folder, *options)
    run_together(2, "tools/train.py", CONFIG, *words)
    return folder


def weights(folder):
    return load_checkpoint_file(folder / "iter_10.pth")["state_dict"]


def assert_same_weights(folder, other):
    """BatchNorm's statistics are among them."""
    ours, theirs = weights(folder), weights(other)
    assert ours.keys() == theirs.keys() and any("running_var" in name for name in ours)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_two_nodes_train_as_two_processes_of_one(cluster, options, one_node, tmp_path):
    """Only the first node writes: the second one has a work folder of its own, without files."""
    commands = [
        ("tools/dist_train.sh", CONFIG, 1, "--work-dir", tmp_path / name, *options) for name in "ab"
    ]
    cluster.run_nodes(*commands)
    assert_same_weights(tmp_path / "a", one_node)
    assert not [path for path in tmp_path.rglob("b/**/*") if path.is_file()]
    records = [json.loads((f / "run.json").read_text()) for f in (tmp_path / "a", one_node)]
    assert all(record.pop("run") for record in records)
    assert records[0] == records[1] and records[0]["batch"] == 8
    rows = [list(csv.DictReader((f / "results.csv").open())) for f in (tmp_path / "a", one_node)]
    found, expected = ({k: float(v) for k, v in r[-1].items() if "/" in k and v} for r in rows)
    assert found == pytest.approx(expected, abs=1e-6) and found["coco/boxes"] > 0


def test_nodes_that_torchrun_starts_again_end_as_if_nothing_had_failed(
    cluster, options, one_node, tmp_path
):
    """PyTorch alone fails there: it finds the addresses of ranks that have ended."""
    config = tmp_path / "dies.py"
    config.write_text(DIES.format(root=ROOT, config=CONFIG))
    words = ("--work-dir", tmp_path, "--resume", "auto", *options)
    command = ("tools/dist_train.sh", config, 1, *words)
    outputs = cluster.run_nodes(command, command, MAX_RESTARTS=1)
    assert "exitcode: 3" in outputs[1]
    assert all(output.count("no checkpoint yet") == 1 for output in outputs)  # then there was one
    assert_same_weights(tmp_path, one_node)


def test_a_training_that_would_fail_again_is_not_tried_again(cluster, tmp_path):
    """torchrun starts both processes twice; the second ones say why they end, once."""
    words = ("--work-dir", tmp_path, "--resume", "auto", "--cfg-options", "train_cfg.max_iters=-3")
    process = cluster.start("tools/dist_train.sh", CONFIG, 2, *words, MAX_RESTARTS=1)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 1
    assert output.count("error: torchrun started this again (MAX_RESTARTS, ") == 1
    assert "error would only come again, so nothing more is tried. The error was: " in output
    assert 2 <= output.count("train_cfg.max_iters is -3, expected at least 1") <= 3


def test_slurm_tests_a_checkpoint_as_one_process_does(cluster, trained, tmp_path):
    folder, _ = trained
    cluster.run(
        "tools/slurm_test.sh", "debug", "job", folder / "iter_4.pth", "--work-dir", tmp_path,
        GPUS=2, DEVICE="cpu", SRUN_ARGS="--quiet --time=5",
    )  # fmt: skip
    called = (cluster.bin / "srun.txt").read_text().split("\n")
    assert called[:4] == [
        "--partition=debug",
        "--job-name=job",
        "--ntasks=2",
        "--ntasks-per-node=2",
    ]
    assert called[4:8] == ["--cpus-per-task=5", "--kill-on-bad-exit=1", "--quiet", "--time=5"]
    rows = [list(csv.DictReader((f / "results.csv").open())) for f in (tmp_path, folder)]
    found, expected = ({k: v for k, v in r[-1].items() if k.startswith("coco/")} for r in rows)
    assert found == expected


def test_slurm_train_takes_the_arguments_of_mmdetection(cluster):
    (cluster.bin / "srun").rename(cluster.bin / "real")
    cluster.write("srun", '#!/bin/sh\necho "$@"\n')
    words = ("gpu", "night", CONFIG, "work_dirs/a", "--cfg-options", "a=(1, 2)")
    said = cluster.run("tools/slurm_train.sh", *words, GPUS=16, CPUS_PER_TASK=3)
    (cluster.bin / "real").rename(cluster.bin / "srun")
    assert said == (
        "--partition=gpu --job-name=night --gres=gpu:8 --ntasks=16 --ntasks-per-node=8 "
        f"--cpus-per-task=3 --kill-on-bad-exit=1 python -u tools/train.py {CONFIG} "
        "--work-dir work_dirs/a --launcher slurm --cfg-options a=(1, 2)\n"
    )


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        (dict(NNODES="1:2"), "NNODES=1:2: expected one whole number of machines"),
        (dict(NNODES=2), "set NODE_RANK to the number of this machine, 0 to 1"),
        (dict(NNODES=2, NODE_RANK=0), "set MASTER_ADDR to the address of the machine"),
        (dict(NNODES=2, NODE_RANK=2, MASTER_ADDR="a"), "NODE_RANK=2: expected 0 to 1"),
        (dict(NNODES=2, NODE_RANK="one"), "NODE_RANK=one: expected a whole number"),
        (dict(PORT=70000), "PORT=70000: expected 1 to 65535"),
        (dict(MAX_RESTARTS=-1), "MAX_RESTARTS=-1: expected a whole number"),
        (dict(RENDEZVOUS_TIMEOUT_S="long"), "RENDEZVOUS_TIMEOUT_S=long: expected a whole number"),
    ],
)
def test_machines_that_cannot_meet_are_refused(cluster, variables, says):
    process = cluster.start("tools/dist_train.sh", CONFIG, 1, **variables)
    output, _ = process.communicate()
    assert process.returncode == 1 and output.startswith("error: ") and says in output


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_right_bash(script):
    assert not subprocess.run(["bash", "-n", script], capture_output=True, check=True).stderr
