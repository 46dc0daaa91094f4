"""Summary of a training before it starts, on one screen."""

from __future__ import annotations

from collections.abc import Iterator

from mmdet.registry import HOOKS
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner
from torch import nn

from etram_mmdet.datasets.etram_dataset import ETraMDataset
from etram_mmdet.datasets.wrappers import as_streams
from etram_mmdet.engine.config.complete import added_up
from etram_mmdet.engine.config.differences import differences_to_parent
from etram_mmdet.engine.runner.learning_rates import rates_of_run
from etram_mmdet.engine.runner.stream_runner import StreamRunner
from etram_mmdet.engine.summary.data import data_lines, input_lines, unlearnt_classes
from etram_mmdet.engine.summary.memory import memory_line
from etram_mmdet.engine.summary.model import frozen_lines, losses_line, model_lines
from etram_mmdet.evaluation.evaluate import NOTHING_LEFT
from etram_mmdet.evaluation.event_coco_metric import find_metric
from etram_mmdet.evaluation.frame_columns import FrameColumns
from etram_mmdet.evaluation.ground_truth import truth_columns
from etram_mmdet.utils.environment import commit, machine
from etram_mmdet.utils.errors import InputError

# Words in the lines of progress, besides the losses.
_LOG_WORDS = [
    "lr: learning rate; eta: time left; time: seconds per step; data_time: seconds per step spent "
    "waiting for data;",
    "data_share: data_time as a share of time; num_pos: places of the feature maps that learn to "
    "find a box",
]


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
    val = runner.val_loop if cfg.get("val_cfg") else None
    sections = {
        "config": [f"{cfg.filename or 'built in memory'}, into {runner.work_dir}"],
        "begins": [_begin(runner)],
        "differs": differences_to_parent(cfg),
        "train data": data_lines(train),
        "val data": _validation_lines(train, val) if val else [],
        **_shapes_and_memory(runner, model, train),
        "frozen": frozen_lines(model),
        "weights": list(getattr(runner, "loaded", ())),
        "schedule": _schedule(runner),
        "losses": [losses_line(model)],
        "notes": list(getattr(runner, "notes", ())),
        "log": _LOG_WORDS,
        "protocol": _protocols(val) if val else ["no evaluation while training"],
        "origin": [_origin(runner, model)],
    }
    return "\n".join(_lines(sections))


def _validation_lines(train: ETraMDataset, val: BaseLoop) -> list[str]:
    dataset = as_streams(val.dataloader.dataset)
    return [*data_lines(dataset), *unlearnt_classes(train, dataset)]


def _shapes_and_memory(
    runner: Runner, model: nn.Module, train: ETraMDataset
) -> dict[str, list[str]]:
    """Sections that need frames of this project's data sets."""
    if not isinstance(train, ETraMDataset):
        return {}
    return {
        "input": input_lines(runner.cfg, train),
        "model": model_lines(model, train.sequences[0].hw),
        "memory": [memory_line(runner, model, train)],
    }


def _origin(runner: Runner, model: nn.Module) -> str:
    where = machine(next(model.parameters()).device)
    return (
        f"seed {runner.seed}; {where['device']}, torch {where['torch']}; "
        f"commit {commit() or 'unknown'}"
    )


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


def _lines(sections: dict[str, list[str]]) -> Iterator[str]:
    width = max(map(len, sections))
    for name, texts in sections.items():
        for i, text in enumerate(texts):
            yield f"{name if i == 0 else '':{width}}  {text}"
