"""The line of the run summary about the memory of a training step."""

from __future__ import annotations

import copy

from mmengine.config import Config
from mmengine.dist import is_distributed
from mmengine.runner import Runner
from torch import nn

from etram_mmdet.datasets.etram_dataset import ETraMDataset
from etram_mmdet.engine.memory.prediction import predict_step, training_precision
from etram_mmdet.engine.runner.memory import BYTES_PER_PARAMETER, parameters, saved_bytes
from etram_mmdet.models.layers.freezing import frozen_parts
from etram_mmdet.testing import random_clips
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.text import first_line

_MIB = 2**20
_BYTES_OF_FLOAT32 = 4


def memory_line(runner: Runner, model: nn.Module, dataset: ETraMDataset) -> str:
    """Memory of a training step, as text: predicted for a GPU, roughly added up for a CPU.

    Args:
        runner: the runner of the training, with everything built.
        model: its detector, without the wrapper of several processes.
        dataset: the training data.
    """
    lanes = runner.cfg.train_dataloader.batch_size
    hw = dataset.sequences[0].hw
    if next(model.parameters()).device.type == "cuda":
        return predicted_memory(runner.cfg, model, hw, lanes, dataset.clip_length)
    lanes = min(getattr(model, "micro_batch", None) or lanes, lanes)
    with runner.optim_wrapper.optim_context(model):
        # on a copy, so that weights, statistics and state do not change
        one_lane = random_clips(model, 1, dataset.clip_length, hw)
        kept = saved_bytes(copy.deepcopy(model), one_lane)
    resting = sum(frozen_parts(model).values())
    weights = BYTES_PER_PARAMETER * (parameters(model) - resting) + _BYTES_OF_FLOAT32 * resting
    total = weights + lanes * kept
    return (
        f"about {total / _MIB:,.0f} MiB: {weights / _MIB:,.0f} for weights, gradients and AdamW, "
        f"{kept / _MIB:,.0f} for each of {lanes} lanes kept for the backward pass (temporary "
        "memory of operations not counted; tools/benchmark.py CONFIG --memory-of cuda predicts the "
        "peak on a GPU)"
    )


def predicted_memory(
    cfg: Config, model: nn.Module, hw: tuple[int, int], lanes: int, clip_length: int
) -> str:
    """Peak memory of a training step on a GPU, as text; a sentence if it cannot be predicted.

    Args:
        cfg: config of the training.
        model: its detector.
        hw: height and width of a frame, in network pixels.
        lanes: number of clips in a batch.
        clip_length: number of frames of a clip.
    """
    if is_distributed():  # fake tensors cannot be sent to other processes
        return (
            f"not predicted with several processes; for one of them: tools/benchmark.py "
            f"{cfg.filename} --memory-of cuda --batch {lanes}"
        )
    precision = training_precision(cfg)
    try:
        found = predict_step(cfg, model, hw, lanes, clip_length, precision)
    except InputError as error:
        return f"not known: {error}"
    except Exception as error:  # a wrapper or a plugin of the user's own; the training goes on
        return f"not known: {type(error).__name__}: {first_line(error)}"
    return (
        f"peak about {found.allocated / _MIB:,.0f} MiB in {precision} (predicted): "
        f"{(found.weights + found.averaged) / _MIB:,.0f} for weights, "
        f"{(found.gradients + found.optimizer) / _MIB:,.0f} for gradients and optimizer, "
        f"{found.kept / _MIB:,.0f} kept for the backward pass of {lanes} lanes; a GPU needs about "
        f"{found.needed / _MIB:,.0f} MiB"
    )
