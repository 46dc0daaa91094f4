"""Memory of a training step by batch size, and the largest batch that fits."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from mmengine.config import Config
from torch import nn

from etram_mmdet.analysis.speed import cuda
from etram_mmdet.analysis.speed.model import time_training
from etram_mmdet.engine.memory.prediction import predict_step
from etram_mmdet.engine.runner.memory import largest_batch
from etram_mmdet.testing import random_clips

MEASURED = "measured"
PREDICTED = (
    "predicted for a GPU: tensors, workspaces, 5 % for holes between them and 0.5 GiB for CUDA"
)


def sweep(
    cfg: Config,
    model: nn.Module,
    clip: int,
    hw: tuple[int, int],
    limit_gib: float,
    cost: Callable[[int], float] | None = None,
) -> list[dict]:
    """Finds the memory of doubling batch sizes and the largest batch that fits.

    Args:
        cfg: a complete config, from which the optimizer is built.
        model: detector of the config.
        clip: frames in a clip.
        hw: height and width of a frame, in pixels.
        limit_gib: memory that a step may take, in GiB.
        cost: from :func:`predicted_cost`. Default: every batch is trained for a step on the GPU,
            and its peak is measured.

    Returns:
        Rows of ``batch``, ``gib`` (memory) and ``how`` (measured or predicted). It is empty if not
        even a batch of one fits.
    """
    how = PREDICTED if cost else MEASURED
    cost = cost or _peak(cfg, model, clip, hw, next(model.parameters()).device)
    found = largest_batch(lambda batch: cost(batch) / 2**30, limit_gib)
    return [dict(batch=batch, gib=gib, how=how) for batch, gib in sorted(found.items())]


def predicted_cost(
    cfg: Config,
    model: nn.Module,
    clip: int,
    hw: tuple[int, int],
    precision: str,
    device: str = "cuda",
    label_every: int = 2,
) -> Callable[[int], int]:
    """Returns the function that predicts the bytes needed for a batch, see ``StepMemory.needed``.

    It remembers what it was asked.

    Args:
        cfg: a complete config, from which the optimizer is built.
        model: detector of the config.
        clip: frames in a clip.
        hw: height and width of a frame, in pixels.
        precision: number format of the training.
        device: "cuda" or "cpu", where the step would run. Default: "cuda".
        label_every: every frame whose number this divides is labelled. Default: 2.
    """
    how = clip, precision, device, label_every
    return cache(lambda batch: predict_step(cfg, model, hw, batch, *how).needed)


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
