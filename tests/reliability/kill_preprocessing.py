"""Preprocess a folder with many processes and kill them at random.

The bytes must be those of one undisturbed run.

    python -m tests.reliability.kill_preprocessing --count 200 --seed 0
    python -m tests.reliability.kill_preprocessing --stop --count 200 --seed 0

The second line asks single runs to stop, as Ctrl-C and schedulers do, and also measures how long
they take.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from functools import partial
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

from etram_mmdet.events.preprocessing.folder import preprocess_folder
from etram_mmdet.utils import claims
from etram_mmdet.utils.interruption import stop_once
from tests.helpers.raw import write_recording
from tests.helpers.street import make_street

MOST_S = 60.0  # that anything may take here, however busy the machine is
WORKER_DIED = 3  # exit status of a run that says so of a worker, and of nothing else


class Signal(NamedTuple):
    """A signal, how often it is sent, and to whom.

    That is the main process, one of its workers, or the group, as a terminal does.
    """

    number: signal.Signals
    to: str
    times: int = 1


KILLS = tuple(Signal(signal.SIGKILL, to) for to in ("main", "group", "worker"))
STOPS = (
    Signal(signal.SIGINT, "group"),
    Signal(signal.SIGINT, "group", 2),
    Signal(signal.SIGINT, "main"),
    Signal(signal.SIGINT, "main", 2),
    Signal(signal.SIGTERM, "group"),
    Signal(signal.SIGTERM, "main"),
    Signal(signal.SIGTERM, "main", 2),
    Signal(signal.SIGHUP, "group"),
)


def make_raw(root: Path, recordings: int = 40, seconds: float = 2.0) -> Path:
    """Some recordings in three splits."""
    for index in range(recordings):
        split = ("train", "train", "val", "test")[index % 4]
        write_recording(root / split, f"{split}_{index}", *make_street(seconds=seconds, seed=index))
    return root


def expire_soon() -> None:
    """Make claims expire within seconds, in this process and those that it starts."""
    claims.BEAT_S, claims.STALE_S = 0.3, 4.0


def contents(out: Path) -> dict[str, bytes]:
    """All files, hidden ones too."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def hidden(out: Path) -> list[str]:
    """Claims and unfinished work."""
    return [str(path.relative_to(out)) for path in out.glob("*/.*")]


def start(raw: Path, out: Path, workers: int, overwrite: bool = False) -> BaseProcess:
    """A run in a process group of its own."""
    process = get_context("fork").Process(target=_run, args=(raw, out, workers, overwrite))
    process.start()
    return process


