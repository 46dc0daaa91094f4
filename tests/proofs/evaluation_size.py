"""How do time and memory of an evaluation grow, and are its numbers those of another version?

    python tests/proofs/evaluation_size.py FOLDER [--before CHECKOUT] [--frames 3000 27000]

Makes predictions of made-up frames in FOLDER: 30 recordings, 8 classes, 8 boxes and 100 detections
a frame, of which 10 lie beside a box of their class. Runs tools/evaluate.py on them with one
protocol, with four, and with the same frames in a .npz file, and writes them. The step `validate`
is what a validation during training does with them: it hands them to EventCocoMetric in batches of
8 and asks for its numbers. The step `tune` is tools/tune_thresholds.py. With --before every
step takes turns with another checkout of this repository, and what both print has to be equal.
Prints seconds of wall clock, seconds of the processor, and the largest memory of a process (of
`write` and `validate`: the seconds of that alone and the growth of memory). On a quiet core 27,000
frames take three minutes, and fifteen more in two turns with a version from before 0.3.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from etram_mmdet.evaluation.predictions import save_predictions
from etram_mmdet.evaluation.results import Boxes, FrameResult
from etram_mmdet.utils.text import table

ROOT = Path(__file__).parents[2]
CLASSES = tuple("abcdefgh")
RECORDINGS = 30
BOXES = 8
BESIDE = 10  # detections that lie beside a box
DETECTIONS = 100
HW = (360, 640)
BATCH = 8
STEPS = ("one", "four", "one-npz", "write-json", "write-npz", "validate", "tune")
MEASURED = "measured"  # first word of what a process says of its own step
IN_PROCESS = ("write-json", "write-npz", "validate")  # steps of this script itself
FOUR = ("coco", "prophesee", "prophesee_gen1", "etram_paper")


class Measured(NamedTuple):
    """One run of a process: seconds, seconds of the processor, largest memory, and its output."""

    wall_s: float
    cpu_s: float
    peak_mib: float
    output: str


def made_up(count: int) -> list[FrameResult]:
    return [frame for batch in made_up_in_batches(count) for frame in batch]


def _frame(rng: np.random.Generator, i: int, recording: int) -> FrameResult:
    truth = _boxes(rng, BOXES)
    labels = rng.integers(0, len(CLASSES), BOXES)
    near = rng.integers(0, BOXES, BESIDE)
    sides_px = np.tile(truth[near, 2:] - truth[near, :2], 2)
    beside = truth[near] + rng.normal(0, 0.08, (BESIDE, 4)) * sides_px
    beside[:, 2:] = np.maximum(beside[:, 2:], beside[:, :2] + 1)
    alarms = DETECTIONS - BESIDE
    scores = np.concatenate([rng.beta(2, 2, BESIDE), rng.beta(1, 8, alarms)]).astype(np.float32)
    found = Boxes(
        np.vstack([beside, _boxes(rng, alarms)]).astype(np.float32),
        np.concatenate([labels[near], rng.integers(0, len(CLASSES), alarms)]),
        scores=scores,
        class_scores=np.sqrt(scores),
    )
    name = f"{'day' if recording % 2 else 'night'}_{recording:02}"
    return FrameResult(name, i * 100_000, Boxes(truth.astype(np.float32), labels), found, 2, HW)


def _boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    corners = rng.uniform(0, (HW[1] - 80, HW[0] - 60), (count, 2))
    sides_px = np.exp(rng.uniform(np.log(4), np.log(80), (count, 2)))
    return np.hstack([corners, np.minimum(corners + sides_px, (HW[1] - 1, HW[0] - 1))])


def write(folder: Path, count: int, suffix: str) -> None:
    """Save frames in this process, and print the seconds and the growth of its memory."""
    frames = made_up(count)
    before = _peak_mib()
    start = time.process_time()
    save_predictions(folder / f"written{suffix}", frames, CLASSES, {})
    print(MEASURED, time.process_time() - start, _peak_mib() - before)


def validate(count: int) -> None:
    """Validate frames in this process; prints as `write` does, and then the metrics."""
    import torch

    from etram_mmdet.evaluation.event_coco_metric import EventCocoMetric

    _evaluated(torch, EventCocoMetric(), made_up_in_batches(60))  # numba loads
    metric = EventCocoMetric()
    before = _peak_mib()
    seconds, metrics = _evaluated(torch, metric, made_up_in_batches(count))
    print(MEASURED, seconds, _peak_mib() - before)
    print(*(f"{name} {value!r}" for name, value in metrics.items()), sep="\n")


def made_up_in_batches(count: int) -> Iterator[list[FrameResult]]:
    """The frames of `made_up`, of which only `BATCH` are in memory."""
    rng = np.random.default_rng(count)
    frames = (_frame(rng, i, i * RECORDINGS // count) for i in range(count))
    while batch := list(islice(frames, BATCH)):
        yield batch


def _evaluated(torch, metric, batches: Iterator[list[FrameResult]]) -> tuple[float, dict]:
    """Seconds of the metric alone, and its numbers."""
    metric.dataset_meta = dict(classes=CLASSES)
    seconds = 0.0
    for batch in batches:
        samples = [_sample(torch, frame) for frame in batch]
        start = time.process_time()
        metric.process(None, samples)
        seconds += time.process_time() - start
    start = time.process_time()
    metrics = metric.evaluate(1)
    return seconds + time.process_time() - start, metrics


def _sample(torch, frame: FrameResult) -> dict:
    """A frame as a detector gives it to a metric."""
    columns = ("labels", "scores", "class_scores")
    kinds = dict(gt_instances=frame.truth, pred_instances=frame.found)
    instances = {
        kind: {
            "bboxes": torch.from_numpy(boxes.bboxes_xyxy),
            **{
                name: torch.from_numpy(getattr(boxes, name))
                for name in columns
                if getattr(boxes, name) is not None
            },
        }
        for kind, boxes in kinds.items()
    }
    facts = dict(recording=frame.recording, t_us=frame.t_us, scale=frame.scale, img_shape=frame.hw)
    return instances | facts


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(checkout: Path, script: Path, *arguments: object) -> Measured:
    """Run a script with the package of a checkout."""
    command = [sys.executable, script, *map(str, arguments)]
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        env=os.environ | dict(PYTHONPATH=str(checkout)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(map(str, command))}\n{output}")
    cpu_s = usage.ru_utime + usage.ru_stime
    return Measured(time.perf_counter() - start, cpu_s, usage.ru_maxrss / 1024, output)


def numbers(output: str) -> list[str]:
    """Lines of the tables, without those that a logger adds and those about time and memory."""
    others = (" - mmengine - ", MEASURED)
    return [
        line for line in output.splitlines() if line and not any(word in line for word in others)
    ]


def steps_of(folder: Path, count: int) -> dict[str, tuple]:
    """Script and arguments of each of `STEPS`."""
    json, npz = (folder / f"{count}{suffix}" for suffix in (".json", ".npz"))
    in_process = (Path(__file__), folder, "--frames", count)
    return {
        "one": ("tools/evaluate.py", json),
        "four": ("tools/evaluate.py", json, "--protocols", *FOUR),
        "one-npz": ("tools/evaluate.py", npz),
        "write-json": (*in_process, "--write", ".json"),
        "write-npz": (*in_process, "--write", ".npz"),
        "validate": (*in_process, "--validate"),
        "tune": ("tools/tune_thresholds.py", json),
    }


def measure(args: argparse.Namespace, count: int) -> list[list]:
    for suffix in (".json", ".npz"):
        if not (args.folder / f"{count}{suffix}").exists():
            save_predictions(args.folder / f"{count}{suffix}", made_up(count), CLASSES, {})
    rows = []
    for step in args.steps:
        script, *arguments = steps_of(args.folder, count)[step]
        checkouts = [ROOT] if args.before is None or "npz" in step else [args.before, ROOT]
        turns = [
            [run(checkout, checkout / script, *arguments) for checkout in checkouts]
            for _ in range(args.turns)
        ]
        told = {tuple(numbers(m.output)) for t in turns for m in t}
        if len(told) > 1:
            sys.exit(f"{step}, {count} frames: the numbers differ")
        for checkout, measured in zip(checkouts, zip(*turns, strict=True), strict=True):
            runs = map(_in_process, measured) if step in IN_PROCESS else measured
            wall_s, cpu_s, mib = np.median([m[:3] for m in runs], axis=0)
            version = "now" if checkout == ROOT else "before"
            rows.append([count, step, version, f"{wall_s:.1f}", f"{cpu_s:.1f}", f"{mib:.0f}"])
            print(*rows[-1], flush=True)
    return rows


def _in_process(measured: Measured) -> Measured:
    """What a process says of its own step, without its making of the frames."""
    line = next(line for line in measured.output.splitlines() if line.startswith(MEASURED))
    seconds, mib = map(float, line.split()[1:])
    return Measured(seconds, seconds, mib, "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--frames", type=int, nargs="+", default=[3000, 27_000])
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS)
    parser.add_argument("--write", choices=(".json", ".npz"), help="a step of this script itself")
    parser.add_argument("--validate", action="store_true", help="a step of this script itself")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.write:
        return write(args.folder, args.frames[0], args.write)
    if args.validate:
        return validate(args.frames[0])
    run(ROOT, ROOT / "tools/evaluate.py", _warm(args.folder))  # numba compiles
    if args.before:
        run(args.before, args.before / "tools/evaluate.py", _warm(args.folder))
    rows = [row for count in args.frames for row in measure(args, count)]
    print(table([["frames", "step", "version", "wall s", "processor s", "MiB"], *rows]))


def _warm(folder: Path) -> Path:
    save_predictions(folder / "warm.json", made_up(60), CLASSES, {})
    return folder / "warm.json"


if __name__ == "__main__":
    main()
