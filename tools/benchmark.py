"""Measure a config's model: python tools/benchmark.py CONFIG [CHECKPOINT]. Latency, training speed, memory, size.

Input is random sparse event counts of the given frame size, so no data are needed. Streaming runs one window at a time
with the state carried. Post-processing depends on how many boxes the weights find: give a CHECKPOINT for real numbers.
"""

from __future__ import annotations

import etram_mmdet.utils.threads  # noqa: F401  before PyTorch is loaded

# isort: split
import argparse
from pathlib import Path

import torch
from mmengine.config import DictAction

from etram_mmdet.analysis.speed import cuda
from etram_mmdet.analysis.speed.model import build_model, macs_per_window, time_streaming, time_training
from etram_mmdet.analysis.speed.sweep import sweep
from etram_mmdet.engine.checkpoints.opening import load_checkpoint_file
from etram_mmdet.engine.checkpoints.weights import load_strictly
from etram_mmdet.engine.config.load import load_config
from etram_mmdet.engine.runner.memory import parameters, saved_bytes
from etram_mmdet.models.inference import PRECISIONS, Streamer
from etram_mmdet.testing import random_clips
from etram_mmdet.utils.cli import exit_on_input_error
from etram_mmdet.utils.environment import machine
from etram_mmdet.utils.files import write_json


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="config file, for example configs/patch2_sizeaware.py")
    parser.add_argument("checkpoint", nargs="?", help="weights; random ones without it")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--frame", nargs=2, type=int, default=(360, 640), metavar=("H", "W"), help="network pixels")
    parser.add_argument("--batch", type=int, help="lanes in training (default: the config's batch size)")
    parser.add_argument("--clip", type=int, help="frames of a clip in training (default: the config's)")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="of streaming and saved bytes")
    parser.add_argument("--compile", action="store_true", help="torch.compile streaming inference (CUDA graphs)")
    parser.add_argument("--fuse", action="store_true", help="fold BatchNorm and biases for streaming inference")
    parser.add_argument("--windows", type=int, default=30, help="how many to stream")
    parser.add_argument("--steps", type=int, default=5, help="training steps; 0 leaves training out")
    parser.add_argument("--sweep", type=float, metavar="GIB", help="memory against batch, up to what fits into GIB")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, metavar="KEY=VALUE", help="override the config")
    return parser.parse_args()


def measure(args: argparse.Namespace) -> dict:
    cfg, device, hw = load_config(args.config, args.cfg_options), torch.device(args.device), tuple(args.frame)
    batch = args.batch or cfg.train_dataloader.batch_size
    clip = args.clip or cfg.train_dataloader.dataset.clip_length
    model = build_model(cfg, device)
    if args.checkpoint:
        load_strictly(model, load_checkpoint_file(args.checkpoint)["state_dict"], args.checkpoint)
    dtype = PRECISIONS[args.precision]
    streamer = Streamer(model, args.precision, args.fuse, args.compile)
    streaming = time_streaming(streamer, hw, args.windows, warm_up=3)
    result = dict(
        config=args.config,
        machine=machine(device),
        frame_hw=hw,
        parameters=parameters(model),
        macs_per_window=macs_per_window(model, hw),
        precision=args.precision,
        fused=args.fuse,
        compiled=args.compile,
        streaming_ms=streaming.milliseconds(),
    )
    if args.steps:
        data = random_clips(model, batch, clip, hw)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            result |= dict(batch=batch, clip=clip, saved_bytes=saved_bytes(model, data))
        result["training_ms"] = time_training(cfg, model, data, args.steps, warm_up=1).milliseconds()["step"]
        if device.type == "cuda":
            result["peak_bytes"] = cuda.peak_bytes(device)
    if args.sweep:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            result["sweep"] = sweep(cfg, model, clip, hw, args.sweep)
    return result


def show(result: dict) -> None:
    print(f"{result['config']} on {', '.join(f'{k} {v}' for k, v in result['machine'].items())}")
    h, w = result["frame_hw"]
    size = f"{result['parameters'] / 1e6:.2f} M parameters, {result['macs_per_window'] / 1e9:.2f} GMAC per window"
    how = ", ".join([result["precision"], *(word for word in ("fused", "compiled") if result[word])])
    how = f"streaming, batch 1, {how}, ms per window"
    print(f"frames {w}x{h}: {size}\n\n{how:<47}   median      5 %     95 %")
    for part, ms in result["streaming_ms"].items():
        print(f"  {part:<45} {ms['median']:8.2f} {ms['p5']:8.2f} {ms['p95']:8.2f}")
    if "training_ms" in result:
        seconds = result["training_ms"]["median"] / 1e3
        print(f"\ntraining, batch {result['batch']}, clips of {result['clip']}")
        print(f"  {1 / seconds:.2f} steps/s, {result['batch'] / seconds:.2f} clips/s")
        print(f"  kept for the backward pass: {result['saved_bytes'] / 2**30:.2f} GiB (saved tensors, without weights)")
        if "peak_bytes" in result:
            print(f"  peak on the device: {result['peak_bytes'] / 2**30:.2f} GiB")
    for row in result.get("sweep", []):
        print(f"  batch {row['batch']:>3}: {row['gib']:.2f} GiB ({row['how']})")


def main() -> None:
    args = parse_args()
    with exit_on_input_error():
        result = measure(args)
        if args.json:
            write_json(args.json, result)
    show(result)


if __name__ == "__main__":
    main()
