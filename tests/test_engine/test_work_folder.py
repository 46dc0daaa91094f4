"""Two trainings in one work folder."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from etram_mmdet.analysis.runs.launch import CLAIM_FILE as ABLATION
from etram_mmdet.analysis.runs.launch import Launcher
from etram_mmdet.engine.config.load import load_config
from etram_mmdet.engine.runner.stream_runner import StreamRunner
from etram_mmdet.engine.runner.work_folder import CLAIM_FILE, log_folder
from etram_mmdet.utils.claims import ClaimedError, claim, try_claim
from tests.helpers.cli import CONFIG

fork = multiprocessing.get_context("fork")


def _train(folder: Path, is_claimed) -> None:
    try_claim(folder / CLAIM_FILE)
    is_claimed.set()
    signal.pause()


@pytest.fixture
def other(tmp_path):
    """A process that trains in ``tmp_path``."""
    is_claimed = fork.Event()
    process = fork.Process(target=_train, args=(tmp_path, is_claimed))
    process.start()
    assert is_claimed.wait(60)
    yield process
    process.kill()
    process.join()


def _runner(folder: Path) -> StreamRunner:
    runner = object.__new__(StreamRunner)
    runner._work_dir = str(folder)
    runner._train_loop = object()
    runner._build_training = lambda: None
    runner.cfg = Config({})
    return runner


def test_the_second_training_is_refused_before_it_writes(other, tmp_path):
    cfg = load_config(CONFIG, dict(work_dir=str(tmp_path), data_root="nowhere"))
    with pytest.raises(
        ClaimedError,
        match=rf"^{tmp_path}: process {other.pid} on .+ works in this folder "
        r"\(last sign of life \d+ s ago\)",
    ):
        StreamRunner.from_cfg(cfg)
    assert os.listdir(tmp_path) == [CLAIM_FILE]


def test_of_two_that_start_at_once_one_trains(other, tmp_path, monkeypatch):
    monkeypatch.setattr(Runner, "train", lambda self: pytest.fail("trained"))
    with pytest.raises(ClaimedError, match=f"process {other.pid} on "):
        _runner(tmp_path).train()


def test_one_that_stood_still_saves_nothing_where_another_trains_meanwhile(other, tmp_path):
    with pytest.raises(ClaimedError, match=f"process {other.pid} on "):
        _runner(tmp_path).save_checkpoint(str(tmp_path), "iter_1.pth", save_optimizer=False)
    assert os.listdir(tmp_path) == [CLAIM_FILE]


def test_a_test_may_write_beside_a_training(other, tmp_path):
    cfg = load_config(CONFIG, dict(work_dir=str(tmp_path), data_root="nowhere"))
    for key in ("train_cfg", "train_dataloader", "optim_wrapper", "param_scheduler"):
        cfg[key] = None
    assert StreamRunner.from_cfg(cfg).work_dir == str(tmp_path)


def test_the_folder_of_a_killed_training_is_free_at_once(other, tmp_path, monkeypatch):
    other.kill()
    other.join()
    monkeypatch.setattr(Runner, "train", lambda self: "trained")
    assert _runner(tmp_path).train() == "trained"


@pytest.mark.parametrize("ends_with", [None, ValueError, SystemExit, KeyboardInterrupt])
def test_a_training_holds_its_folder_until_it_ends(tmp_path, monkeypatch, ends_with):
    def train(self):
        assert (tmp_path / CLAIM_FILE).is_file()
        if ends_with is not None:
            raise ends_with

    monkeypatch.setattr(Runner, "train", train)
    if ends_with is None:
        _runner(tmp_path).train()
    else:
        with pytest.raises(ends_with):
            _runner(tmp_path).train()
    assert not os.listdir(tmp_path)


def test_runs_of_the_same_second_have_logs_of_their_own(tmp_path):
    assert [log_folder(tmp_path, "20260101_120000") for _ in range(3)] == [
        "20260101_120000",
        "20260101_120000_2",
        "20260101_120000_3",
    ]
    assert len(os.listdir(tmp_path)) == 3


def test_a_second_ablation_is_refused(other, tmp_path, monkeypatch):
    """It is refused even if only a training of the first one still runs."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    run = tmp_path.parent / f"{tmp_path.name}_plan" / "a" / "seed_0"
    run.parent.mkdir(parents=True)
    run.symlink_to(tmp_path)
    variant = SimpleNamespace(name="a", config_for=lambda seed: Config({}))
    launcher = Launcher(
        SimpleNamespace(runs=[(variant, 0)]), run.parents[1], ["cpu"], Path("train.py")
    )
    with pytest.raises(ClaimedError, match=f"^{run}: process {other.pid} on "):
        launcher.run()
    with (
        claim(run.parents[1] / ABLATION, "x"),
        pytest.raises(ClaimedError, match=f"process {os.getpid()} on "),
    ):
        launcher.run()
