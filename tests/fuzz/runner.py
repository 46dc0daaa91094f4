"""Damage files of every kind many times and see that each ends in a sentence, or is read.

Each file is read in a process of its own kind: a child that reads one file after the other, with
limits on memory and on time, so that a crash, a hang or a full memory is seen, counted and
survived.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from etram_mmdet.utils.errors import InputError
from tests.fuzz.kinds import KINDS, Kind
from tests.fuzz.mutations import mutate

MOST_BYTES = 2 << 30
MOST_S = 5
_HANGS_S = 60  # of the clock, for what waits instead of computing
_SHOWN = 3  # failures of a kind


@dataclass
class Result:
    """What became of the files of one kind; ``failures`` by the number of the file."""

    kind: str
    outcomes: Counter = field(default_factory=Counter)
    most_bytes: int = 0
    most_s: float = 0.0
    failures: dict[int, str] = field(default_factory=dict)

    def row(self) -> str:
        counts = [sum(self.outcomes.values()), *(self.outcomes[name] for name in _OUTCOMES)]
        numbers = " ".join(f"{count:>10}" for count in counts)
        return f"{self.kind:<22} {numbers} {self.most_bytes >> 20:>7} MiB {self.most_s:>6.2f} s"


_OUTCOMES = ("read", "refused", "traceback", "killed", "slow")
HEADER = f"{'kind':<22} " + " ".join(f"{name:>10}" for name in ("tries", *_OUTCOMES))
HEADER += f" {'most memory':>11} {'longest':>8}"


def fuzz(kind: Kind, count: int, seed: int, folder: Path) -> Result:
    """Read ``count`` damaged files of a kind below ``folder``."""
    path = kind.make(folder)
    valid = path.read_bytes()
    for read in kind.readers:  # compiles what has to be compiled, and proves that the file is valid
        read(path)
    result = Result(kind.name)
    start = 0
    while start < count:
        start = _run_child(kind, path, valid, range(start, count), seed, result)
    return result


def damaged(kind: Kind, valid: bytes, suffix: str, number: int, seed: int) -> bytes:
    """The file of this number."""
    random = np.random.default_rng([seed, zlib.crc32(kind.name.encode()), number])
    return mutate(valid, suffix, random)


def _run_child(
    kind: Kind, path: Path, valid: bytes, numbers: range, seed: int, result: Result
) -> int:
    """Let a child read files until all are read or it ends; returns the number to go on with."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        with os.fdopen(write_end, "w", buffering=1) as report:
            _read_all(kind, path, valid, numbers, seed, report)
        os._exit(0)
    os.close(write_end)
    current = numbers.start
    with os.fdopen(read_end) as report:
        for line in report:
            current, outcome, size, seconds, text = json.loads(line)
            if outcome:
                _count(result, current, outcome, size, seconds, text)
                current += 1
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        which = os.WTERMSIG(status)
        outcome = "slow" if which in (signal.SIGXCPU, signal.SIGALRM) else "killed"
        _count(result, current, outcome, 0, 0.0, signal.Signals(which).name)
        current += 1
    elif os.WEXITSTATUS(status):
        _count(result, current, "killed", 0, 0.0, f"exit status {os.WEXITSTATUS(status)}")
        current += 1
    return current


def _count(result: Result, number: int, outcome: str, size: int, seconds: float, text: str) -> None:
    result.outcomes[outcome] += 1
    result.most_bytes = max(result.most_bytes, size)
    result.most_s = max(result.most_s, seconds)
    if outcome not in ("read", "refused"):
        result.failures[number] = f"{outcome}: {text}"


def _read_all(kind: Kind, path: Path, valid: bytes, numbers: range, seed: int, report) -> None:
    warnings.simplefilter("ignore")
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    address_space = _status_bytes("VmSize") + MOST_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in numbers:
        content = damaged(kind, valid, path.suffix, number, seed)
        path.write_bytes(content)
        report.write(json.dumps([number, "", 0, 0, ""]) + "\n")
        report.write(json.dumps([number, *_watched(kind, path)]) + "\n")


def _watched(kind: Kind, path: Path) -> tuple[str, int, float, str]:
    """Outcome, memory, seconds and text of one file."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, start = _status_bytes("VmRSS"), time.process_time()
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(start) + MOST_S + 2, hard))
    signal.alarm(_HANGS_S)
    outcome, text = read_with(kind, path)
    signal.alarm(0)
    seconds = time.process_time() - start
    if seconds > MOST_S:
        outcome, text = "slow", f"{seconds:.1f} s"
    size = _status_bytes("VmHWM") - before
    return outcome, size, seconds, text


def read_with(kind: Kind, path: Path) -> tuple[str, str]:
    """``read``, ``refused`` (by any of the readers), ``traceback`` or ``killed``, and why."""
    outcome = "read", ""
    for read in kind.readers:
        try:
            read(path)
        except InputError as error:
            if _lacked_memory(error):
                return "killed", f"out of memory, {error}"
            outcome = "refused", str(error)
            str(error).encode()  # half a character could not be printed
        except MemoryError as error:
            return "killed", f"out of memory, {error}"
        except Exception as error:
            return "traceback", f"{error!r:.200} {traceback.extract_tb(error.__traceback__)[-1]}"
    return outcome


def _lacked_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return False


def _status_bytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) << 10


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=5000, help="damaged files of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=[*KINDS], default=[*KINDS], metavar="KIND")
    parser.add_argument(
        "--only", type=int, help="read the one file of this number and show what happens"
    )
    args = parser.parse_args()
    print(HEADER)
    total = Result("all")
    for name in args.kinds:
        with tempfile.TemporaryDirectory() as folder:
            if args.only is not None:
                return show(KINDS[name], args.only, args.seed, Path(folder))
            result = fuzz(KINDS[name], args.count, args.seed, Path(folder))
        print(result.row(), flush=True)
        for number, text in list(result.failures.items())[:_SHOWN]:
            print(
                f"    {text:.300}\n    python -m tests.fuzz --kinds '{name}' --seed {args.seed} "
                f"--only {number}"
            )
        total.outcomes += result.outcomes
        total.most_bytes = max(total.most_bytes, result.most_bytes)
        total.most_s = max(total.most_s, result.most_s)
    print(total.row())
    return 1 if total.outcomes.keys() & {"traceback", "killed", "slow"} else 0


def show(kind: Kind, number: int, seed: int, folder: Path) -> int:
    """Read one file without any protection; it stays for a look."""
    path = kind.make(folder)
    content = damaged(kind, path.read_bytes(), path.suffix, number, seed)
    path.write_bytes(content)
    kept = Path(tempfile.gettempdir()) / f"fuzz_{number}{path.suffix}"
    shutil.copy(path, kept)
    print(f"{kept}: {len(content)} bytes")
    for read in kind.readers:
        try:
            read(path)
            print(f"{read.__name__}: read")
        except InputError as error:
            print(f"{read.__name__}: refused: {error}")
    return 0
