"""What tools/benchmark.py measures and says."""

from __future__ import annotations

import torch
from mmengine.config import Config
from torch import nn

from etram_mmdet.analysis.speed import cuda
from etram_mmdet.analysis.speed.model import macs_per_window, time_streaming, time_training
from etram_mmdet.engine.runner.memory import parameters, saved_bytes
from etram_mmdet.models.inference import Streamer
from etram_mmdet.testing import random_clips
from etram_mmdet.utils.text import table


def measure_streaming(
    model: nn.Module,
    hw: tuple[int, int],
    windows: int,
    precision: str = "float32",
    fuse: bool = False,
    compiled: bool = False,
) -> dict:
    """Milliseconds of ``windows`` frames of ``hw`` (H, W) pixels, one stream, state carried; size of the network.

    ``precision``, ``fuse`` and ``compiled`` are those of :class:`Streamer`.
    """
    streamer = Streamer(model, precision, fuse, compiled)
    streaming = time_streaming(streamer, hw, windows, warm_up=3)
    return dict(
        parameters=parameters(model),
        macs_per_window=macs_per_window(model, hw),
        precision=precision,
        fused=fuse,
        compiled=compiled,
        streaming_ms=streaming.milliseconds(),
    )


def measure_training(
    cfg: Config,
    model: nn.Module,
    hw: tuple[int, int],
    batch: int,
    clip: int,
    steps: int,
    precision: str,
) -> dict:
    """Milliseconds of ``steps`` training steps as ``cfg`` has them, on ``batch`` clips of ``clip`` frames.

    The bytes that a forward pass keeps for the backward pass are those of ``precision``.
    """
    device = next(model.parameters()).device
    data = random_clips(model, batch, clip, hw)
    with autocast(device, precision):
        result = dict(batch=batch, clip=clip, saved_bytes=saved_bytes(model, data))
    result["training_ms"] = time_training(cfg, model, data, steps, warm_up=1).milliseconds()["step"]
    if device.type == "cuda":
        result["peak_bytes"] = cuda.peak_bytes(device)
    return result


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Computes inside in ``precision``; nothing changes for float32."""
    return torch.autocast(device.type, getattr(torch, precision), enabled=precision != "float32")


def format_result(result: dict) -> str:
    """All that was measured, as text."""
    h, w = result["frame_hw"]
    size = f"{result['parameters'] / 1e6:.2f} M parameters, {result['macs_per_window'] / 1e9:.2f} GMAC per window"
    lines = [
        f"{result['config']} on {', '.join(f'{k} {v}' for k, v in result['machine'].items())}",
        f"frames {w}x{h}: {size}",
        *_streaming_lines(result),
        *(_training_lines(result) if "training_ms" in result else []),
        *(
            f"  batch {row['batch']:>3}: {row['gib']:.2f} GiB ({row['how']})"
            for row in result.get("sweep", [])
        ),
    ]
    return "\n".join(lines)


def _streaming_lines(result: dict) -> list[str]:
    how = ", ".join(
        [result["precision"], *(word for word in ("fused", "compiled") if result[word])]
    )
    rows = [[f"streaming, batch 1, {how}, ms per window", "median", "5 %", "95 %"]]
    for part, ms in result["streaming_ms"].items():
        rows.append([f"  {part}", *(f"{ms[which]:.2f}" for which in ("median", "p5", "p95"))])
    return ["", table(rows)]


def _training_lines(result: dict) -> list[str]:
    seconds = result["training_ms"]["median"] / 1e3
    kept = result["saved_bytes"] / 2**30
    lines = [
        f"\ntraining, batch {result['batch']}, clips of {result['clip']}",
        f"  {1 / seconds:.2f} steps/s, {result['batch'] / seconds:.2f} clips/s",
        f"  kept for the backward pass: {kept:.2f} GiB (saved tensors, without weights)",
    ]
    if "peak_bytes" in result:
        lines.append(f"  peak on the device: {result['peak_bytes'] / 2**30:.2f} GiB")
    return lines
