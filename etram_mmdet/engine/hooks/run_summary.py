"""Summary of a training before it starts, on one screen."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

from mmdet.registry import HOOKS
from mmengine.config import Config
from mmengine.dist import get_world_size, is_distributed
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner
from torch import nn

from etram_mmdet.datasets.etram_dataset import ETraMDataset
from etram_mmdet.datasets.statistics import frame_step_us
from etram_mmdet.datasets.wrappers import as_streams
from etram_mmdet.engine.config.complete import added_up
from etram_mmdet.engine.config.differences import differences_to_parent
from etram_mmdet.engine.memory.prediction import predict_step, training_precision
from etram_mmdet.engine.runner.learning_rates import rates_of_run
from etram_mmdet.engine.runner.memory import BYTES_PER_PARAMETER, parameters, saved_bytes
from etram_mmdet.engine.runner.stream_runner import StreamRunner
from etram_mmdet.evaluation.evaluate import NOTHING_LEFT
from etram_mmdet.evaluation.event_coco_metric import find_metric
from etram_mmdet.evaluation.frame_columns import FrameColumns
from etram_mmdet.evaluation.ground_truth import truth_columns
from etram_mmdet.events.preprocessing.frame_times import JITTER_US
from etram_mmdet.models.backbones.base import RecurrentBackbone
from etram_mmdet.models.backbones.partition import better_partition, padded_hw
from etram_mmdet.models.layers.freezing import frozen_norms, frozen_parts
from etram_mmdet.testing import random_clips
from etram_mmdet.utils.environment import commit, machine
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.text import first_line

_MIB = 2**20
# Words in the lines of progress, besides the losses.
_LOG_WORDS = [
    "lr: learning rate; eta: time left; time: seconds per step; data_time: seconds per step spent "
    "waiting for data;",
    "data_share: data_time as a share of time; num_pos: places of the feature maps that learn to "
    "find a box",
]
_BYTES_OF_FLOAT32 = 4


@HOOKS.register_module()
class RunSummaryHook(Hook):
    """Logs :func:`run_summary` when training starts.

    Every process builds it, since heads sum counts over all processes.
    """

    priority = "VERY_LOW"

    def before_train(self, runner: Runner) -> None:
        summary = run_summary(runner)
        if isinstance(runner, StreamRunner):
            runner.console.is_open = True
        runner.logger.info(f"\n{summary}")


def run_summary(runner: Runner) -> str:
    """Config, data, shapes, memory, schedule, protocol and start weights of a training, as text.

    Args:
        runner: the runner of the training, with everything built.
    """
    cfg = runner.cfg
    model = getattr(runner.model, "module", runner.model)
    train = as_streams(runner.train_dataloader.dataset)
    sections = [
        ("config", [f"{cfg.filename or 'built in memory'}, into {runner.work_dir}"]),
        ("begins", [_begin(runner)]),
        ("differs", differences_to_parent(cfg)),
        ("train data", _data(train)),
    ]
    val = runner.val_loop if cfg.get("val_cfg") else None
    if val is not None:
        found = as_streams(val.dataloader.dataset)
        sections.append(("val data", [*_data(found), *_unlearnt(train, found)]))
    if isinstance(train, ETraMDataset):
        sections += [("input", _input(cfg, train)), ("model", _model(model, train.sequences[0].hw))]
        sections.append(("memory", [_memory(runner, model, train)]))
    frozen = _frozen(model)
    sections += [("frozen", [frozen])] if frozen else []
    loaded = list(getattr(runner, "loaded", ()))
    sections += [("weights", loaded)] if loaded else []
    sections.append(("schedule", _schedule(runner)))
    sections.append(("losses", [_losses(model)]))
    if getattr(runner, "notes", ()):
        sections.append(("notes", list(runner.notes)))
    sections.append(("log", _LOG_WORDS))
    sections.append(("protocol", _protocols(val) if val else ["no evaluation while training"]))
    where = machine(next(model.parameters()).device)
    origin = (
        f"seed {runner.seed}; {where['device']}, torch {where['torch']}; "
        f"commit {commit() or 'unknown'}"
    )
    return "\n".join(_lines([*sections, ("origin", [origin])]))


def _begin(runner: Runner) -> str:
    """Where the weights come from."""
    found = runner._load_from
    if runner._resume and found:
        return f"after step {runner.iter:,}, resumed from {found}"
    return f"at step 0 with the weights of {found}" if found else "at step 0 with new weights"


def _protocols(val: BaseLoop) -> list[str]:
    """What each protocol leaves out of the validation data.

    Raises ``InputError`` if the headline protocol leaves out every box, which would end the
    training at its first validation.
    """
    metric = find_metric(val.evaluator)
    if metric is None:
        return [", ".join(type(m).__name__ for m in val.evaluator.metrics)]
    dataset = as_streams(val.dataloader.dataset)
    is_ours = isinstance(dataset, ETraMDataset)
    truth = truth_columns(dataset) if is_ours else FrameColumns.of([])
    lines = []
    for protocol in metric.protocols:
        kept, removed = protocol.select_columns(truth)
        if truth.count and protocol is metric.protocols[0] and not len(kept.truth.labels):
            raise InputError(f"protocol {protocol}\n{removed}\n{NOTHING_LEFT}")
        lines.append(
            f"{protocol}; leaves out {removed.frames:,} frames and {removed.boxes:,} boxes"
        )
    return lines


def _data(dataset: ETraMDataset) -> list[str]:
    if not isinstance(dataset, ETraMDataset):
        return [repr(dataset)]
    counts = dataset.box_counts
    classes = dataset.metainfo["classes"]
    present = [
        f"{name} {number:,}"
        for name, number in zip(classes, counts.tolist(), strict=True)
        if number
    ]
    absent = [name for name, number in zip(classes, counts, strict=True) if not number]
    lines = [
        f"{dataset.folder}: {len(dataset.sequences)} recordings, {len(dataset):,} labelled frames, "
        f"{counts.sum():,} boxes, class_set {dataset.classes.name}",
        ", ".join(present),
        *filter(None, [dataset.told_of_left_out()]),
    ]
    return lines + ([f"WARNING no boxes of {', '.join(absent)}"] if absent else [])


def _unlearnt(train: ETraMDataset, val: ETraMDataset) -> list[str]:
    if not (isinstance(train, ETraMDataset) and isinstance(val, ETraMDataset)):
        return []
    seen, asked = (d.box_counts for d in (train, val))
    names = [
        name
        for name, a, b in zip(train.metainfo["classes"], seen, asked, strict=True)
        if b and not a
    ]
    return (
        [f"WARNING {', '.join(names)}: boxes here, but none in the training data"] if names else []
    )


def _input(cfg: Config, dataset: ETraMDataset) -> list[str]:
    sequence = dataset.sequences[0]
    loader = cfg.train_dataloader
    shape = f"{sequence.channels} x {sequence.hw[0]} x {sequence.hw[1]}"
    step_us = frame_step_us(dataset)
    every = f" every {step_us / 1000:g} ms" if step_us else ""
    line = (
        f"{shape} ({dataset.representation['type']}, {dataset.window_us / 1000:g} ms, "
        f"{sequence.scale} sensor px per px), clips of {dataset.clip_length} frames{every}, "
        f"{loader.batch_size} lanes"
    )
    return [line, *_other_steps(dataset, step_us)]


def _other_steps(dataset: ETraMDataset, step_us: int | None) -> list[str]:
    """A warning if some recordings have another time between frames than a stream will use."""
    steps_us = {s.name: s.step_us for s in dataset.sequences if s.num_frames > 1}
    others = [
        f"{name} {step / 1000:.4g}"
        for name, step in steps_us.items()
        if abs(step - step_us) > JITTER_US
    ]
    if not others:
        return []
    listed = ", ".join(others[:3]) + (f", and {len(others) - 3} more" if len(others) > 3 else "")
    return [
        f"WARNING some recordings have another time between frames (ms): {listed}; streams use "
        f"{step_us / 1000:g} ms"
    ]


def _model(model: nn.Module, hw: tuple[int, int]) -> list[str]:
    parts = {
        name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()
    }
    listed = ", ".join(f"{name} {count / 1e6:.2f}" for name, count in parts.items() if count)
    lines = [f"{sum(parts.values()) / 1e6:.2f} million parameters: {listed}"]
    backbone = model.backbone
    if isinstance(backbone, RecurrentBackbone):
        padded = padded_hw(hw, backbone.size_divisor)
        levels = ", ".join(
            f"stride {stride}: {channels} x {padded[0] // stride} x {padded[1] // stride}"
            for stride, channels in zip(backbone.out_strides, backbone.out_channels, strict=True)
        )
        lines.append(f"padded to {padded[0]} x {padded[1]}; maps for the neck: {levels}")
        lines += _padding_advice(backbone, hw)
    return lines


def _frozen(model: nn.Module) -> str:
    """Which parts are not trained; empty where all are."""
    parts = frozen_parts(model)
    if not parts:
        return ""
    norms = len(frozen_norms(model))
    return (
        f"{', '.join(parts)}: {sum(parts.values()) / 1e6:.2f} of {parameters(model) / 1e6:.2f} "
        "million parameters" + (f"; {norms} BatchNorm layers in evaluation mode" if norms else "")
    )


def _padding_advice(backbone: RecurrentBackbone, hw: tuple[int, int]) -> list[str]:
    partition = getattr(backbone, "partition_size", None)
    if partition is None:
        return []
    stride = backbone.size_divisor[0] // partition[0]
    better = better_partition(hw, partition, stride)
    if better is None:
        return []
    extra = math.prod(padded_hw(hw, backbone.size_divisor)) / math.prod(hw) - 1
    less = padded_hw(hw, [stride * cells for cells in better])
    return [
        f"WARNING padding adds {extra:.0%} to every frame; model.backbone.partition_size={better} "
        f"pads to {less[0]} x {less[1]} only"
    ]


def _memory(runner: Runner, model: nn.Module, dataset: ETraMDataset) -> str:
    """Memory of a training step, as text: predicted for a GPU, roughly added up for a CPU."""
    lanes = runner.cfg.train_dataloader.batch_size
    hw = dataset.sequences[0].hw
    if next(model.parameters()).device.type == "cuda":
        return _predicted_memory(runner.cfg, model, hw, lanes, dataset.clip_length)
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


def _predicted_memory(
    cfg: Config, model: nn.Module, hw: tuple[int, int], lanes: int, clip_length: int
) -> str:
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


def _schedule(runner: Runner) -> list[str]:
    steps = runner.train_loop.max_iters
    epochs = runner.train_loop.max_epochs
    passes = f" ({epochs} epochs of {steps // epochs:,})" if epochs > 1 else ""
    processes = get_world_size()
    loader = runner.train_dataloader
    lanes = getattr(loader.batch_sampler, "batch_size", None) or loader.batch_size
    added = added_up(runner.cfg)
    parts = [f"{lanes} on each of {processes} processes"] if processes > 1 else []
    parts += [f"an update every {added} steps"] if added > 1 else []
    spread = f" ({', '.join(parts)})" if parts else ""
    lanes *= processes
    return [
        f"{steps:,} steps{passes}, effective batch {lanes * added}{spread}, "
        f"{steps * lanes:,} samples",
        *rates_of_run(runner),
    ]


def _losses(model: nn.Module) -> str:
    """Every loss of the built model and its weight."""
    named = [
        (name, part)
        for name, part in model.named_modules()
        if isinstance(getattr(part, "loss_weight", None), float | int)
    ]
    if not getattr(model.bbox_head, "use_l1", True):
        named = [(name, part) for name, part in named if not name.endswith("loss_l1")]
    told = [
        f"{name.removeprefix('bbox_head.')} {part.loss_weight:g} * {type(part).__name__}"
        for name, part in named
    ]
    return ", ".join(told) or "not known"


def _lines(sections: list[tuple[str, list[str]]]) -> Iterator[str]:
    width = max(len(name) for name, _ in sections)
    for name, texts in sections:
        for i, text in enumerate(texts):
            yield f"{name if i == 0 else '':{width}}  {text}"