def heed_interrupts() -> None:
    """As in a terminal; what a script starts in the background ignores Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _run(raw: Path, out: Path, workers: int, overwrite: bool) -> None:
    os.setpgid(0, 0)
    heed_interrupts()
    try:
        with stop_once():
            problems = preprocess_folder(raw, out, workers=workers, overwrite=overwrite).problems
    except KeyboardInterrupt as error:
        sys.exit(error.exit_status)
    if all("a worker process was killed" in problem for problem in problems):
        sys.exit(WORKER_DIED if problems else 0)
    print(*problems, sep="\n", file=sys.stderr)
    sys.exit(1)


def send(process: BaseProcess, what: Signal, rng: random.Random) -> None:
    """Send it, if there is somebody to get it."""
    for _ in range(what.times):
        with suppress(ProcessLookupError):
            if what.to == "group":
                os.killpg(process.pid, what.number)
            else:
                workers = children(process.pid) if what.to == "worker" else []
                os.kill(rng.choice(workers or [process.pid]), what.number)
        time.sleep(rng.uniform(0, 0.05))


def children(pid: int) -> list[int]:
    try:
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    except OSError:
        return []


def is_alone(group: int) -> bool:
    """Whether a process group has ended.

    Waits, because workers end after they notice the end of their parent.
    """
    until = time.monotonic() + MOST_S
    while time.monotonic() < until:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


def kill_together(
    raw: Path, out: Path, expected: dict, rng: random.Random, processes: int, kills: int
) -> Counter:
    """Make one folder with ``processes`` runs, and kill and restart ``kills`` of them.

    It must end with the same bytes. Now and then a run is frozen instead, for longer than its
    claims hold, and continues when others have taken over its work.
    """
    counts = Counter()
    overwrite = rng.random() < 0.25
    if overwrite:
        preprocess_folder(raw, out)
    running = [start(raw, out, rng.randrange(4), overwrite) for _ in range(processes)]
    frozen = []
    while counts["kills"] < kills and any(process.is_alive() for process in running):
        time.sleep(rng.uniform(0, 0.15))
        index = rng.randrange(processes)
        victim = running[index]
        if not victim.is_alive():
            continue
        if rng.random() < 0.1:
            send(victim, Signal(signal.SIGSTOP, "group"), rng)
            frozen.append(victim)
        else:
            send(victim, rng.choice(KILLS), rng)
            victim.join(MOST_S)
            assert is_alone(victim.pid), "workers outlived their main process"
            counts += Counter({"kills": 1, f"exit {victim.exitcode}": 1})
        running[index] = start(raw, out, rng.randrange(4))
    if frozen:
        time.sleep(1.5 * claims.STALE_S)
    for victim in frozen:
        send(victim, Signal(signal.SIGCONT, "group"), rng)
    for process in running + frozen:
        process.join(MOST_S)
        assert process.exitcode == 0, f"an undisturbed run ended with {process.exitcode}"
    assert contents(out) == expected, (
        f"other bytes or files: {contents(out).keys() ^ expected.keys()}"
    )
    shutil.rmtree(out)
    return counts + Counter(
        folders=1, frozen=len(frozen), runs=len(running) + len(frozen) + counts["kills"]
    )


def stop_alone(raw: Path, out: Path, expected: dict, rng: random.Random, what: Signal) -> Counter:
    """Stop one run at a random moment and start it again.

    It must leave nothing unfinished, and end with the same bytes.
    """
    process = start(raw, out, rng.randrange(4))
    while not out.exists():  # until then it has nothing to leave
        time.sleep(0.001)
    time.sleep(rng.uniform(0, 0.6))
    began = time.monotonic()
    send(process, what, rng)
    process.join(MOST_S)
    seconds = time.monotonic() - began
    assert process.exitcode in (0, 128 + what.number), f"ended with {process.exitcode} after {what}"
    assert is_alone(process.pid), "workers outlived their main process"
    assert hidden(out) == [], "unfinished work is left"
    made = contents(out)
    assert made == {path: expected[path] for path in made}
    summary = preprocess_folder(raw, out, workers=2)
    assert not summary.problems and contents(out) == expected
    shutil.rmtree(out)
    return Counter(
        {f"{what.number.name} to {what.to} x{what.times}: exit {process.exitcode}": 1, "s": seconds}
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=200, help="kills, or stops")
    parser.add_argument("--processes", type=int, help="runs at a time (default: 2 to 8 by turns)")
    parser.add_argument(
        "--stop", action="store_true", help="stop single runs instead of killing several"
    )
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    expire_soon()
    with tempfile.TemporaryDirectory() as root:
        raw, out = make_raw(Path(root) / "raw"), Path(root) / "out"
        preprocess_folder(raw, Path(root) / "alone")
        expected = contents(Path(root) / "alone")
        attempt = stop if args.stop else partial(kill, processes=args.processes)
        print(attempt(raw, out, expected, rng, args.count))


def stop(raw: Path, out: Path, expected: dict, rng: random.Random, count: int) -> str:
    counts = Counter()
    longest = 0.0
    for index in range(count):
        found = stop_alone(raw, out, expected, rng, STOPS[index % len(STOPS)])
        longest = max(longest, found.pop("s"))
        counts += found
        print(dict(counts), flush=True)
    return f"{count} runs stopped, the longest took {longest:.1f} s to end, 0 faults"


def kill(
    raw: Path,
    out: Path,
    expected: dict,
    rng: random.Random,
    count: int,
    processes: int | None = None,
) -> str:
    counts = Counter()
    while counts["kills"] < count:
        together = processes or 2 + counts["folders"] % 7
        counts += kill_together(raw, out, expected, rng, together, min(20, count - counts["kills"]))
        print(f"{together} processes; {dict(counts)}", flush=True)
    done = f"{counts['kills']} kills and {counts['frozen']} standstills"
    return f"{done} of {counts['runs']} runs over {counts['folders']} folders, 0 faults"


if __name__ == "__main__":
    main()
