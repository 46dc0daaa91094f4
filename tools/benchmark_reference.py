"""Compare the speed and memory of a config's model with the code of RVT.

Example: python tools/benchmark_reference.py RVT configs/baseline_tiny.py

Reads a clone of https://github.com/uzh-rpg/RVT, which needs `pip install omegaconf einops
torchvision`. Both get the same weights and the same random input and take turns, so that the
ratios also hold on a machine that runs other programs.
Prints a table; writes a file only with --json.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from etram_mmdet.utils.cli import add_json, check_positive, exit_on_input_error, make_parser
from etram_mmdet.utils.cli.config import add_cfg_options
from etram_mmdet.utils.cli.detection import add_device, add_streamed_frames, add_streaming
from etram_mmdet.utils.environment import machine
from etram_mmdet.utils.files import write_json

PARTS = ("streaming", "training", "memory", "evaluation")


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument(
        "rvt", type=Path, metavar="RVT", help="folder of RVT's code, which will be executed"
    )
    parser.add_argument(
        "config", help="config of a model that RVT can also build: output stages 2 to 4"
    )
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure (default: all)"
    )
    add_device(parser)
    add_streamed_frames(parser)
    add_streaming(parser)
    parser.add_argument(
        "--batch", type=int, default=2, help="clips per training step (default: %(default)s)"
    )
    parser.add_argument(
        "--clip", type=int, default=5, help="frames per training clip (default: %(default)s)"
    )
    parser.add_argument(
        "--steps", type=int, default=5, help="number of training steps (default: %(default)s)"
    )
    parser.add_argument(
        "--frames",
        type=int,
        default=2000,
        help="number of frames to evaluate, with 100 detections each (default: %(default)s)",
    )
    add_json(parser)
    add_cfg_options(parser)
    args = parser.parse_args()
    options = ("--frame", "--windows", "--batch", "--clip", "--steps", "--frames")
    check_positive(parser, args, *options)
    return args


def measure(args: argparse.Namespace) -> dict:
    from etram_mmdet.analysis.speed import against_reference as against
    from etram_mmdet.analysis.speed import cuda
    from etram_mmdet.analysis.speed.model import build_model
    from etram_mmdet.analysis.speed.reference import Reference
    from etram_mmdet.engine.config.load import load_config
    from etram_mmdet.models.inference import Streamer

    cfg = load_config(args.config, args.cfg_options)
    device = cuda.chosen(args.device)
    hw = tuple(args.frame)
    model = build_model(cfg, device)
    reference = Reference(args.rvt, model)
    streamer = Streamer(model, args.precision, args.fuse, args.compile, args.cuda_graphs)
    parts = dict(
        streaming=lambda: against.streaming(streamer, reference, hw, args.windows),
        memory=lambda: against.memory(model, reference, hw, args.batch, args.clip),
        evaluation=lambda: against.evaluation(args.frames, 100, rounds=2),
        training=lambda: against.training(
            cfg, model, reference, hw, args.batch, args.clip, args.steps
        ),
    )
    return dict(machine=machine(device)) | {
        part: run() for part, run in parts.items() if part in args.parts
    }


def show(args: argparse.Namespace, result: dict) -> None:
    from etram_mmdet.analysis.speed.reference import format_ratios

    options = f"{args.precision}{', fused' * args.fuse}{', compiled' * args.compile}"
    options += ", CUDA graphs" * args.cuda_graphs
    how = dict(
        streaming=f"streaming, {options}, ms",
        training=f"training step, batch {args.batch}, clip {args.clip}, ms",
        evaluation=f"evaluation of {args.frames} frames, ms",
    )
    print(f"{args.config} on {', '.join(f'{k} {v}' for k, v in result['machine'].items())}\n")
    print(format_ratios(result, how))


def main() -> None:
    args = parse_args()
    with exit_on_input_error():
        result = measure(args)
        if args.json:
            write_json(args.json, result)
    show(args, result)


if __name__ == "__main__":
    main()
