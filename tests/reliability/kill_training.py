"""Kill trainings at random moments, resume them, and compare the end with an undisturbed one.

    python -m tests.reliability.kill_training --count 100 --seed 0

A training is killed several times: at a moment that is chosen (while it loads, in a step, while it
writes a checkpoint, in a validation, while it draws, in the last validation) plus a random delay,
by SIGKILL, SIGTERM, SIGINT or SIGHUP. After every kill it is started again with ``--resume auto``,
until it is done. Then the last checkpoint has to hold the same bytes (weights, optimizer,
schedules, state of the lanes, logged losses), the best one the same weights, and ``results.csv``
and the logged scalars the same rows. This is tried for stream, random and mixed batches, one and
two processes, 0 and 2 loading processes: 12 combinations.

Trainings are forked from a process that has done the imports, and find their moments by their
output and their folder alone: they run the very code of ``tools/train.py``.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

import torch

from etram_mmdet.engine.checkpoints.opening import load_checkpoint_file
from etram_mmdet.events.preprocessing.folder import preprocess_folder
from etram_mmdet.simulation.sample import make_sample
from tests.helpers.cli import ALL_BOXES, CONFIG
from tests.helpers.tool_process import start_session

STEPS = 7
# Validations after the steps 3, 6 and 7, checkpoints after 4 and 7 and those that come with a new
# best one: so some validations are repeated because no checkpoint is of their step.
OPTIONS = (
    f"train_cfg.max_iters={STEPS}",
    "train_cfg.val_interval=3",
    "train_cfg.val_begin=1",
    "default_hooks.checkpoint.interval=4",
    "default_hooks.logger.interval=1",
    "model.backbone.partition_size=(1,3)",
    "train_dataloader.batch_size=2",
    "custom_hooks.1.film=False",
    ALL_BOXES,
)
KILLS_PER_TRAINING = 3
TIMEOUT_S = 240
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
OF_THE_CLOCK = ("time", "data_time", "data_share", "memory", "eta")  # differ between any two runs


class Combination(NamedTuple):
    mode: str
    processes: int
    workers: int

    def __str__(self) -> str:
        plural = "es" if self.processes > 1 else ""
        return f"{self.mode}, {self.processes} process{plural}, {self.workers} workers"


COMBINATIONS = tuple(
    Combination(*each) for each in product(("stream", "random", "mixed"), (1, 2), (0, 2))
)


class Seen(NamedTuple):
    """What is visible of a training from outside.

    That is its output since its start, and new files in its folder.
    """

    output: str
    files: frozenset[str]


def _is_drawing(seen: Seen) -> bool:
    return seen.output.count("coco/AP:") > seen.output.count("results.png")


# Each with the longest random delay that follows, in seconds.
MOMENTS: dict[str, tuple[Callable[[Seen], bool], float]] = {
    "loading": (lambda seen: True, 2.0),
    "step": (lambda seen: "Iter(train)" in seen.output, 0.5),
    "checkpoint": (
        lambda seen: any(".part" in name and ".pth" in name for name in seen.files),
        0.01,
    ),
    "validation": (lambda seen: "Iter(val) [1/" in seen.output, 0.5),
    "pictures": (_is_drawing, 1.0),
    "last validation": (lambda seen: f"Iter(train) [{STEPS}/{STEPS}]" in seen.output, 1.5),
}


def data(folder: Path) -> Path:
    """A small data set: three recordings of two seconds to train, two to validate."""
    make_sample(
        folder / "raw", width=96, height=64, recordings=(3, 2, 1), duration_s=2.0, workers=2
    )
    assert not preprocess_folder(folder / "raw", folder / "data", workers=2).problems
    return folder / "data"


class Training:
    """One run of ``tools/train.py`` in ``folder``, which is started until it is done."""

    def __init__(self, combination: Combination, data_root: Path, folder: Path) -> None:
        self.combination = combination
        self.folder = folder
        mode, _, workers = combination
        self.words = [
            "tools/train.py",
            CONFIG,
            "--work-dir",
            str(folder),
            "--resume",
            "auto",
            "--cfg-options",
        ]
        self.words += [
            f"data_root={data_root}/",
            f"train_dataloader.batch_sampler.mode={mode}",
            *OPTIONS,
        ]
        for loader in ("train_dataloader", "val_dataloader"):
            self.words += [
                f"{loader}.num_workers={workers}",
                f"{loader}.persistent_workers={workers > 0}",
            ]
        self.starts = 0
        self.processes: list = []

    def start(self) -> None:
        self.starts += 1
        self.folder.mkdir(parents=True, exist_ok=True)
        self.before = frozenset(
            os.listdir(self.folder)
        )  # such as halves of checkpoints that a kill left
        env, words = {**os.environ, "OMP_NUM_THREADS": "1"}, self.words
        number = self.combination.processes
        if number > 1:
            words = [*words[:2], "--launcher", "pytorch", *words[2:]]
            env |= dict(
                MASTER_ADDR="127.0.0.1", MASTER_PORT=str(_free_port()), WORLD_SIZE=str(number)
            )
        self.processes = []
        for rank in range(number):
            own = {**env, "RANK": str(rank), "LOCAL_RANK": str(rank)} if number > 1 else env
            self.processes.append(start_session(words, own, self._output(rank)))

    def _output(self, rank: int = 0) -> Path:
        return self.folder.with_name(f"{self.folder.name}_{self.starts}_rank{rank}.log")

    def output(self, rank: int = 0) -> str:
        path = self._output(rank)
        return path.read_text(errors="replace") if path.exists() else ""

    def seen(self) -> Seen:
        return Seen(self.output(), frozenset(os.listdir(self.folder)) - self.before)

    def is_running(self) -> bool:
        return any(process.is_alive() for process in self.processes)

    def wait(self) -> list[int]:
        """Exit statuses of all processes.

        If one has failed, the others are ended, as torchrun does.
        """
        deadline = time.monotonic() + TIMEOUT_S
        while self.is_running():
            if any(process.exitcode for process in self.processes):
                _end_slowly(self.processes)
            if time.monotonic() > deadline:
                self.stop()
                raise TimeoutError(
                    f"{self.folder}: did not end within {TIMEOUT_S} s:\n{self.output()[-2000:]}"
                )
            time.sleep(0.01)
        self.stop()
        return [process.exitcode for process in self.processes]

    def stop(self) -> None:
        """End what is left of it, loading processes included."""
        for process in self.processes:
            if process.is_alive():
                process.kill()
            process.join()
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def kill(self, how: signal.Signals, chance: random.Random) -> None:
        """Send a signal.

        SIGKILL goes to one process, as from the kernel when memory runs out, or to all. Other
        signals go to all.
        """
        targets = list(self.processes)
        chance.shuffle(targets)
        for process in targets[:1] if how is signal.SIGKILL and chance.random() < 0.5 else targets:
            if process.is_alive():
                os.kill(process.pid, how)
            time.sleep(chance.random() * 0.02)


def _end_slowly(processes: list, patience_s: float = 10) -> None:
    """What torchrun does where one process has failed: SIGTERM for the others, later SIGKILL."""
    for process in processes:
        if process.is_alive():
            process.terminate()
    deadline = time.monotonic() + patience_s
    while any(process.is_alive() for process in processes) and time.monotonic() < deadline:
        time.sleep(0.01)
    for process in processes:
        if process.is_alive():
            process.kill()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def killed(training: Training, moment: str, how: signal.Signals, chance: random.Random) -> bool:
    """Start a training and kill it at a moment; returns False if it ended before.

    Raises an error if it fails by itself.
    """
    has_come, delay_s = MOMENTS[moment]
    training.start()
    delay_s *= chance.random()
    while training.is_running() and not has_come(training.seen()):
        time.sleep(0.002)
    end = time.monotonic() + delay_s
    while training.is_running() and time.monotonic() < end:
        time.sleep(0.002)
    was_running = training.is_running()
    if was_running:
        training.kill(how, chance)
    statuses = training.wait()
    if how is not signal.SIGKILL or not was_running:
        for rank in range(training.combination.processes):
            _, found, rest = training.output(rank).partition("Traceback")
            assert not found, f"{how.name} in {moment}, rank {rank}: Traceback{rest[:4000]}"
    if not was_running:
        assert statuses == [0] * len(statuses), (
            f"{moment}: exit {statuses}\n{training.output()[-3000:]}"
        )
    return was_running


def completed(training: Training) -> None:
    """Start a training and let it end."""
    training.start()
    statuses = training.wait()
    assert statuses == [0] * len(statuses), f"exit {statuses}\n{training.output()[-3000:]}"


def result(folder: Path, steps: int = STEPS) -> dict[str, object]:
    """What has to be the same: by name, in plain values and bytes."""
    last = load_checkpoint_file(folder / f"iter_{steps}.pth")
    (best,) = folder.glob("best_*.pth")
    hub = last["message_hub"]
    logged = {
        name: each
        for name, each in hub["log_scalars"].items()
        if name.startswith("train/") and _is_lasting(name)
    }
    parts = {
        key: last.get(key) for key in ("state_dict", "optimizer", "param_schedulers", "own_states")
    }
    parts |= dict(
        best=best.name, best_weights=load_checkpoint_file(best)["state_dict"], logged=logged
    )
    parts |= dict(step=last["meta"]["iter"], best_score=hub["runtime_info"]["best_score"])
    flat = dict(item for name, part in parts.items() for item in _flat(name, part))
    return flat | dict(rows=_rows(folder / "results.csv"), scalars=_scalars(folder))


def _is_lasting(name: str) -> bool:
    return name.split("/")[-1] not in OF_THE_CLOCK


def _flat(place: str, node: object) -> Iterator[tuple[str, object]]:
    if isinstance(node, dict | list | tuple):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _flat(f"{place}.{key}", value)
    elif isinstance(node, torch.Tensor):
        yield place, (tuple(node.shape), node.dtype, node.contiguous().numpy().tobytes())
    else:
        yield place, node


def _rows(path: Path) -> list[dict[str, str]]:
    """Rows of results.csv, without the number of the run.

    It is random, so only that all rows have the same one can be checked.
    """
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row.pop("run") for row in rows}) == 1, f"{path}: rows of several runs"
    return rows


def _scalars(folder: Path) -> dict[int, dict[str, float]]:
    """Logged numbers by step; those of the last start count where a step was done again."""
    by_step: dict[int, dict[str, float]] = {}
    for path in sorted(folder.glob("*/vis_data/scalars.json")):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            by_step.setdefault(row["step"], {}).update(
                {k: v for k, v in row.items() if _is_lasting(k)}
            )
    return by_step


def differences(found: dict, expected: dict) -> list[str]:
    """Names of what is not the same."""
    return [name for name in {**expected, **found} if found.get(name) != expected.get(name)]


class Trial:
    """All kills of one combination; ``counts`` holds how often each signal came at each moment."""

    def __init__(
        self, combination: Combination, data_root: Path, folder: Path, chance: random.Random
    ) -> None:
        self.combination = combination
        self.data_root = data_root
        self.folder = folder
        self.chance = chance
        self.counts: Counter[tuple[str, str]] = Counter()
        self.trainings = 0
        self.faults: list[str] = []

    def run(self, kills: int) -> None:
        undisturbed = Training(self.combination, self.data_root, self.folder / "undisturbed")
        completed(undisturbed)
        expected = result(undisturbed.folder)
        moments = self._moments()
        while self.counts.total() < kills:
            self._training(min(KILLS_PER_TRAINING, kills - self.counts.total()), moments, expected)

    def _training(self, kills: int, moments: Iterator[str], expected: dict) -> None:
        """One training with so many kills, or fewer where it was done before."""
        training = Training(
            self.combination, self.data_root, self.folder / f"killed_{self.trainings}"
        )
        self.trainings += 1
        before = Counter(self.counts)
        try:
            for moment in (next(moments) for _ in range(kills)):
                how = self.chance.choice(SIGNALS)
                if not killed(training, moment, how, self.chance):
                    break
                self.counts[moment, how.name] += 1
            else:
                completed(training)
            wrong = differences(result(training.folder), expected)
        except (AssertionError, TimeoutError, OSError, ValueError) as error:
            wrong = [str(error)]
        finally:
            training.stop()
        if wrong:
            done = ", ".join(
                f"{how} in {moment}" for moment, how in (self.counts - before).elements()
            )
            more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
            self.faults.append(
                f"{self.combination}: after {done}: {', '.join(wrong[:5])}{more} "
                f"({training.folder})"
            )

    def _moments(self) -> Iterator[str]:
        """All of them again and again, in the order of a training, begun at a random one."""
        order = list(MOMENTS)
        number = self.chance.randrange(len(order))
        while True:
            yield order[number % len(order)]
            number += 1


def shares(count: int, parts: int) -> list[int]:
    """``count`` in about equal whole parts."""
    return [count // parts + (number < count % parts) for number in range(parts)]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=100, help="kills in all")
    parser.add_argument("--seed", type=int, default=0, help="of moments, delays and signals")
    parser.add_argument(
        "--keep", type=Path, help="a folder for all runs; default: one that is removed"
    )
    parser.add_argument(
        "--only", nargs=3, metavar=("MODE", "PROCESSES", "WORKERS"), help="one combination"
    )
    args = parser.parse_args()
    chosen = [c for c in COMBINATIONS if not args.only or tuple(map(str, c)) == tuple(args.only)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        data_root = data(folder)
        counts: Counter[tuple[str, str]] = Counter()
        trainings, faults = 0, []
        for number, (combination, kills) in enumerate(
            zip(chosen, shares(args.count, len(chosen)), strict=True)
        ):
            start = time.monotonic()
            chance = random.Random(f"{args.seed} {combination}")
            trial = Trial(combination, data_root, folder / f"runs_{number}", chance)
            trial.run(kills)
            counts += trial.counts
            trainings += trial.trainings
            faults += trial.faults
            told = f"{trial.counts.total()} kills of {trial.trainings} trainings, "
            told += f"{len(trial.faults)} differ"
            print(f"{combination}: {told} ({time.monotonic() - start:.0f} s)", flush=True)
    print(*faults, sep="\n", end="\n" if faults else "")
    for names in (MOMENTS, [each.name for each in SIGNALS]):
        print(
            ", ".join(
                f"{name} {sum(n for key, n in counts.items() if name in key)}" for name in names
            )
        )
    print(
        f"seed {args.seed}: {counts.total()} kills of {trainings} trainings, "
        f"{len(faults)} ended differently"
    )
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
