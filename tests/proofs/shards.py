"""Does the work of two shards cost more than that of two unrelated preprocessings?

python tests/proofs/shards.py --rounds 5

Two processes with one worker each preprocess the same recordings in three ways: as two unrelated
runs, each with a half in folders of its own; as --shard 1/2 and 2/2 of one folder; and as two runs
that share one folder by its claims. A fourth way is one process with two workers. The ways take
turns. Each line is the throughput as a share of that of the unrelated runs of the same round, by
the clock and by the processor time; the last line is the median over the rounds, of which at least
90 % are wanted. By the clock this needs two free CPU cores.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from etram_mmdet.simulation.sample import make_sample

ROOT = Path(__file__).parents[2]
LIMIT = 0.9


def make_recordings(folder: Path, count: int, seconds: float) -> None:
    """``whole`` with ``count`` equal recordings, ``half_0`` and ``half_1`` with a half of them."""
    make_sample(folder / "one", width=320, height=180, recordings=(1, 0, 0), duration_s=seconds)
    for number in range(count):
        for part in ("whole", f"half_{number % 2}"):
            target = folder / part / "train"
            target.mkdir(parents=True, exist_ok=True)
            for path in (folder / "one" / "train").iterdir():
                suffix = path.name.rpartition("_")[2]  # td.h5 or bbox.npy
                shutil.copyfile(path, target / f"r{number:02d}_{suffix}")


class Seconds(NamedTuple):
    """From the start of all commands to the end of the last one, and of the processors."""

    clock: float
    processor: float


def processor_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(*commands: list[str]) -> Seconds:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    begin, begin_cpu = time.monotonic(), processor_s()
    tool = [sys.executable, str(ROOT / "tools" / "preprocess.py")]
    processes = [
        subprocess.Popen(
            [*tool, *words], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for words in commands
    ]
    if any([process.wait() for process in processes]):
        raise SystemExit(f"failed: {commands}")
    return Seconds(time.monotonic() - begin, processor_s() - begin_cpu)


def one_round(folder: Path, number: int) -> dict[str, Seconds]:
    """What each way took."""
    out = folder / "out"

    def words(source: str, target: str, *more: str, workers: int = 1) -> list[str]:
        places = [str(folder / source), str(out / target)]
        return [*places, "--keep-implausible", "--workers", str(workers), *more]

    ways = {
        "unrelated": [words("half_0", "a"), words("half_1", "b")],
        "--shard 1/2, 2/2": [words("whole", "c", "--shard", f"{i}/2") for i in (1, 2)],
        "one OUT, claims": [words("whole", "d"), words("whole", "d")],
        "--workers 2": [words("whole", "e", workers=2)],
    }
    names = list(ways)
    seconds = {}
    for name in names[number % 4 :] + names[: number % 4]:
        shutil.rmtree(out, ignore_errors=True)
        seconds[name] = run(*ways[name])
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--recordings", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=6.0, help="length of a recording")
    args = parser.parse_args()
    shares: dict[str, list[Seconds]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_recordings(folder, args.recordings, args.seconds)
        for number in range(args.rounds):
            seconds = one_round(folder, number)
            unrelated = seconds.pop("unrelated")
            for name, value in seconds.items():
                share = Seconds(*(a / b for a, b in zip(unrelated, value, strict=True)))
                shares.setdefault(name, []).append(share)
            told = ", ".join(f"{name} {shown(values[-1])}" for name, values in shares.items())
            print(f"round {number + 1}: unrelated {unrelated.clock:.1f} s; {told}", flush=True)
    medians = {
        name: Seconds(*map(statistics.median, zip(*values, strict=True)))
        for name, values in shares.items()
    }
    print("median: " + ", ".join(f"{name} {shown(value)}" for name, value in medians.items()))
    sys.exit(any(value.clock < LIMIT for value in medians.values()))


def shown(share: Seconds) -> str:
    return f"{share.clock:.0%} ({share.processor:.0%})"


if __name__ == "__main__":
    main()
