"""Join the processes (ranks) of one run, which torchrun, Slurm's srun or mpirun has started.

Each launcher tells a process its number in environment variables of its own. They are translated
into torchrun's, which PyTorch and mmengine read: RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and
MASTER_PORT.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import timedelta

import torch
from mmengine.config import Config
from mmengine.dist import init_dist, is_distributed
from torch.distributed import PrefixStore, TCPStore, init_process_group
from torch.distributed.constants import default_pg_timeout

from etram_mmdet.utils.errors import InputError, PassingError
from etram_mmdet.utils.text import first_line

_PORT = 29500  # PyTorch's default
_SLURM_PORTS = range(20_000, 30_000)  # below the ports that Linux gives to outgoing connections
# number, number of all, number on this machine, number on this machine of all
_MPI = (
    "OMPI_COMM_WORLD_RANK OMPI_COMM_WORLD_SIZE OMPI_COMM_WORLD_LOCAL_RANK "
    "OMPI_COMM_WORLD_LOCAL_SIZE".split(),
    "PMI_RANK PMI_SIZE MPI_LOCALRANKID MPI_LOCALNRANKS".split(),
)
_STARTED_BY = dict(
    pytorch="torchrun (tools/dist_train.sh)",
    slurm="srun (tools/slurm_train.sh)",
    mpi="mpirun of Open MPI, MPICH or Intel MPI",
)


def place_of(launcher: str, env: Mapping[str, str]) -> dict[str, str]:
    """Number and meeting place of this process, as torchrun's variables.

    Args:
        launcher: ``pytorch``, ``slurm`` or ``mpi``.
        env: environment of this process.

    Raises:
        InputError: the process was not started by this launcher, or no meeting place is known.
    """
    if launcher == "slurm":
        _need(launcher, env, "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID")
        return _of_slurm(env)
    if launcher == "mpi":
        names = next((names for names in _MPI if names[0] in env), _MPI[0])
        _need(launcher, env, *names[:3])
        return _of_mpi([env.get(name) for name in names], env)
    names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    _need(launcher, env, *names)
    return {name: env[name] for name in names}


def _need(launcher: str, env: Mapping[str, str], *names: str) -> None:
    missing = [name for name in names if not env.get(name)]
    if missing:
        raise InputError(
            f"--launcher {launcher}: the environment variable {missing[0]} is not set, so this "
            f"process was not started by {_STARTED_BY[launcher]}; start it so, or leave --launcher "
            "out for one process"
        )


def _of_slurm(env: Mapping[str, str]) -> dict[str, str]:
    nodes = env.get("SLURM_STEP_NODELIST") or env.get("SLURM_NODELIST") or "localhost"
    # steps of a job seldom run side by side, jobs often
    job = int(env.get("SLURM_JOB_ID", 0)) + 1009 * int(env.get("SLURM_STEP_ID", 0))
    return dict(
        RANK=env["SLURM_PROCID"],
        WORLD_SIZE=env.get("SLURM_STEP_NUM_TASKS") or env["SLURM_NTASKS"],
        LOCAL_RANK=env["SLURM_LOCALID"],
        MASTER_ADDR=env.get("MASTER_ADDR") or first_host(nodes),
        # of each job another, since two jobs may share a machine
        MASTER_PORT=env.get("MASTER_PORT") or str(_SLURM_PORTS[job % len(_SLURM_PORTS)]),
    )


def _of_mpi(numbers: list[str | None], env: Mapping[str, str]) -> dict[str, str]:
    rank, ranks, local_rank, local_ranks = numbers
    address = env.get("MASTER_ADDR") or ("127.0.0.1" if local_ranks == ranks else None)
    if address is None:
        raise InputError(
            f"--launcher mpi: {ranks} processes on several machines need the address of the first "
            "one in MASTER_ADDR; with Open MPI: mpirun -x MASTER_ADDR=HOST"
        )
    return dict(
        RANK=rank,
        WORLD_SIZE=ranks,
        LOCAL_RANK=local_rank,
        MASTER_ADDR=address,
        MASTER_PORT=env.get("MASTER_PORT") or str(_PORT),
    )


def first_host(nodes: str) -> str:
    """First machine of a list in Slurm's form: ``gpu[003-007,9],big`` gives ``gpu003``.

    Args:
        nodes: the list, as in ``SLURM_NODELIST``.
    """
    return re.sub(r"\[(\d+)[^\]]*\]", r"\1", nodes).split(",")[0]


def start_processes(cfg: Config, device: str) -> None:
    """Join the other processes of a launcher.

    Args:
        cfg: a config; one without ``launcher`` starts nothing.
        device: ``cpu`` or ``cuda``.

    Raises:
        InputError: the process was not started by that launcher, or has no GPU of its own.
        PassingError: it cannot reach the others.
    """
    launcher = cfg.get("launcher", "none")
    if launcher == "none" or is_distributed():
        return
    os.environ.update(place_of(launcher, os.environ))
    if device == "cuda":
        _check_own_gpu(int(os.environ["LOCAL_RANK"]), torch.cuda.device_count())
    options = {k: v for k, v in cfg.env_cfg.dist_cfg.items() if k != "port"}
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    try:
        options |= dict(store=_store(rank, ranks, options), rank=rank, world_size=ranks)
        if device == "cpu":
            seconds = options.get("timeout")
            init_process_group(
                "gloo",
                timeout=timedelta(seconds=seconds) if seconds else None,
                **{key: options[key] for key in ("store", "rank", "world_size")},
            )
        else:
            init_dist("pytorch", **options)
    except (RuntimeError, ValueError) as error:  # a port that is no number
        raise PassingError(
            f"rank {rank} of {ranks} cannot join the others at {os.environ['MASTER_ADDR']}:"
            f"{os.environ['MASTER_PORT']} ({first_line(error):.200}). Check that all "
            "ranks were started, that this address is the machine of rank 0 and the port is free "
            "there (MASTER_ADDR, MASTER_PORT), and that gloo and NCCL use the right network "
            "(GLOO_SOCKET_IFNAME, NCCL_SOCKET_IFNAME)"
        ) from error


def _store(rank: int, ranks: int, options: Mapping) -> PrefixStore:
    """Where the ranks find each other.

    Ranks that torchrun starts again must not find the addresses of the ended ones, which PyTorch
    leaves in the same place.
    """
    seconds = options.get("timeout")
    store = TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        ranks,
        is_master=rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True",
        timeout=timedelta(seconds=seconds) if seconds else default_pg_timeout,
        multi_tenant=True,
    )
    return PrefixStore(f"attempt_{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)


def _check_own_gpu(local_rank: int, gpus: int) -> None:
    if local_rank >= gpus:
        raise InputError(
            f"process {local_rank} of this machine (counted from 0) has no GPU of its own, since "
            f"{gpus} are visible; start at most {gpus} processes here, and with Slurm ask for the "
            "GPUs of a node (--gres=gpu:N) instead of one for each task"
        )
