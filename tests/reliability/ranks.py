"""Kill or freeze one rank of a training at a random moment.

Does the other one end and name it?

python tests/reliability/ranks.py DATA --count 12 --seed 0

DATA is a preprocessed folder of small frames, such as tests make (48x32 pixels). Two processes
train on the CPU without torchrun, which would end the other one by itself. Rank 0 keeps their
store, so its end is tried as well.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
OPTIONS = (
    "train_cfg.max_iters=100000 train_cfg.val_interval=20 train_cfg.val_begin=1 "
    "default_hooks.checkpoint.interval=20 default_hooks.logger.interval=1 "
    "train_dataloader.num_workers=1 model.backbone.partition_size=(1,3)"
).split()
SIGNALS = (signal.SIGKILL, signal.SIGSTOP)
LONGEST_S = 120


def one_try(
    data: Path, folder: Path, number: signal.Signals, hit: int, rng: random.Random, timeout_s: int
) -> str:
    """What the rank that was left alone did, in a word or two."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ranks = [_start(data, folder, rank, port, timeout_s) for rank in range(2)]
    try:
        _wait_for_steps(folder / "0.log")
        time.sleep(rng.uniform(0, 8))
        ranks[hit].send_signal(number)
        left = ranks[1 - hit]
        left.wait(LONGEST_S)
        output = (folder / f"{1 - hit}.log").read_text()
        is_named = f"error: rank {hit} (process {ranks[hit].pid} on " in output
        return (
            "ended by name"
            if left.returncode == 1 and is_named and "Traceback" not in output
            else "ended otherwise"
        )
    except subprocess.TimeoutExpired:
        return "did not end"
    finally:
        for process in ranks:
            process.kill()
            process.wait()


def _start(data: Path, folder: Path, rank: int, port: int, timeout_s: int) -> subprocess.Popen:
    place = dict(
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), OMP_NUM_THREADS="1", PYTHONPATH=str(ROOT)
    )
    numbers = dict(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
    options = [f"data_root={data}/", f"env_cfg.rank_timeout_s={timeout_s}", *OPTIONS]
    command = [
        sys.executable,
        "tools/train.py",
        "configs/patch2_sizeaware_demo.py",
        "--launcher",
        "pytorch",
    ]
    with (folder / f"{rank}.log").open("w") as log:
        return subprocess.Popen(
            [*command, "--work-dir", str(folder / "run"), "--cfg-options", *options],
            cwd=ROOT,
            env={**os.environ, **place, **numbers},
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _wait_for_steps(log: Path) -> None:
    until = time.monotonic() + LONGEST_S
    while "Iter(train)" not in log.read_text():
        if time.monotonic() > until:
            raise SystemExit(f"no step in {LONGEST_S} s:\n{log.read_text()[-3000:]}")
        time.sleep(0.2)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--count", type=int, default=4, help="tries; signals and ranks take turns")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout", type=int, default=8, help="env_cfg.rank_timeout_s")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    counts = Counter()
    for number in range(args.count):
        which, hit = SIGNALS[number % 2], number // 2 % 2
        with tempfile.TemporaryDirectory() as folder:
            found = one_try(args.data.resolve(), Path(folder), which, hit, rng, args.timeout)
        print(f"{which.name} to rank {hit}: the other {found}", flush=True)
        counts[found] += 1
    print(f"{args.count} tries: " + ", ".join(f"{what} {times}" for what, times in counts.items()))


if __name__ == "__main__":
    main()
