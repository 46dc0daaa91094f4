"""Check before the first step that validation gives the numbers that hooks and schedules name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mmengine.hooks import CheckpointHook, EarlyStoppingHook
from mmengine.runner import Runner

from etram_mmdet.datasets.etram_dataset import ETraMDataset
from etram_mmdet.datasets.wrappers import as_streams
from etram_mmdet.evaluation.breakdown import break_down
from etram_mmdet.evaluation.coco import class_agnostic, coco_metrics
from etram_mmdet.evaluation.evaluate import ANY_CLASS
from etram_mmdet.evaluation.event_coco_metric import EventCocoMetric
from etram_mmdet.evaluation.frame_columns import FrameColumns
from etram_mmdet.evaluation.ground_truth import truth_columns
from etram_mmdet.evaluation.protocols import Protocol
from etram_mmdet.evaluation.results_table import current_name
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.text import nearest


def check_monitored(runner: Runner) -> None:
    """Refuse the name of a monitored number that no validation of this training will give.

    ``save_best`` of checkpoints, ``monitor`` of early stopping and of ReduceOnPlateau are compared
    with the numbers that the metric gives for the truth of the validation data. Nothing is checked
    if a metric of another class might give more.

    Args:
        runner: the runner of the training.

    Raises:
        InputError: the message names the setting and every number that validation will give.
    """
    asked = [(place, name) for place, name in _asked(runner) if name != "auto"]
    metrics = runner.val_evaluator.metrics if asked else []
    dataset = as_streams(runner.val_dataloader.dataset) if asked else None
    if (
        not asked
        or not isinstance(dataset, ETraMDataset)
        or any(type(each) is not EventCocoMetric for each in metrics)
    ):
        return
    names = metric_names(metrics, dataset)
    protocols = [protocol.name for metric in metrics for protocol in metric.protocols]
    for place, name in asked:
        if current_name(name) != name:
            raise InputError(
                f"{place}={name}: this metric was renamed, and its new name holds the size limit "
                f"in pixels; set it to {current_name(name)}"
            )
        if "/" in name and name.split("/")[0] not in protocols:
            raise InputError(
                f"{place}={name}, but validation evaluates {', '.join(protocols)}; set it to "
                f"{protocols[0]}/AP, or add {name.split('/')[0]} to val_evaluator.protocols"
            )
        # without names the data have no box, which another message reports
        if names and name not in names:
            near = nearest(name, names)
            raise InputError(
                f"{place}={name}, but validation gives no such number"
                f"{f'; did you mean {near}?' if near else '.'} It gives {', '.join(names)}"
            )


def metric_names(metrics: Sequence[EventCocoMetric], dataset: ETraMDataset) -> list[str]:
    """Names of the numbers that an evaluation will give, as far as there are boxes for them.

    Args:
        metrics: the metrics of the evaluation.
        dataset: its data.
    """
    truth = truth_columns(dataset)
    classes = tuple(dataset.metainfo["classes"])
    names = [
        f"{protocol.name}/{key}"
        for metric in metrics
        for protocol in metric.protocols
        for key in _keys(protocol, protocol is metric.protocols[0], truth, classes)
    ]
    return list(dict.fromkeys(names))


def _keys(
    protocol: Protocol, is_headline: bool, truth: FrameColumns, classes: Sequence[str]
) -> list[str]:
    frames, _ = protocol.select_columns(truth)
    if not len(frames.truth.labels):
        return []
    if not protocol.class_aware:
        frames, classes = class_agnostic(frames), (ANY_CLASS,)
    numbers = coco_metrics(frames, classes) | (
        break_down(frames, classes).metrics() if is_headline else {}
    )
    return [key for key in numbers if ANY_CLASS not in key]


def _asked(runner: Runner) -> Iterator[tuple[str, str]]:
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook) and hook.save_best:
            yield from (
                ("default_hooks.checkpoint.save_best", name) for name in hook.key_indicators
            )
        if isinstance(hook, EarlyStoppingHook):
            yield "EarlyStoppingHook.monitor", hook.monitor
    schedulers = runner.param_schedulers or []
    for number, scheduler in enumerate(schedulers if isinstance(schedulers, list) else []):
        if hasattr(scheduler, "monitor"):
            yield f"param_scheduler.{number}.monitor", scheduler.monitor
