"""Ranks of a training that differ, are killed, frozen or wait for each other; real processes."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator

import pytest
import torch
from mmengine.config import Config
from torch import distributed
from torch.utils.data import TensorDataset

from etram_mmdet.engine.runner import rank_watch, same_ranks
from etram_mmdet.engine.runner.launchers import start_processes
from etram_mmdet.engine.runner.rank_watch import leave_ranks, watch_ranks, watched
from etram_mmdet.engine.runner.same_ranks import check_same_data, check_same_start
from etram_mmdet.utils.cli import exit_on_input_error
from tests.helpers.ranks import Ranks

TIMEOUT_S = 2
CFG = dict(launcher="pytorch", env_cfg=dict(dist_cfg=dict(timeout=20), rank_timeout_s=TIMEOUT_S))


@pytest.fixture
def start(tmp_path, monkeypatch) -> Iterator[Callable]:
    """Starts :class:`Ranks`, which tell each other ten times a second that they run."""
    monkeypatch.setattr(rank_watch, "BEAT_S", 0.1)
    monkeypatch.setattr(same_ranks, "HEAR_S", 0.5)
    started = []
    yield lambda work: started.append(Ranks(work, tmp_path)) or started[0]
    started[0].end()


def join(**options: object) -> None:
    cfg = Config(dict(CFG, **options))
    start_processes(cfg, "cpu")
    watch_ranks(cfg)
    distributed.barrier()


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (signal.SIGSTOP, f"gave no sign of life for {TIMEOUT_S} s (env_cfg.rank_timeout_s)"),
        (signal.SIGKILL, "has ended; its own output may say why"),
    ],
)
def test_a_rank_that_stops_ends_the_others_by_name(start, number, says):
    """Meanwhile rank 0 waits for it in a collective operation."""

    def work(rank):
        join()
        print("begun")
        with exit_on_input_error(), watched(lambda: print("released")):
            signal.pause() if rank else distributed.barrier()

    ranks = start(work)
    ranks.wait_for("begun")
    other = ranks.processes[1].pid
    os.kill(other, number)
    status, output = ranks.outcome(0)
    assert status == 1
    assert f"error: rank 1 (process {other} on " in output and says in output
    assert "released" in output and "Traceback" not in output


def test_a_rank_that_works_long_or_has_left_ends_nobody(start):
    def work(rank):
        join()
        with watched():
            time.sleep(TIMEOUT_S + 1 - rank / 2)
            if rank:
                sys.exit(130)
        time.sleep(TIMEOUT_S)
        leave_ranks()
        print("done")

    ranks = start(work)
    assert [ranks.outcome(rank) for rank in range(2)] == [(0, "done\n"), (130, "")]


def test_a_rank_that_hangs_is_told_by_where_it_stands(start):
    def work(rank):
        join(env_cfg=dict(dist_cfg=dict(timeout=1), rank_timeout_s=60))
        with exit_on_input_error(), watched():
            hang() if rank else distributed.barrier()

    ranks = start(work)
    status, output = ranks.outcome(0)
    assert status == 1 and "Traceback" not in output
    assert "all ranks run, but an operation between them failed" in output and "(hang)" in output


def hang() -> None:
    signal.pause()


@pytest.mark.parametrize(
    ("check", "says"),
    [
        (
            lambda rank: check_same_start(
                Config(dict(a=[dict(type="X", batch_size=2 + rank)], data_root=f"/{rank}"))
            ),
            "): config.a.0.batch_size: 3, on rank 0 2\n",
        ),
        (
            lambda rank: check_same_data(dict(train=TensorDataset(torch.zeros(3 - rank)))),
            "): data.train.length: 2, on rank 0 3\n",
        ),
        (
            lambda rank: check_same_start(
                Config(dict(data_root=f"/{rank}", work_dir=f"/{rank}", c=len))
            ),
            "",
        ),
    ],
)
def test_ranks_that_differ_are_refused_by_name(start, check, says):
    """Paths of data may differ between machines; the folder of results differs in a dry run."""

    def work(rank):
        join()
        with exit_on_input_error():
            check(rank)
        time.sleep(0.5)  # neither leaves while the other still reads

    ranks = start(work)
    outcomes = [ranks.outcome(rank) for rank in range(2)]
    assert [status for status, _ in outcomes] == ([1, 1] if says else [0, 0])
    who = f"  rank 1 (process {ranks.processes[1].pid} on "
    assert who in outcomes[0][1] and says in outcomes[0][1] if says else outcomes[0][1] == ""
    assert outcomes[1][1] == ""


def test_ranks_with_other_code_are_refused(start, monkeypatch):
    def work(rank):
        with exit_on_input_error():
            join()
            if rank:
                monkeypatch.setattr("etram_mmdet.engine.runner.same_ranks._COMPARED_PACKAGES", ())
            check_same_start(Config({}))

    ranks = start(work)
    assert f"code.torch: unset, on rank 0 {torch.__version__}" in ranks.outcome(0)[1]
