"""Run the tools as their users do."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.helpers.paths import ROOT, THREADS
from tests.helpers.tool_process import run_ranks, run_tool

CONFIG = "configs/patch2_sizeaware_demo.py"
# Two steps on tiny frames. Sizes shrink, the path stays.
SMALL = (
    "train_cfg.max_iters=4",
    "train_cfg.val_interval=2",
    "train_cfg.val_begin=1",
    "default_hooks.checkpoint.interval=2",
    "default_hooks.logger.interval=1",
    "train_dataloader.num_workers=1",
    "model.backbone.partition_size=(1,3)",
)
# What four steps leave of a detector is never sure of anything.
ALL_BOXES = "model.test_cfg.score_thr=0.0"


def run(*command: object, ok: bool = True, timeout: int = 300) -> str:
    """Standard output and error of ``python COMMAND``; fails unless it ends as expected."""
    words, env = list(map(str, command)), {**os.environ, "OMP_NUM_THREADS": THREADS}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "output"
        status = (_run_module if words[0] == "-m" else run_tool)(words, env, path, timeout)
        output = path.read_text()
    assert (status == 0) == ok, output[-3000:]
    assert "Traceback" not in output, output[-3000:]
    return output


def _run_module(words: list[str], env: dict[str, str], output: Path, timeout: float) -> int:
    with output.open("w") as file:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=ROOT,
            env=env,
            stdout=file,
            stderr=subprocess.STDOUT,
            timeout=timeout,
        )
    return done.returncode


def run_together(processes: int, *command: object, timeout: int = 300) -> str:
    """As :func:`run`, of processes that work together as torchrun's do, without its start."""
    words, env = list(map(str, command)), {**os.environ, "OMP_NUM_THREADS": THREADS}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "output"
        status = run_ranks(processes, words, env, path, timeout)
        output = path.read_text()
    assert status == 0, output[-3000:]
    return output


def torchrun(processes: int, *command: object) -> str:
    return run(
        "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", *command
    )
