"""Where a process of torchrun, Slurm or MPI finds its number and the others."""

from __future__ import annotations

import socket

import pytest
from mmengine.config import Config

from etram_mmdet.engine.runner.launchers import (
    _check_own_gpu,
    first_host,
    place_of,
    start_processes,
)
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.restarts import check_restarts

SLURM = dict(SLURM_PROCID="5", SLURM_NTASKS="8", SLURM_LOCALID="1", SLURM_NODELIST="n[07-08]")
OPEN_MPI = dict(
    OMPI_COMM_WORLD_RANK="1",
    OMPI_COMM_WORLD_SIZE="2",
    OMPI_COMM_WORLD_LOCAL_RANK="1",
    OMPI_COMM_WORLD_LOCAL_SIZE="2",
)
MPICH = dict(PMI_RANK="1", PMI_SIZE="4", MPI_LOCALRANKID="0", MPI_LOCALNRANKS="1")


@pytest.mark.parametrize(
    ("launcher", "env", "expected"),
    [
        ("slurm", dict(SLURM, SLURM_JOB_ID="10012"), ["5", "8", "1", "n07", "20012"]),
        (
            "slurm",
            dict(SLURM, SLURM_STEP_NUM_TASKS="6", MASTER_ADDR="m", MASTER_PORT="7"),
            ["5", "6", "1", "m", "7"],
        ),
        ("mpi", OPEN_MPI, ["1", "2", "1", "127.0.0.1", "29500"]),
        ("mpi", dict(MPICH, MASTER_ADDR="m"), ["1", "4", "0", "m", "29500"]),
    ],
)
def test_launchers_say_the_same_in_other_words(launcher, env, expected):
    names = ["RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"]
    assert place_of(launcher, env) == dict(zip(names, expected, strict=True))


@pytest.mark.parametrize(
    ("launcher", "env", "says"),
    [
        ("slurm", dict(SLURM, SLURM_PROCID=""), "SLURM_PROCID is not set, so this process was not"),
        ("mpi", {}, "OMPI_COMM_WORLD_RANK is not set"),
        ("mpi", MPICH, "4 processes on several machines need the address"),
        ("pytorch", dict(RANK="0", WORLD_SIZE="1"), "MASTER_ADDR is not set"),
    ],
)
def test_a_process_without_a_place_gets_a_sentence(launcher, env, says):
    with pytest.raises(InputError, match=says):
        place_of(launcher, env)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu7", "gpu7"),
        ("gpu[003-007,9],big", "gpu003"),
        ("a,b[1-2]", "a"),
        ("r[1-2]n[04,6].x", "r1n04.x"),
    ],
)
def test_first_machine_of_slurms_list(nodes, first):
    assert first_host(nodes) == first


@pytest.mark.parametrize(
    ("resume", "restarts", "says"),
    [
        (None, "3", "it would begin at step 0; add --resume auto"),
        ("a.pth", "3", "it would begin from a.pth; add --resume auto"),
        ("auto", "3", None),
        (None, "0", None),
    ],
)
def test_a_training_that_would_begin_again_is_refused(resume, restarts, says):
    env = dict(TORCHELASTIC_MAX_RESTARTS=restarts)
    if says is None:
        check_restarts(resume, env)
    else:
        with pytest.raises(InputError, match=says):
            check_restarts(resume, env)


def test_ranks_that_do_not_meet_end_with_a_sentence(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    place = dict(RANK="1", WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    cfg = Config(dict(launcher="pytorch", env_cfg=dict(dist_cfg=dict(timeout=0.2))))
    with pytest.raises(InputError, match=f"rank 1 of 2 cannot join the others at 127.0.0.1:{port}"):
        start_processes(cfg, "cpu")


def test_a_process_without_a_gpu_of_its_own_is_refused():
    _check_own_gpu(0, 1)
    with pytest.raises(InputError, match="process 1 of this machine"):
        _check_own_gpu(1, 1)
