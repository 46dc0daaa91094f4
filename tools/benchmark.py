"""Measure a config's model: python tools/benchmark.py CONFIG [CHECKPOINT]. Latency, training speed, memory, size.

Input is random sparse event counts of the given frame size, so no data are needed. Streaming runs one window at a time
with the state carried. Post-processing depends on how many boxes the weights find: give a CHECKPOINT for real numbers.
The bytes saved for the backward pass are those of --precision.
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
    parser.add_argument("checkpoint", nargs="?", help="weights; random ones without it")
    add_device(parser)
    add_streamed_frames(parser)
    add_streaming(parser)
    parser.add_argument(
        "--batch", type=int, help="lanes in training (default: the config's batch size)"
    )
    parser.add_argument(
        "--clip", type=int, help="frames of a clip in training (default: the config's)"
    )
    parser.add_argument(
        "--steps", type=int, default=5, help="training steps; 0 leaves training out"
    )
    parser.add_argument(
        "--sweep", type=float, metavar="GIB", help="memory against batch, up to what fits into GIB"
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
