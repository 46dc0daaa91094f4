"""Run the tools as their users do."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.paths import ROOT

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
    words = [sys.executable, *map(str, command)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout)
    output = done.stdout + done.stderr
    assert (done.returncode == 0) == ok, output[-3000:]
    assert "Traceback" not in output, output[-3000:]
    return output


def torchrun(processes: int, *command: object) -> str:
    return run("-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", *command)
