"""Measure the model of a config: latency, training speed, memory, number of parameters and MACs.

Example: python tools/benchmark.py configs/baseline_tiny.py --sweep 24

Reads a config and, optionally, a checkpoint. It needs no data: the input is random sparse event
counts. Streaming runs one window at a time and carries the state. Post-processing takes longer the
more boxes the weights find, so give a checkpoint for realistic numbers. The bytes that are saved
for the backward pass depend on --precision.
Prints a table; writes a file only with --json.
"""

from __future__ import annotations

import argparse

from etram_mmdet.utils.cli import (
    add_cfg_options,
    add_config,
    add_device,
    add_json,
    add_streamed_frames,
    add_streaming,
    exit_on_input_error,
    make_parser,
)
from etram_mmdet.utils.environment import machine
from etram_mmdet.utils.files import write_json


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    add_config(parser)
    parser.add_argument("checkpoint", nargs="?", help="checkpoint file (default: random weights)")
    add_device(parser)
    add_streamed_frames(parser)
    add_streaming(parser)
    parser.add_argument(
        "--batch", type=int, help="clips per training step (default: the config's batch size)"
    )
    parser.add_argument(
        "--clip", type=int, help="frames per training clip (default: the config's clip length)"
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=5,
        help="number of training steps; 0 skips training (default: %(default)s)",
    )
    parser.add_argument(
        "--sweep",
        type=float,
        metavar="GIB",
        help="also measure memory for growing batch sizes, up to GIB of memory",
    )
    add_json(parser)
    add_cfg_options(parser)
    return parser.parse_args()


def measure(args: argparse.Namespace) -> dict:
    from etram_mmdet.analysis.speed import cuda, model_report
    from etram_mmdet.analysis.speed.model import build_model
    from etram_mmdet.analysis.speed.sweep import sweep
    from etram_mmdet.engine.checkpoints.opening import load_checkpoint_file, load_strictly
    from etram_mmdet.engine.config.load import load_config

    cfg = load_config(args.config, args.cfg_options)
    device = cuda.chosen(args.device)
    hw = tuple(args.frame)
    batch = args.batch or cfg.train_dataloader.batch_size
    clip = args.clip or cfg.train_dataloader.dataset.clip_length
    model = build_model(cfg, device)
    if args.checkpoint:
        load_strictly(model, load_checkpoint_file(args.checkpoint)["state_dict"], args.checkpoint)
    result = dict(config=args.config, machine=machine(device), frame_hw=hw)
    how = args.precision, args.fuse, args.compile
    result |= model_report.measure_streaming(model, hw, args.windows, *how)
    if args.steps:
        result |= model_report.measure_training(
            cfg, model, hw, batch, clip, args.steps, args.precision
        )
    if args.sweep:
        with model_report.autocast(device, args.precision):
            result["sweep"] = sweep(cfg, model, clip, hw, args.sweep)
    return result


def main() -> None:
    args = parse_args()
    with exit_on_input_error():
        result = measure(args)
        if args.json:
            write_json(args.json, result)
    from etram_mmdet.analysis.speed.model_report import format_result

    print(format_result(result))


if __name__ == "__main__":
    main()
