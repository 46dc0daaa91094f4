"""Every tool that writes, on disks that are full, read-only or gone: what does a person read?

python -m tests.reliability.full_disks [--count N] [--seed S] [--only TOOL ...]

Tries each tool with each fault N times and prints a line for every trial and the counts at the end.
Full and read-only disks are file systems in memory, which only root may mount; others get limits on
the size of files and folders without permission instead.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from etram_mmdet.engine.checkpoints.opening import load_checkpoint_file
from etram_mmdet.events.formats import open_recording
from etram_mmdet.events.preprocessing.folder import preprocess_folder
from etram_mmdet.simulation.sample import make_sample
from tests.helpers.cli import ALL_BOXES, CONFIG, SMALL, run
from tests.helpers.paths import ROOT, THREADS
from tests.helpers.tool_process import run_tool

DISK_BYTES = 64 * 2**20
NOBODY = 65534
TIMEOUT_S = 600
FAULTS = ("full", "too large", "read-only", "no permission", "vanished")
SENTENCE = re.compile(
    r"disk is full|larger than the limit|can only be read|permission denied|does not exist|"
    r"cannot be written|the folder cannot be made|no sequence.json"
)


class Inputs(NamedTuple):
    """What the tools work on."""

    raw: Path
    data: Path
    checkpoint: Path


class Tool(NamedTuple):
    """A command line, and roughly how many bytes it writes.

    {out} in it is the folder that it writes to.
    """

    words: tuple[str, ...]
    writes_bytes: int


_OPTIONS = ("--cfg-options", "data_root={data}/", *SMALL, ALL_BOXES)
_TEST = ("tools/test.py", "{checkpoint}", "--work-dir", "{out}")
_DETECT = ("tools/detect.py", "{checkpoint}", "{recording}", "--score-thr", "0", "--out")
TOOLS = {
    "train": Tool(("tools/train.py", CONFIG, "--work-dir", "{out}", *_OPTIONS), 8_000_000),
    "test --out": Tool((*_TEST, "--out", "{out}/found/all.json"), 1_000_000),
    "test --show-dir": Tool(
        (*_TEST, "--show-dir", "{out}/show", "--show-every", "4", "--show-films"), 1_000_000
    ),
    "detect csv": Tool((*_DETECT, "{out}/a.csv"), 200_000),
    "detect json": Tool((*_DETECT, "{out}/a.json"), 500_000),
    "detect mp4": Tool((*_DETECT, "{out}/a.mp4"), 500_000),
    "live": Tool(
        (
            *("tools/live.py", "{checkpoint}", "{recording}", "--speed", "inf", "--score-thr", "0"),
            *("--out", "{out}/a.csv", "{out}/a.jsonl", "--record", "{out}/a.raw"),
        ),
        1_000_000,
    ),
    "make_sample": Tool(
        (
            *("tools/make_sample.py", "{out}", "--width", "96", "--height", "64"),
            *("--seconds", "1", "--recordings", "1", "1", "1", "--workers", "1"),
        ),
        200_000,
    ),
    "preprocess": Tool(("tools/preprocess.py", "{raw}", "{out}", "--workers", "1"), 400_000),
    "inspect_data": Tool(
        ("tools/inspect_data.py", "{data}", "--out", "{out}", "--no-events"), 100_000
    ),
    "browse_dataset": Tool(
        (
            "tools/browse_dataset.py",
            CONFIG,
            "--out",
            "{out}/a.png",
            "--cfg-options",
            "data_root={data}/",
        ),
        100_000,
    ),
    "compare": Tool(("tools/compare.py", "{run}", "{run}_again", "--out", "{out}"), 60_000),
}


class Result(NamedTuple):
    """What became of a trial: one of `GOOD`, or what is wrong."""

    outcome: str
    output: str


GOOD = (
    "a sentence, exit status 1",
    "finished without some pictures or logs",
    "finished",
    "finished elsewhere",
)


def prepare(folder: Path) -> Inputs:
    """A sample, its sequences and a checkpoint of four steps."""
    raw, data, work = folder / "raw", folder / "data", folder / "run"
    make_sample(raw, width=96, height=64, recordings=(3, 2, 2), duration_s=2.0, workers=2)
    preprocess_folder(raw, data, workers=2)
    run(
        "tools/train.py", CONFIG, "--work-dir", work, *(word.format(data=data) for word in _OPTIONS)
    )
    shutil.copytree(work, f"{work}_again")
    return Inputs(raw, data, work / "iter_4.pth")


def trial(name: str, fault: str, inputs: Inputs, folder: Path, share: float) -> Result:
    """Run a tool once while a fault happens to its output.

    Args:
        name: one of `TOOLS`.
        fault: one of :func:`faults`.
        inputs: what the tool works on.
        folder: an empty one for this trial.
        share: share of what the tool writes, until the disk is full; share of two seconds, until
            the folder vanishes.
    """
    words, writes_bytes = TOOLS[name]
    room = int(writes_bytes * share)
    with _disk(fault, folder, room) as out:
        values = inputs._asdict() | dict(
            out=out, run=inputs.checkpoint.parent, recording=_recording(inputs.raw)
        )
        words = [word.format(**values) for word in words]
        size = str(max(room, 1)) if fault == "too large" else "-"
        user = str(NOBODY) if fault == "no permission" and os.getuid() == 0 else "-"
        words = [
            str(ROOT / "tests/reliability/limited.py"),
            size,
            user,
            str(ROOT / words[0]),
            *words[1:],
        ]
        stop = threading.Event()
        remover = threading.Thread(target=_remove, args=(out, 2 * share, stop))
        if fault == "vanished":
            remover.start()
        log = folder.with_name(f"{folder.name}.log")
        status = run_tool(words, {**os.environ, "OMP_NUM_THREADS": THREADS}, log, TIMEOUT_S)
        stop.set()
        if fault == "vanished":
            remover.join()
        return Result(_judged(status, log.read_text(), out), log.read_text())


def _recording(raw: Path) -> Path:
    return next(iter(sorted(raw.glob("val/*_td.h5"))))


def _judged(status: int, output: str, out: Path) -> str:
    if "Traceback" in output or "Logging error" in output:
        return "TRACEBACK"
    if status not in (0, 1):
        return f"EXIT STATUS {status}"
    for checkpoint in out.glob("*.pth"):
        with suppress(FileNotFoundError):
            load_checkpoint_file(checkpoint)
    for recording in out.glob("*.raw"):
        with open_recording(recording) as opened:
            if any(opened.dropped.values()) or not len(opened.read(0, opened.t_last_us).t):
                return "BROKEN RECORDING"
    left = [
        path.name for path in out.rglob("*") if ".part" in path.name or path.name.endswith(".tmp")
    ]
    if left:
        return f"LEFT {left[0]}"
    if status == 0:
        return "finished without some pictures or logs" if SENTENCE.search(output) else "finished"
    return "a sentence, exit status 1" if SENTENCE.search(output) else "NO SENTENCE"


@contextmanager
def _disk(fault: str, folder: Path, room: int) -> Iterator[Path]:
    """A folder to write to in which ``fault`` happens."""
    out = folder / "out"
    if fault not in ("full", "read-only"):
        out.mkdir()
        if fault == "no permission":
            out.chmod(0o555)
        yield out if fault != "vanished" else out / "work"
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", folder], check=True)
    try:
        out.mkdir()
        with (folder / "filler").open("wb") as file:
            if fault == "full":
                file.write(bytes(max(0, shutil.disk_usage(folder).free - room)))
        if fault == "read-only":
            subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        yield out
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def _remove(out: Path, delay_s: float, stop: threading.Event) -> None:
    """Remove ``out`` some time after something appears in it."""
    while not stop.is_set() and not out.exists():
        time.sleep(0.01)
    stop.wait(delay_s)
    shutil.rmtree(out, ignore_errors=True)


def faults() -> list[str]:
    """Those that this machine and user can have."""
    with tempfile.TemporaryDirectory() as folder:
        mounted = (
            subprocess.run(["mount", "-t", "tmpfs", "none", folder], capture_output=True).returncode
            == 0
        )
        if mounted:
            subprocess.run(["umount", folder], check=True)
    return [fault for fault in FAULTS if mounted or fault not in ("full", "read-only")]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=TOOLS, default=list(TOOLS))
    args = parser.parse_args()
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        inputs = prepare(Path(name))
        for number in range(args.count):
            for tool in args.only:
                for fault in faults():
                    folder = Path(name, f"{number} {tool} {fault}".replace(" ", "_"))
                    folder.mkdir()
                    rng = random.Random(f"{args.seed} {number} {tool} {fault}")
                    result = trial(
                        tool, fault, inputs, folder, rng.choice((0, 1)) * rng.random() ** 2
                    )
                    counts[result.outcome] += 1
                    print(f"{tool}, {fault}: {result.outcome}", flush=True)
                    if result.outcome not in GOOD:
                        print(result.output[-3000:])
    wrong = sum(number for outcome, number in counts.items() if outcome not in GOOD)
    print(
        f"{sum(counts.values())} trials, {wrong} wrong: "
        + ", ".join(f"{number} {outcome}" for outcome, number in counts.most_common())
    )
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
