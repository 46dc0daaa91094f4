"""Measure the model of a config: latency, training speed, memory, number of parameters and MACs.

Example: python tools/benchmark.py configs/baseline_tiny.py --sweep 24

Reads a config and, optionally, a checkpoint. It needs no data: the input is random sparse event
counts. Streaming runs one window at a time and carries the state. Post-processing takes longer the
more boxes the weights find, so give a checkpoint for realistic numbers. The bytes that are saved
for the backward pass depend on --precision.
--memory-of cuda predicts instead the peak memory of a training step on a GPU, without one and
without allocating it.
Prints a table; writes a file only with --json.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from etram_mmdet.events.limits import MAX_SIDE_PX
from etram_mmdet.utils.cli import add_json, check_positive, exit_on_input_error, make_parser
from etram_mmdet.utils.cli.config import add_cfg_options, add_config
from etram_mmdet.utils.cli.detection import (
    PRECISIONS,
    add_device,
    add_streamed_frames,
    add_streaming,
)
from etram_mmdet.utils.environment import machine
from etram_mmdet.utils.files import write_json

MAX_FRAMES = 65_536  # of a training step; their random boxes alone take seconds

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch import nn


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
        nargs="+",
        default=[],
        metavar="GIB",
        help="also find the largest batch for GIB of memory: measured on a GPU, elsewhere "
        "predicted for one",
    )
    parser.add_argument(
        "--memory-of",
        choices=("cuda", "cpu"),
        help="only predict the memory of a training step on this device, and the largest batch for "
        "each --sweep",
    )
    parser.add_argument(
        "--label-every",
        type=int,
        default=2,
        metavar="N",
        help="one of N frames is labelled in training whose memory is predicted "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--training-precision",
        choices=PRECISIONS,
        help="number format of training whose memory is predicted (default: the config's)",
    )
    add_json(parser)
    add_cfg_options(parser)
    args = parser.parse_args()
    check_positive(
        parser, args, "--frame", "--windows", "--batch", "--clip", "--sweep", "--label-every"
    )
    if max(args.frame) > MAX_SIDE_PX:
        parser.error(f"--frame {max(args.frame)}: expected at most {MAX_SIDE_PX}")
    if (args.batch or 1) * (args.clip or 1) > MAX_FRAMES:
        parser.error(
            f"--batch {args.batch or 1} --clip {args.clip or 1}: a step of more than "
            f"{MAX_FRAMES:,} frames"
        )
    if args.steps < 0:
        parser.error(f"--steps {args.steps}: expected 0 or more")
    return args


def measure(args: argparse.Namespace) -> dict:
    from etram_mmdet.analysis.speed import cuda
    from etram_mmdet.analysis.speed.memory_report import predict_memory
    from etram_mmdet.analysis.speed.model import build_fitted_model
    from etram_mmdet.engine.config.load import load_config
    from etram_mmdet.engine.memory.prediction import training_precision

    cfg = load_config(args.config, args.cfg_options)
    device = cuda.chosen("cpu" if args.memory_of else args.device)
    hw = tuple(args.frame)
    batch = args.batch or cfg.train_dataloader.batch_size
    clip = args.clip or cfg.train_dataloader.dataset.clip_length
    mixed = "float32" if args.memory_of == "cpu" else training_precision(cfg)
    precision = args.training_precision or mixed
    model = build_fitted_model(cfg, device)
    result = dict(config=args.config, machine=machine(device), frame_hw=hw)
    if args.memory_of:
        how = precision, args.memory_of, args.sweep, args.label_every
        return result | predict_memory(cfg, model, hw, batch, clip, *how)
    return result | time_model(args, cfg, model, batch, clip, precision)


def time_model(
    args: argparse.Namespace, cfg: Config, model: nn.Module, batch: int, clip: int, precision: str
) -> dict:
    from etram_mmdet.analysis.speed import model_report
    from etram_mmdet.analysis.speed.sweep import predicted_cost, sweep
    from etram_mmdet.engine.checkpoints.opening import load_checkpoint_file
    from etram_mmdet.engine.checkpoints.weights import load_strictly

    hw = tuple(args.frame)
    device = next(model.parameters()).device
    if args.checkpoint:
        load_strictly(model, load_checkpoint_file(args.checkpoint)["state_dict"], args.checkpoint)
    how = args.precision, args.fuse, args.compile, args.cuda_graphs
    result = model_report.measure_streaming(model, hw, args.windows, *how)
    if args.steps:
        result |= model_report.measure_training(
            cfg, model, hw, batch, clip, args.steps, args.precision
        )
    cost = None if device.type == "cuda" else predicted_cost(cfg, model, clip, hw, precision)
    measured_in = args.precision if cost is None else "float32"
    with model_report.autocast(device, measured_in):
        rows = [row for limit in args.sweep for row in sweep(cfg, model, clip, hw, limit, cost)]
    return result | (dict(sweep=rows) if rows else {})


def main() -> None:
    args = parse_args()
    with exit_on_input_error():
        result = measure(args)
        if args.json:
            write_json(args.json, result)
    from etram_mmdet.analysis.speed.memory_report import format_memory
    from etram_mmdet.analysis.speed.model_report import format_result

    print((format_memory if args.memory_of else format_result)(result))


if __name__ == "__main__":
    main()
