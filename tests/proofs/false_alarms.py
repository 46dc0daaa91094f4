"""Do tuned thresholds keep their bound of false alarms in other simulated streets?

    python tests/proofs/false_alarms.py CHECKPOINT FOLDER

Makes two times ten minutes of street (192x128 pixels, labels at 30 Hz) in FOLDER, tunes for 10 and
30 false alarms a minute on the first ten with the tools, and follows the others window by window as
in deployment, 20 windows a second. The simulator tells who is to be seen when a window ends, also
between two labels. Half an hour on two cores; what is there already is kept.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import stats

from etram_mmdet.apis import EventInferencer
from etram_mmdet.apis.inference import load_operating_points
from etram_mmdet.evaluation.breakdown import stream_minutes
from etram_mmdet.evaluation.curves import class_counts
from etram_mmdet.evaluation.matching import match
from etram_mmdet.evaluation.operating_points.points import OperatingPoints
from etram_mmdet.evaluation.results import Boxes, FrameResult
from etram_mmdet.events.labels import BBOX_DTYPE, filter_boxes, small_boxes
from etram_mmdet.simulation.rendering import label_at
from etram_mmdet.simulation.sample import Job
from etram_mmdet.utils.text import table

TOOLS = Path(__file__).parents[2] / "tools"
WIDTH = 192
HEIGHT = 128
BOUNDS = (10, 30)
FIRST_US = (
    33_333  # windows then end at the labelled times of evaluation, and in the middle between them
)


def run(tool: str, *arguments: object) -> None:
    subprocess.run([sys.executable, TOOLS / tool, *map(str, arguments)], check=True)


def make_thresholds(checkpoint: Path, folder: Path, recordings: int, seconds: float) -> list[Path]:
    """From the recordings of ``val``: a file for each of `BOUNDS`."""
    size = ["--width", WIDTH, "--height", HEIGHT, "--seconds", seconds, "--seed", 1]
    run("make_sample.py", folder / "raw", *size, "--recordings", 0, recordings, recordings)
    run("preprocess.py", folder / "raw", folder / "data")
    predictions = folder / "predictions.json"
    if not predictions.exists():
        options = ["--cfg-options", f"data_root={folder / 'data'}/"]
        run("test.py", checkpoint, "--work-dir", folder, "--out", predictions, *options)
    made = [folder / f"false_alarms_{bound}.py" for bound in BOUNDS]
    for bound, path in zip(BOUNDS, made, strict=True):
        run("tune_thresholds.py", predictions, "--false-alarms", bound, "--out", path)
    return made


def windows(inferencer: EventInferencer, job: Job, raw: Path) -> Iterator[FrameResult]:
    """Every window of a recording with what is to be seen when it ends."""
    scene = job.scene()
    for t_us, found in inferencer.stream(job.paths(raw)[0], start_us=FIRST_US):
        labels = np.array(label_at(scene, t_us), BBOX_DTYPE)
        truth, _ = filter_boxes(labels, HEIGHT, WIDTH, is_train=False)
        ignored = small_boxes(labels, HEIGHT, WIDTH)
        yield FrameResult(
            job.name,
            t_us,
            as_boxes(truth),
            found,
            ignored=as_boxes(ignored),
            step_us=inferencer.step_us,
        )


def as_boxes(labels: np.ndarray) -> Boxes:
    corners = np.stack(
        [labels["x"], labels["y"], labels["x"] + labels["w"], labels["y"] + labels["h"]], 1
    )
    return Boxes(corners, labels["class_id"].astype(np.int64))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--recordings", type=int, default=20, help="to tune on, and as many to follow"
    )
    parser.add_argument("--seconds", type=float, default=30, help="length of a recording")
    args = parser.parse_args()
    files = make_thresholds(args.checkpoint, args.folder, args.recordings, args.seconds)
    inferencer = EventInferencer(args.checkpoint, device="cpu", score_thr=0.01)
    jobs = [Job(1, "test", index, WIDTH, HEIGHT, args.seconds) for index in range(args.recordings)]
    stream = [frame for job in jobs for frame in windows(inferencer, job, args.folder / "raw")]
    minutes = stream_minutes(stream)
    rows = [["", "false alarms", "a minute", "95 % interval", "recall"]]
    total = 0.0
    for bound, file in zip(BOUNDS, files, strict=True):
        points = OperatingPoints.from_config(load_operating_points(file), inferencer.classes)
        counts = class_counts(
            match([points.apply(f) for f in stream], [0.5]), len(inferencer.classes), np.zeros(1)
        )
        for name, of_class in zip(inferencer.classes, counts, strict=True):
            alarms = of_class.alarms.item()
            low, high = (
                stats.chi2.ppf(0.025, 2 * alarms) / 2,
                stats.chi2.ppf(0.975, 2 * alarms + 2) / 2,
            )
            interval = f"{np.nan_to_num(low) / minutes:.1f} to {high / minutes:.1f}"
            rows.append(
                [
                    f"{name}, {bound}",
                    alarms,
                    f"{alarms / minutes:.1f}",
                    interval,
                    f"{of_class.recall[0]:.2f}",
                ]
            )
            total += alarms / minutes
    print(f"{len(stream)} windows, {minutes:.2f} minutes\n{table(rows)}")
    print(
        f"all bounds and classes: {total:.1f} a minute, "
        f"{total / len(counts) / sum(BOUNDS):.2f} times the sum of the bounds"
    )


if __name__ == "__main__":
    main()
