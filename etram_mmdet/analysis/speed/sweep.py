"""Memory of a training step by batch size, and the largest batch that fits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from mmengine.config import Config
from torch import nn

from etram_mmdet.analysis.speed import cuda
from etram_mmdet.analysis.speed.model import time_training
from etram_mmdet.engine.runner.memory import (
    BYTES_PER_PARAMETER,
    largest_batch,
    parameters,
    saved_bytes,
)
from etram_mmdet.testing import random_clips

MEASURED = "measured"
ESTIMATED = (
    "estimated from the saved tensors of batches 1 and 2, and 16 bytes a parameter; workspaces and "
    "unused memory not included"
)


def sweep(
    cfg: Config, model: nn.Module, clip: int, hw: tuple[int, int], limit_gib: float
) -> list[dict]:
    """Finds the memory of doubling batch sizes and the largest batch that fits.

    On a GPU every batch is trained for a step and its peak is measured. Elsewhere it is estimated,
    see `ESTIMATED`.

    Args:
        cfg: a complete config, from which the optimizer is built.
        model: detector of the config.
        clip: frames in a clip.
        hw: height and width of a frame, in pixels.
        limit_gib: memory that a step may take, in GiB.

    Returns:
        Rows of ``batch``, ``gib`` (memory) and ``how`` (measured or estimated). It is empty if not
        even a batch of one fits.
    """
    device = next(model.parameters()).device
    if device.type == "cuda":
        cost = _peak(cfg, model, clip, hw, device)
        how = MEASURED
    else:
        cost = _straight_line(model, clip, hw)
        how = ESTIMATED
    found = largest_batch(lambda batch: cost(batch) / 2**30, limit_gib)
    return [dict(batch=batch, gib=gib, how=how) for batch, gib in sorted(found.items())]


def _straight_line(model: nn.Module, clip: int, hw: tuple[int, int]) -> Callable[[int], float]:
    one, two = (saved_bytes(model, random_clips(model, batch, clip, hw)) for batch in (1, 2))
    fixed = one - (two - one) + BYTES_PER_PARAMETER * parameters(model)
    return lambda batch: fixed + batch * (two - one)


def _peak(
    cfg: Config, model: nn.Module, clip: int, hw: tuple[int, int], device: torch.device
) -> Callable[[int], float]:
    def peak(batch: int) -> float:
        cuda.forget(device)
        try:
            time_training(cfg, model, random_clips(model, batch, clip, hw), steps=1, warm_up=1)
        except torch.OutOfMemoryError:
            return float("inf")
        return cuda.peak_bytes(device)

    return peak
