"""Parts of the GPU check that measure latency, throughput and memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from torch import nn

from etram_mmdet.analysis.speed import cuda
from etram_mmdet.analysis.speed.gpu_check.size import Size
from etram_mmdet.analysis.speed.model import build_model, time_streaming, time_training
from etram_mmdet.analysis.speed.timing import Clock
from etram_mmdet.models.inference import Streamer
from etram_mmdet.testing import random_clips
from etram_mmdet.utils.cli.detection import PRECISIONS
from etram_mmdet.utils.errors import InputError

GOAL = "patch2_sizeaware_batch6"
GOAL_GIB = 12
STREAMED = ("baseline_tiny", "baseline", "patch2_sizeaware")
TRAINED = ("baseline_tiny", "baseline", "patch2_sizeaware", GOAL)


def memory(device: torch.device, size: Size, _: Path) -> Iterator[dict]:
    """Measures the memory of a config that once ran out of it, and tries it with a limit.

    Yields one row. It says how much memory training steps take, and whether they fit into
    `GOAL_GIB`.

    Args:
        device: device to measure.
        size: which frames and networks are used.
        _: not used.
    """
    cfg, model, data = _in_training(size, GOAL, device)
    cuda.forget(device)
    time_training(cfg, model, data, steps=2, warm_up=1)
    allocated_gib = cuda.peak_bytes(device) / 2**30
    reserved_gib = cuda.reserved_peak_bytes(device) / 2**30
    cuda.forget(device)
    with cuda.at_most(device, GOAL_GIB):
        fits = _trains(cfg, model, data)
    yield dict(
        config=GOAL,
        batch=len(data["inputs"]),
        clip=len(data["inputs"][0]),
        allocated_gib=allocated_gib,
        reserved_gib=reserved_gib,
        limit_gib=GOAL_GIB,
        trains_within_limit=fits,
        holds=allocated_gib <= GOAL_GIB and fits,
    )


def _in_training(size: Size, name: str, device: torch.device) -> tuple[Config, nn.Module, dict]:
    cfg = size.config(name)
    torch.manual_seed(0)
    cuda.choose_convolutions_as(cfg)
    model = build_model(cfg, device)
    loader = cfg.train_dataloader
    return (
        cfg,
        model,
        random_clips(model, loader.batch_size, loader.dataset.clip_length, size.frame_hw),
    )


def _trains(cfg: Config, model: nn.Module, data: dict) -> bool:
    try:
        time_training(cfg, model, data, steps=2, warm_up=0)
    except torch.OutOfMemoryError:
        return False
    return True


def streaming(device: torch.device, size: Size, _: Path) -> Iterator[dict]:
    """Yields the latency of one window of one stream, for every config and precision.

    Weights are untrained. Compiled networks come last because compiling takes long.

    Args:
        device: device to measure.
        size: which frames and networks are used, and how many windows.
        _: not used.
    """
    for precision in (p for p in PRECISIONS if p != "bfloat16" or cuda.has_bfloat16(device)):
        for name in STREAMED:
            yield _latency(device, size, name, precision, is_compiled=False)
    names, precisions = size.compiled
    for precision in precisions:
        for name in names:
            yield _latency(device, size, name, precision, is_compiled=True)


def _latency(
    device: torch.device, size: Size, name: str, precision: str, is_compiled: bool
) -> dict:
    row = dict(config=name, precision=precision, compiled=is_compiled)
    torch.compiler.reset()  # one process may compile only a few models
    torch.manual_seed(0)
    model = build_model(size.config(name), device)
    cuda.forget(device)
    try:
        streamer = Streamer(model, precision, compiled=is_compiled)
        clock = time_streaming(streamer, size.frame_hw, size.timed_windows, size.untimed_windows)
    except (InputError, torch.OutOfMemoryError) as error:
        return row | dict(reason=str(error).splitlines()[0], holds=False)
    return row | _milliseconds(clock)


def _milliseconds(clock: Clock) -> dict[str, float]:
    """Returns the latency of a whole window, and the medians of its two large parts."""
    parts = {name: 1e3 * np.array(seconds) for name, seconds in clock.seconds.items()}
    network = parts["window"] - parts["data"] - parts["post-processing"]
    whole = {f"{name}_ms": value for name, value in clock.milliseconds()["window"].items()}
    return whole | dict(
        network_median_ms=float(np.median(network)),
        boxes_median_ms=float(np.median(parts["post-processing"])),
    )


def throughput(device: torch.device, size: Size, _: Path) -> Iterator[dict]:
    """Yields the speed of training steps at each config's batch size.

    A config that needs more memory than the GPU has does not fail the part.

    Args:
        device: device to measure.
        size: which frames and networks are used, and how many steps.
        _: not used.
    """
    for name in TRAINED:
        cfg, model, data = _in_training(size, name, device)
        row = dict(config=name, batch=len(data["inputs"]), clip=len(data["inputs"][0]))
        cuda.forget(device)
        try:
            clock = time_training(cfg, model, data, size.timed_steps, size.untimed_steps)
        except torch.OutOfMemoryError:
            yield row | dict(reason="out of memory")
        else:
            yield (
                row
                | _per_second(clock, row["batch"])
                | dict(peak_gib=cuda.peak_bytes(device) / 2**30)
            )


def _per_second(clock: Clock, batch: int) -> dict[str, float]:
    step = clock.milliseconds()["step"]
    per_s = 1e3 / step["median"]
    return {f"{name}_ms": value for name, value in step.items()} | dict(
        steps_per_s=per_s, clips_per_s=batch * per_s
    )
