"""Detect in a recording: python tools/detect.py [CONFIG] CHECKPOINT RECORDING --out FILE.mp4|FILE.json|FILE.csv

A checkpoint carries its config. One that was trained with plugins of your own needs CONFIG, which names their module.
Any recording that tools/preprocess.py reads. Times are microseconds of the recording, boxes in a CSV its pixels. A JSON
file has the form of tools/test.py --out, for tools/evaluate.py: boxes in pixels of the network, not cut to the frame.
With --labels the boxes are those of tools/test.py, up to rounding, at every time that it evaluates.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from etram_mmdet.apis.sinks import SINKS
from etram_mmdet.utils.cli import (
    add_cfg_options,
    add_device,
    add_opening,
    add_streaming,
    exit_on_input_error,
    make_parser,
    opening_of,
)

if TYPE_CHECKING:
    from etram_mmdet.deploy.inferencer import Inferencer


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("paths", nargs="+", type=Path, metavar="[CONFIG] CHECKPOINT RECORDING")
    parser.add_argument(
        "--out", type=Path, required=True, help=f"ends in one of {', '.join(SINKS)}"
    )
    add_device(parser)
    parser.add_argument(
        "--score-thr", type=float, help="one threshold for all classes instead of tuned ones"
    )
    parser.add_argument(
        "--operating-points", type=Path, help="file that tools/tune_thresholds.py wrote"
    )
    parser.add_argument(
        "--start-s",
        type=float,
        help="when to begin, on the recording's clock; where its first event comes later than 1 s, from that event on",
    )
    parser.add_argument("--duration-s", type=float, help="seconds to look at; default: to the end")
    parser.add_argument("--step-ms", type=float, help="between windows; default: as in training")
    parser.add_argument(
        "--labels",
        type=Path,
        help="label file of the recording, or its preprocessed folder: windows end where those of an evaluation do",
    )
    add_streaming(parser)
    parser.add_argument(
        "--backend",
        choices=("torch", "onnx", "openvino"),
        help="what runs the network (default: torch, or onnx for a file of tools/export.py)",
    )
    add_opening(parser, "default: as the file says, else as trained")
    add_cfg_options(parser)
    args = parser.parse_args()
    if len(args.paths) not in (2, 3):
        parser.error(f"expected [CONFIG] CHECKPOINT RECORDING, got {len(args.paths)} paths")
    args.config, args.checkpoint, args.recording = [None, *args.paths][-3:]
    if args.checkpoint.suffix == ".py":
        parser.error(f"{args.checkpoint} is a config, without weights; name a checkpoint after it")
    if args.step_ms is not None and args.step_ms <= 0:
        parser.error(f"--step-ms {args.step_ms}: expected more than 0")
    if args.step_ms is not None and args.labels is not None:
        parser.error(
            "--labels says where windows end, and so does --step-ms; leave one of them out"
        )
    if args.out.suffix not in SINKS:
        parser.error(f"--out {args.out}: expected a name that ends in one of {', '.join(SINKS)}")
    return args


def _inferencer(args: argparse.Namespace, step_us: int | None) -> Inferencer:
    """What detects: an exported graph, which needs no PyTorch, or a checkpoint."""
    from etram_mmdet.deploy.engines import is_exported

    chosen = args.score_thr, args.operating_points, step_us
    if is_exported(args.checkpoint):
        from etram_mmdet.deploy.runtime import EventInferencer

        refuse_torch_options(args)
        return EventInferencer(args.checkpoint, *chosen, backend=args.backend or "onnx")
    from etram_mmdet.apis import EventInferencer, init_detector

    paths = [args.checkpoint] if args.config is None else [args.config, args.checkpoint]
    model = init_detector(*paths, device=args.device, cfg_options=args.cfg_options)
    fast = dict(precision=args.precision, fuse=args.fuse, compiled=args.compile)
    return EventInferencer(model, None, *chosen, **fast, backend=args.backend)


def refuse_torch_options(args: argparse.Namespace) -> None:
    """Refuse options that an exported detector cannot follow: they were chosen at the export."""
    from etram_mmdet.utils.errors import InputError

    given = {
        "CONFIG": args.config,
        "--device": args.device not in (None, "cpu"),
        "--precision": args.precision != "float32",
        "--fuse": args.fuse,
        "--compile": args.compile,
        "--cfg-options": args.cfg_options,
        "--backend torch": args.backend == "torch",
    }
    wrong = [name for name, is_given in given.items() if is_given]
    if wrong:
        raise InputError(
            f"{args.checkpoint}: is an exported detector, so {', '.join(wrong)} cannot be chosen "
            "any more; leave it out, or name the checkpoint"
        )


def main() -> None:
    args = parse_args()
    from etram_mmdet.apis.domain_watch import DomainWatch
    from etram_mmdet.apis.results import Tally
    from etram_mmdet.deploy.window_times import start_on_grid
    from etram_mmdet.events.formats import open_recording
    from etram_mmdet.events.preprocessing.frame_times import clock_origin_us
    from etram_mmdet.utils.files import check_writable
    from etram_mmdet.utils.lazy import load

    with exit_on_input_error():
        check_writable(args.out)
        step_us = args.step_ms and round(args.step_ms * 1000)
        inferencer = _inferencer(args, step_us)
        with open_recording(args.recording, **opening_of(args)) as recording:
            told = [inferencer.fit_sensor(recording), *recording.notes]
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
        for sentence in filter(None, [note, *told]):
            print(sentence)
        seen_s = (times[-1] - times[0] + inferencer.step_us) / 1e6 if times else 0
        print(
            f"{args.out}: {seen_s:.1f} s of {args.recording.name} in {time.monotonic() - start:.1f} s"
        )
        if dropped:
            print(f"left out: {dropped}")
        print("".join(f"WARNING {sentence}\n" for sentence in watch.sentences()), end="")
        print(tally)


if __name__ == "__main__":
    main()
