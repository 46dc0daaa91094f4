"""Detect in a recording: python tools/detect.py [CONFIG] CHECKPOINT RECORDING --out FILE.mp4|FILE.json|FILE.csv

A checkpoint carries its config. One that was trained with plugins of your own needs CONFIG, which names their module.
Any recording that tools/preprocess.py reads. Times are microseconds of the recording, boxes in a CSV its pixels. A JSON
file has the form of tools/test.py --out, for tools/evaluate.py: boxes in pixels of the network, not cut to the frame.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from etram_mmdet.apis.sinks import SINKS
from etram_mmdet.utils.cli import add_device, add_streaming, exit_on_input_error, make_parser


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("paths", nargs="+", type=Path, metavar="[CONFIG] CHECKPOINT RECORDING")
    parser.add_argument("--out", type=Path, required=True, help=f"ends in one of {', '.join(SINKS)}")
    add_device(parser)
    parser.add_argument("--score-thr", type=float, help="one threshold for all classes instead of tuned ones")
    parser.add_argument("--operating-points", type=Path, help="file that tools/tune_thresholds.py wrote")
    parser.add_argument("--start-s", type=float, help="seconds after the first event at which to begin")
    parser.add_argument("--duration-s", type=float, help="seconds to look at; default: to the end")
    parser.add_argument("--step-ms", type=float, help="between windows; default: 50 or the window, if shorter")
    add_streaming(parser)
    parser.add_argument("--sensor", nargs=2, type=int, metavar=("WIDTH", "HEIGHT"), help="where the file does not say")
    args = parser.parse_args()
    if len(args.paths) not in (2, 3):
        parser.error(f"expected [CONFIG] CHECKPOINT RECORDING, got {len(args.paths)} paths")
    args.config, args.checkpoint, args.recording = [None, *args.paths][-3:]
    if args.checkpoint.suffix == ".py":
        parser.error(f"{args.checkpoint} is a config, without weights; name a checkpoint after it")
    if args.step_ms is not None and args.step_ms <= 0:
        parser.error(f"--step-ms {args.step_ms}: expected more than 0")
    if args.out.suffix not in SINKS:
        parser.error(f"--out {args.out}: expected a name that ends in one of {', '.join(SINKS)}")
    return args


def main() -> None:
    args = parse_args()
    from tqdm import tqdm

    from etram_mmdet.apis import EventInferencer, init_detector
    from etram_mmdet.events.formats import open_recording

    with exit_on_input_error():
        step_us = args.step_ms and round(args.step_ms * 1000)
        fast = dict(precision=args.precision, fuse=args.fuse, compiled=args.compile)
        paths = [args.checkpoint] if args.config is None else [args.config, args.checkpoint]
        model = init_detector(*paths, device=args.device)
        inferencer = EventInferencer(model, None, args.score_thr, args.operating_points, step_us, **fast)
        with open_recording(args.recording, args.sensor and tuple(args.sensor)) as recording:
            start_us = recording.t_first_us + round((args.start_s or 0) * 1e6)
            stop_us = recording.t_last_us
            if args.duration_s is not None:
                stop_us = min(stop_us, start_us + round(args.duration_s * 1e6))
            count = max(0, (stop_us - start_us) // inferencer.step_us)
            start = time.monotonic()
            windows = tqdm(inferencer.windows(recording, start_us, stop_us), total=count, unit="window")
            note = SINKS[args.out.suffix](args.out, windows, inferencer, recording)
            dropped = ", ".join(f"{number} {what}" for what, number in recording.dropped.items() if number)
        if note:
            print(note)
        seen_s = count * inferencer.step_us / 1e6
        print(f"{args.out}: {seen_s:.1f} s of {args.recording.name} in {time.monotonic() - start:.1f} s")
        if dropped:
            print(f"left out: {dropped}")


if __name__ == "__main__":
    main()
