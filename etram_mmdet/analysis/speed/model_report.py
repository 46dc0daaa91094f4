"""Measurements and texts of tools/benchmark.py."""

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

_WORDS = dict(fused="fused", compiled="compiled", cuda_graphs="CUDA graphs")


def measure_streaming(
    model: nn.Module,
    hw: tuple[int, int],
    windows: int,
    precision: str = "float32",
    fuse: bool = False,
    compiled: bool = False,
    cuda_graphs: bool = False,
) -> dict:
    """Measures the milliseconds of one stream, one window at a time, and the network's size.

    Args:
        model: a detector.
        hw: height and width of a frame, in pixels.
        windows: number of timed windows.
        precision: number format, as :class:`Streamer` takes it. Default: float32.
        fuse: whether norms are folded into convolutions, see :class:`Streamer`. Default: no.
        compiled: whether the network is compiled, see :class:`Streamer`. Default: no.
        cuda_graphs: whether it is one CUDA graph, see :class:`Streamer`. Default: no.
    """
    streamer = Streamer(model, precision, fuse, compiled, cuda_graphs)
    streaming = time_streaming(streamer, hw, windows, warm_up=3)
    return dict(
        parameters=parameters(model),
        macs_per_window=macs_per_window(model, hw),
        precision=precision,
        fused=fuse,
        compiled=compiled,
        cuda_graphs=cuda_graphs,
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
    """Measures the milliseconds of training steps and the memory of one.

    Args:
        cfg: a complete config; its optimizer and precision are used for the steps.
        model: detector of the config.
        hw: height and width of a frame, in pixels.
        batch: clips in a batch.
        clip: frames in a clip.
        steps: number of timed steps.
        precision: number format in which the bytes kept for the backward pass are counted.
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
    """Returns a context in which PyTorch computes in this precision.

    Args:
        device: the device.
        precision: number format, such as "float16"; for "float32" nothing changes.
    """
    return torch.autocast(device.type, getattr(torch, precision), enabled=precision != "float32")


def format_result(result: dict) -> str:
    """Formats everything that was measured as text.

    Args:
        result: results of :func:`measure_streaming` and, if training was measured,
            :func:`measure_training`, with ``config``, ``machine``, ``frame_hw`` and, if batch sizes
            were tried, ``sweep``.
    """
    h, w = result["frame_hw"]
    macs = result["macs_per_window"] / 1e9
    size = f"{result['parameters'] / 1e6:.2f} M parameters, {macs:.2f} GMAC per window"
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
        [
            result["precision"],
            *(text for word, text in _WORDS.items() if result[word]),
        ]
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
