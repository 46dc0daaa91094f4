"""Options that start several processes or jobs."""

from __future__ import annotations

import argparse
import ast
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmengine.config import Config


def add_launcher(parser: argparse.ArgumentParser) -> None:
    """Add ``--launcher`` for training with several processes; :func:`use_launcher` applies it.

    Args:
        parser: parser of the tool.
    """
    parser.add_argument(
        "--launcher",
        choices=["none", "pytorch", "slurm", "mpi"],
        default="none",
        help="what started the processes of this training: pytorch (torchrun), slurm or mpi "
        "(default: none, one process)",
    )
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)


def use_launcher(cfg: Config, args: argparse.Namespace) -> None:
    """Write the launcher into the config, and this process's number into ``LOCAL_RANK``.

    mmengine reads both there.

    Args:
        cfg: config that is changed.
        args: parsed command line with the options of :func:`add_launcher`.
    """
    cfg.launcher = args.launcher
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))


def add_submitit(parser: argparse.ArgumentParser, what: str) -> None:
    """Add ``--submitit N`` and ``--submitit-options KEY=VALUE ...``; a dict, empty if not given.

    Args:
        parser: parser of the tool.
        what: help of ``--submitit``: what becomes jobs, and what N is.
    """
    parser.add_argument(
        "--submitit",
        type=_positive,
        metavar="N",
        help=f"{what} They are jobs of the library submitit (pip install submitit): an array of "
        "Slurm, or local processes without Slurm. This command waits for them and ends them when "
        "it is stopped (default: no jobs)",
    )
    parser.add_argument(
        "--submitit-options",
        nargs="+",
        type=_key_and_value,
        default=[],
        metavar="KEY=VALUE",
        help="parameters of submitit's AutoExecutor, such as slurm_partition=cpu cpus_per_task=8 "
        "mem_gb=16 gpus_per_node=1 timeout_min=600 (default: timeout_min=1440); cluster=local "
        "starts local processes",
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected at least 1")
    return number


def _key_and_value(word: str) -> tuple[str, object]:
    key, is_pair, text = word.partition("=")
    if not is_pair or not key:
        raise argparse.ArgumentTypeError(f"{word}: expected KEY=VALUE, such as cpus_per_task=8")
    try:
        return key, ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return key, text
