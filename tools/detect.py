"""Detect road users in a recording and write the boxes as a film, JSON or CSV.

Example: python tools/detect.py work_dirs/demo data/demo_raw/val/val_day_0000_td.h5 --out film.mp4

Reads a checkpoint, which carries its config (one that was trained with plugins of your own needs
CONFIG, which names their module), or a file of tools/export.py, and a recording in any format that
docs/data.md lists.
Writes --out. Times are microseconds on the recording's clock. Boxes in a CSV file are in sensor
pixels. A JSON file has the form of tools/test.py --out, without ground truth: boxes in network
pixels that may reach beyond the frame. With --labels the boxes are those of tools/test.py, up to
rounding, at every time that it evaluates.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from etram_mmdet.apis.sinks import SINKS
from etram_mmdet.utils.cli import check_positive, exit_on_input_error, make_parser
from etram_mmdet.utils.cli.config import add_cfg_options
from etram_mmdet.utils.cli.detection import add_backend, add_device, add_streaming, add_thresholds
from etram_mmdet.utils.cli.recordings import add_opening, opening_of


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="[CONFIG] CHECKPOINT RECORDING",
        help="CHECKPOINT: a file (.pth, or .onnx of tools/export.py), a work folder (its newest "
        "checkpoint), or the word demo",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help=f"file to write, ends in one of {', '.join(SINKS)}",
    )
    add_device(parser)
    add_thresholds(parser)
    parser.add_argument(
        "--start-s",
        type=float,
        help="start time, in seconds on the recording's clock; if the first event comes later than "
        "1 s, counted from that event (default: the first event)",
    )
    parser.add_argument(
        "--duration-s",
        type=float,
        help="seconds of the recording to process (default: to its end)",
    )
    parser.add_argument(
        "--labels",
        type=Path,
        help="label file of the recording, or its preprocessed folder: use the windows of an "
        "evaluation",
    )
    add_streaming(parser)
    add_backend(parser)
    add_opening(
        parser, "in pixels (default: as the file states, else as the checkpoint was trained)"
    )
    add_cfg_options(parser)
    args = parser.parse_args()
    if len(args.paths) not in (2, 3):
        parser.error(f"expected [CONFIG] CHECKPOINT RECORDING, got {len(args.paths)} paths")
    args.config, args.checkpoint, args.recording = [None, *args.paths][-3:]
    if args.checkpoint.suffix == ".py":
        parser.error(f"{args.checkpoint} is a config, without weights; name a checkpoint after it")
    check_positive(parser, args, "--step-ms", "--duration-s")
    if args.step_ms is not None and args.labels is not None:
        parser.error("--labels and --step-ms both choose the windows; leave one of them out")
    if args.out.suffix not in SINKS:
        parser.error(f"--out {args.out}: expected a name that ends in one of {', '.join(SINKS)}")
    return args


def main() -> None:
    args = parse_args()
    from etram_mmdet.apis.domain_watch import DomainWatch
    from etram_mmdet.apis.opened_model import inputs_of, opened_model
    from etram_mmdet.apis.results import Tally
    from etram_mmdet.deploy.window_times import start_on_grid
    from etram_mmdet.events.formats import open_recording
    from etram_mmdet.events.preprocessing.frame_times import clock_origin_us
    from etram_mmdet.utils.files import check_not_read, check_writable
    from etram_mmdet.utils.lazy import load

    with exit_on_input_error():
        check_writable(args.out)
        check_not_read(args.out, [*inputs_of(args), args.labels])
        step_us = args.step_ms and round(args.step_ms * 1000)
        inferencer = opened_model(args, step_us)
        with open_recording(args.recording, **opening_of(args)) as recording:
            notes = [inferencer.fit_sensor(recording), *recording.notes]
            start_us = start_on_grid(recording.t_first_us, inferencer.step_us)
            if args.start_s is not None:
                start_us = clock_origin_us(recording.t_first_us) + round(args.start_s * 1e6)
            stop_us = None
            if args.duration_s is not None:
                stop_us = min(recording.t_last_us, start_us + round(args.duration_s * 1e6))
            part = recording, start_us, stop_us, args.labels
            times = inferencer.times(*part)
            start = time.monotonic()
            tally = Tally(inferencer.operating_points)
            watch = DomainWatch(inferencer, recording)
            seen = watch.watched(tally.count(inferencer.windows(*part)))
            windows = load("tqdm", "tqdm").tqdm(seen, total=len(times), unit="window")
            note = SINKS[args.out.suffix](args.out, windows, inferencer, recording)
            dropped = ", ".join(
                f"{number} {what}" for what, number in recording.dropped.items() if number
            )
        for sentence in filter(None, [note, *notes]):
            print(sentence)
        seen_s = (times[-1] - times[0] + inferencer.step_us) / 1e6 if times else 0
        took_s = time.monotonic() - start
        print(f"{args.out}: {seen_s:.1f} s of {args.recording.name} in {took_s:.1f} s")
        if dropped:
            print(f"left out: {dropped}")
        print("".join(f"WARNING {sentence}\n" for sentence in watch.sentences()), end="")
        print(tally)


if __name__ == "__main__":
    main()
