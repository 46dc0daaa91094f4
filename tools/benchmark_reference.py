"""Measure a config's model beside RVT's own code: python tools/benchmark_reference.py RVT CONFIG.

RVT is a clone of https://github.com/uzh-rpg/RVT; it wants `pip install omegaconf einops torchvision`. Both get the same
weights and input and take turns, so a ratio means the same on a busy machine.
"""

from __future__ import annotations

import etram_mmdet.utils.threads  # noqa: F401  before PyTorch is loaded

# isort: split
import argparse
from pathlib import Path

import torch
from mmengine.config import DictAction

from etram_mmdet.analysis.speed import against_reference as against
from etram_mmdet.analysis.speed.model import build_model
from etram_mmdet.analysis.speed.reference import Reference
from etram_mmdet.engine.config.load import load_config
from etram_mmdet.models.inference import PRECISIONS, Streamer
from etram_mmdet.utils.cli import exit_on_input_error
from etram_mmdet.utils.environment import machine
from etram_mmdet.utils.files import write_json

PARTS = ("streaming", "training", "memory", "evaluation")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rvt", type=Path, metavar="RVT", help="folder of RVT's code, which will be executed")
    parser.add_argument("config", help="config whose model RVT can build too: stages 2-4")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--frame", nargs=2, type=int, default=(360, 640), metavar=("H", "W"), help="network pixels")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="of our streaming inference")
    parser.add_argument("--compile", action="store_true", help="torch.compile our streaming inference")
    parser.add_argument("--fuse", action="store_true", help="fold BatchNorm and biases for streaming inference")
    parser.add_argument("--windows", type=int, default=30, help="how many to stream")
    parser.add_argument("--batch", type=int, default=2, help="lanes in training")
    parser.add_argument("--clip", type=int, default=5, help="frames of a clip in training")
    parser.add_argument("--steps", type=int, default=5, help="training steps")
    parser.add_argument("--frames", type=int, default=2000, help="frames to evaluate, 100 detections each")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, metavar="KEY=VALUE", help="override the config")
    return parser.parse_args()


def measure(args: argparse.Namespace) -> dict:
    cfg, device, hw = load_config(args.config, args.cfg_options), torch.device(args.device), tuple(args.frame)
    model = build_model(cfg, device)
    reference = Reference(args.rvt, model)
    streamer = Streamer(model, args.precision, args.fuse, args.compile)
    parts = dict(
        streaming=lambda: against.streaming(streamer, reference, hw, args.windows),
        memory=lambda: against.memory(model, reference, hw, args.batch, args.clip),
        evaluation=lambda: against.evaluation(args.frames, 100, rounds=2),
        training=lambda: against.training(cfg, model, reference, hw, args.batch, args.clip, args.steps),
    )
    return dict(machine=machine(device)) | {part: run() for part, run in parts.items() if part in args.parts}


def show(args: argparse.Namespace, result: dict) -> None:
    print(f"{args.config} on {', '.join(f'{k} {v}' for k, v in result['machine'].items())}\n")
    print(f"{'':<44}{'reference':>12}{'ours':>12}{'ratio':>8}{'of best':>9}")
    how = dict(
        streaming=f"streaming, {args.precision}{', fused' * args.fuse}{', compiled' * args.compile}, ms",
        training=f"training step, batch {args.batch}, clip {args.clip}, ms",
        evaluation=f"evaluation of {args.frames} frames, ms",
    )
    rows = [(how[part], result[part]) for part in how if part in result]
    if "evaluation" in result:
        rows.append(("same, with breakdown and interval, ms", result["evaluation"]["whole"]))
    for name, row in rows:
        numbers = f"{row['reference_ms']:>12.1f}{row['ours_ms']:>12.1f}{row['ratio']:>8.2f}{row['ratio_of_best']:>9.2f}"
        print(f"{name:<44}{numbers}" + (f"   differ by {row['difference']:.1e}" if "difference" in row else ""))
    if "memory" in result:
        theirs, ours = result["memory"]["reference_bytes"] / 2**30, result["memory"]["ours_bytes"] / 2**30
        print(f"{'kept for the backward pass, GiB':<44}{theirs:>12.2f}{ours:>12.2f}{ours / theirs:>8.2f}")


def main() -> None:
    args = parse_args()
    with exit_on_input_error():
        result = measure(args)
        if args.json:
            write_json(args.json, result)
    show(args, result)


if __name__ == "__main__":
    main()
