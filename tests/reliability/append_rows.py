"""Many processes append to one results.csv, some of them are killed: is every row there?

python tests/reliability/append_rows.py --processes 8 --rows 40 --kills 20 --count 5

A row counts as told once its call has returned. The last line says how many of them are lost.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from multiprocessing import Process
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # called as a script
from etram_mmdet.evaluation.results_table import append_row

_FORK = multiprocessing.get_context("fork")  # starts at once
_GO = "go"
ROW_S = 0.002  # a row takes longer, so all kills come before the work is done


@dataclass
class Outcome:
    """Counts of one trial.

    Attributes:
        told: rows whose appending had returned.
        lost: rows among them that are missing.
        damaged: rows that are repeated or cut off.
        killed: processes that were killed.
    """

    told: int = 0
    lost: int = 0
    damaged: int = 0
    killed: int = 0

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(*(getattr(self, name) + getattr(other, name) for name in vars(self)))

    def __str__(self) -> str:
        rows = f"rows told {self.told}, lost {self.lost}, damaged {self.damaged}"
        return f"{rows}; processes killed {self.killed}"


def append_at_once(
    folder: Path, processes: int, rows: int, kills: int, rng: random.Random
) -> Outcome:
    """Let ``processes`` append ``rows`` rows each to one table in ``folder``.

    ``kills`` of them are killed in the middle of it.
    """
    table = folder / "results.csv"
    running = [_start(table, folder, str(number), rows) for number in range(processes)]
    (folder / _GO).touch()  # all at once; a lock would stay locked where its holder is killed
    killed = 0
    while killed < kills and any(process.is_alive() for process in running):
        time.sleep(rng.uniform(0, 2 * processes * rows * ROW_S / kills))
        number = rng.choice(
            [number for number, each in enumerate(running) if each.is_alive()] or [0]
        )
        if running[number].is_alive():
            os.kill(running[number].pid, signal.SIGKILL)
            running[number].join()
            killed += 1
            running[number] = _start(table, folder, f"{number}_{killed}", rows)
    for process in running:
        process.join()
    told = [line for path in folder.glob("*.told") for line in path.read_text().splitlines()]
    with table.open(newline="") as file:
        found = list(csv.DictReader(file))
    times = Counter(row["id"] for row in found)
    damaged = sum(None in row or None in row.values() for row in found) + sum(
        n - 1 for n in times.values()
    )
    return Outcome(len(told), sum(each not in times for each in told), damaged, killed)


def _start(table: Path, folder: Path, name: str, rows: int) -> Process:
    process = _FORK.Process(target=_append, args=(table, folder / f"{name}.told", name, rows))
    process.start()
    return process


def _append(table: Path, told: Path, name: str, rows: int) -> None:
    """Every process has a column of its own, as evaluations with other metrics do."""
    while not (table.parent / _GO).exists():
        time.sleep(0.001)
    with told.open("a") as file:
        for row in range(rows):
            append_row(table, {"id": f"{name}-{row}", f"column_{name}": row})
            file.write(f"{name}-{row}\n")
            file.flush()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--rows", type=int, default=40, help="of each process")
    parser.add_argument(
        "--kills", type=int, default=0, help="processes killed in each try; others take their place"
    )
    parser.add_argument("--count", type=int, default=1, help="tries")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    total = Outcome()
    for _ in range(args.count):
        with tempfile.TemporaryDirectory() as folder:
            total += append_at_once(Path(folder), args.processes, args.rows, args.kills, rng)
    print(total)


if __name__ == "__main__":
    main()
