"""Detect in a recording: python tools/detect.py CHECKPOINT RECORDING --out video.mp4|detections.json|detections.csv

Any recording that tools/preprocess.py reads. Times and boxes are microseconds and pixels of the recording.
"""

from __future__ import annotations

import etram_mmdet.utils.threads  # noqa: F401  before PyTorch is loaded

# isort: split
import argparse
import csv
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from etram_mmdet.apis.inference import EventInferencer, Window
from etram_mmdet.evaluation.predictions import save_predictions
from etram_mmdet.evaluation.results import Frame
from etram_mmdet.events.formats import Recording, open_recording
from etram_mmdet.events.preprocessing.sources import name_of
from etram_mmdet.models.inference import PRECISIONS
from etram_mmdet.utils.cli import exit_on_input_error
from etram_mmdet.utils.files import atomic_write
from etram_mmdet.visualization.detection_sheet import detection_film
from etram_mmdet.visualization.video import write_mp4


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--out", type=Path, required=True, help=f"ends in one of {', '.join(WRITERS)}")
    parser.add_argument("--device", help="cuda, cuda:1, cpu; default: the GPU where there is one")
    parser.add_argument("--score-thr", type=float, help="one threshold for all classes instead of tuned ones")
    parser.add_argument("--operating-points", type=Path, help="file that tools/tune_thresholds.py wrote")
    parser.add_argument("--start-s", type=float, help="seconds after the first event at which to begin")
    parser.add_argument("--duration-s", type=float, help="seconds to look at; default: to the end")
    parser.add_argument("--step-ms", type=float, help="between windows; default: 50 or the window, if shorter")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="lower ones need a processor for it")
    parser.add_argument("--fuse", action="store_true", help="fold norms and biases: faster, other rounding")
    parser.add_argument("--compile", action="store_true", help="torch.compile: half a minute first, then fastest")
    parser.add_argument("--sensor", nargs=2, type=int, metavar=("WIDTH", "HEIGHT"), help="where the file does not say")
    args = parser.parse_args()
    if args.checkpoint.suffix == ".py":
        parser.error(f"{args.checkpoint} is a config, without weights; name a checkpoint, which carries its config")
    if args.step_ms is not None and args.step_ms <= 0:
        parser.error(f"--step-ms {args.step_ms}: expected more than 0")
    if args.out.suffix not in WRITERS:
        parser.error(f"--out {args.out}: expected a name that ends in one of {', '.join(WRITERS)}")
    return args


def write_video(path: Path, windows: Iterator[Window], inferencer: EventInferencer, recording: Recording) -> None:
    representation = inferencer.representation(recording.height, recording.width)
    frames = (
        (representation.off_on(w.image), frame_of(w, recording, representation.scale, representation.shape[1:]))
        for w in windows
    )
    film = detection_film(frames, inferencer.classes, inferencer.model.dataset_meta["palette"], with_truth=False)
    print(f"codec: {write_mp4(film, path, fps=1e6 / inferencer.step_us)}")


def write_json(path: Path, windows: Iterator[Window], inferencer: EventInferencer, recording: Recording) -> None:
    """The form in which tools/test.py --out saves predictions, in sensor pixels."""
    frames = [frame_of(w, recording, 1, (recording.height, recording.width)) for w in windows]
    test_cfg = dict(operating_points=inferencer.operating_points.as_config())
    save_predictions(path, frames, inferencer.classes, test_cfg)


def write_csv(path: Path, windows: Iterator[Window], inferencer: EventInferencer, recording: Recording) -> None:
    with atomic_write(path) as aside, aside.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["t_us", "x1", "y1", "x2", "y2", "score", "class"])
        for t_us, _, boxes in windows:
            for box, score, name in zip(boxes.bboxes_xyxy, boxes.scores, boxes.names, strict=True):
                writer.writerow([t_us, *(f"{side:.2f}" for side in box), f"{score:.4f}", name])


WRITERS = {".mp4": write_video, ".json": write_json, ".csv": write_csv}


def frame_of(window: Window, recording: Recording, scale: int, hw: tuple[int, int]) -> Frame:
    """``scale``: sensor pixels per pixel of the frame."""
    boxes, nothing = window.boxes, np.empty(0, np.int64)
    truth = np.empty((0, 4), np.float32), nothing
    found = boxes.bboxes_xyxy / scale, boxes.scores, boxes.labels
    return Frame(name_of(recording.path), window.t_us, *truth, *found, scale, hw=tuple(hw))


def main() -> None:
    args = parse_args()
    with exit_on_input_error():
        step_us = args.step_ms and round(args.step_ms * 1000)
        fast = dict(precision=args.precision, fuse=args.fuse, compiled=args.compile)
        inferencer = EventInferencer(
            args.checkpoint, args.device, args.score_thr, args.operating_points, step_us, **fast
        )
        with open_recording(args.recording, args.sensor and tuple(args.sensor)) as recording:
            start_us = recording.t_first_us + round((args.start_s or 0) * 1e6)
            stop_us = recording.t_last_us
            if args.duration_s is not None:
                stop_us = min(stop_us, start_us + round(args.duration_s * 1e6))
            count, start = max(0, (stop_us - start_us) // inferencer.step_us), time.monotonic()
            windows = tqdm(inferencer.windows(recording, start_us, stop_us), total=count, unit="window")
            WRITERS[args.out.suffix](args.out, windows, inferencer, recording)
            dropped = ", ".join(f"{number} {what}" for what, number in recording.dropped.items() if number)
            seen_s = count * inferencer.step_us / 1e6
            print(f"{args.out}: {seen_s:.1f} s of {args.recording.name} in {time.monotonic() - start:.1f} s")
            if dropped:
                print(f"left out: {dropped}")


if __name__ == "__main__":
    main()
