"""COCO's AP as a metric of mmengine, for streams of event frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.registry import METRICS
from mmdet.structures.bbox import get_box_tensor
from mmengine.dist import broadcast_object_list, gather_object, is_main_process, master_only
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import Tensor

from etram_mmdet.evaluation.evaluate import Headline, evaluate
from etram_mmdet.evaluation.frame_collection import CollectedFrames, merge
from etram_mmdet.evaluation.frame_columns import FrameColumns
from etram_mmdet.evaluation.predictions import save_predictions
from etram_mmdet.evaluation.protocols import get_protocols
from etram_mmdet.evaluation.results import (
    FrameResult,
    check_labels,
    make_boxes,
    place_of,
)
from etram_mmdet.events.preprocessing.frame_times import STEP_US
from etram_mmdet.utils.errors import InputError


@METRICS.register_module()
class EventCocoMetric(BaseMetric):
    """COCO's AP and AR under one or several protocols in one pass.

    AR is taken at 1, 10 and 100 detections per frame and class. Published RVT and eTraM numbers
    follow ``prophesee`` or ``etram_paper``, which remove small boxes by their size in sensor pixels
    (``scale`` of a sample; 1 if it is missing).

    The metric takes one data sample per labelled frame, with ``recording``, ``t_us``,
    ``gt_instances`` and ``pred_instances``. Samples with ``is_padding=True`` or
    ``is_labelled=False`` are skipped. Boxes in ``ignored_instances`` are optional and are ignored
    as COCO ignores crowds. A frame is identified by (recording, t_us), so the numbers do not depend
    on batch size, workers or world size. Keys are those of `coco_metrics` behind the protocol's
    name and a slash; the headline protocol adds the keys of `Breakdown.metrics`. Numbers are not
    rounded.

    Args:
        protocols: names of :data:`PROTOCOLS`; the first one is the headline. Default:
            ``("coco",)``.

    Attributes:
        columns: after ``evaluate``, on the main process: all frames, sorted by (recording, t_us).
        headline: after ``evaluate``, on the main process: frames, classes and breakdown under the
            first protocol.

    Raises:
        InputError: a protocol is unknown.
    """

    def __init__(self, protocols: Sequence[str] = ("coco",)) -> None:
        super().__init__()
        self.protocols = get_protocols(protocols)
        self.results = CollectedFrames()
        self.columns: FrameColumns | None = None
        self.headline: Headline | None = None

    @property
    def frames(self) -> dict[tuple[str, int], FrameResult]:
        """The frames of ``columns`` by (recording, t_us). Each access makes new objects."""
        return {} if self.columns is None else {each.key: each for each in self.columns.frames()}

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the labelled frames of a batch.

        Args:
            data_batch: not used.
            data_samples: predicted data samples as dicts.

        Raises:
            InputError: as `frame_of` and `Protocol.check` do.
        """
        for sample in data_samples:
            if sample.get("is_labelled", True) and not sample.get("is_padding", False):
                frame = frame_of(sample, len(self._classes))
                for protocol in self.protocols:
                    protocol.check(frame)
                self.results.append(frame)

    def evaluate(self, size: int) -> dict[str, float]:
        """Metrics over the frames of all processes, the same on every process.

        Args:
            size: not used. mmengine passes ``len(dataset)`` and cuts the results to it. Here an
                item of the dataset is a clip of several frames, so that cut would silently lose
                most frames.
        """
        per_rank = gather_object(self.results.columns(), dst=0)
        self.results.clear()
        self.columns = None  # so that no earlier result stays if this evaluation fails
        self.headline = None
        outcome: list[Any] = [None]
        if is_main_process():
            try:
                outcome = [self.compute_metrics(FrameColumns.joined(per_rank))]
            except InputError as error:  # raised on every rank below, or the other ranks would hang
                outcome = [error]
        broadcast_object_list(outcome)
        if isinstance(outcome[0], InputError):
            raise outcome[0]
        return outcome[0]

    def compute_metrics(self, results: FrameColumns | Sequence[FrameResult]) -> dict[str, float]:
        """Metrics of the merged frames under each protocol; the tables go to the log.

        Args:
            results: frames of all processes in any order. ``evaluate`` hands them over as columns,
                of which ``results.each()`` gives the frames one by one.

        Raises:
            InputError: there are no frames, a frame comes twice with different boxes, or no box is
                left under the headline protocol.
        """
        columns = merge([FrameColumns.of(results)])
        if not columns.count:
            raise InputError(
                "no labelled frame reached the metric; expected data samples with recording and "
                "t_us that are neither is_labelled=False nor is_padding=True: check the labels of "
                "the evaluated split and its sampler"
            )
        self.columns = columns
        metrics, self.headline = evaluate(
            columns,
            self._classes,
            self.protocols,
            lambda text: print_log(text, logger="current"),
        )
        return metrics

    @property
    def _classes(self) -> Sequence[str]:
        classes = (self.dataset_meta or {}).get("classes")
        if not classes:
            raise InputError(
                f"EventCocoMetric has no class names: dataset_meta is {self.dataset_meta}, "
                "expected a key 'classes'. The Runner sets it from the dataset's metainfo; without "
                "a Runner, set metric.dataset_meta first"
            )
        return classes


def find_metric(evaluator: Evaluator) -> EventCocoMetric | None:
    """The first :class:`EventCocoMetric` of an evaluator, or ``None``.

    Args:
        evaluator: evaluator of a validation or a test.
    """
    return next(
        (metric for metric in evaluator.metrics if isinstance(metric, EventCocoMetric)), None
    )


@master_only
def save_evaluated(runner: Runner, path: Path) -> None:
    """Save predictions and truth of every frame that the last test evaluated, on the main process.

    Args:
        runner: runner whose test has finished.
        path: .json or .npz file to write, see :mod:`etram_mmdet.evaluation.predictions`.

    Raises:
        InputError: the test has no :class:`EventCocoMetric`, or the file cannot be written.
    """
    metric = find_metric(runner.test_evaluator)
    if metric is None:
        raise InputError(
            f"{path}: there are no predictions to save, since test_evaluator has no "
            "EventCocoMetric; add dict(type='EventCocoMetric') to it"
        )
    test_cfg = runner.cfg.model.get("test_cfg") or {}
    save_predictions(
        path,
        metric.columns,
        metric.dataset_meta["classes"],
        dict(test_cfg),
        runner.cfg.get("load_from") or "",
    )


def frame_of(sample: dict, num_classes: int) -> FrameResult:
    """Copy one data sample to NumPy.

    Args:
        sample: data sample as a dict (``DetDataSample.to_dict()``).
        num_classes: number of classes, against which labels are checked.

    Raises:
        InputError: with recording and time, as :class:`Boxes` and :func:`check_labels` do.
    """
    recording = str(sample["recording"])
    t_us = int(sample["t_us"])
    columns = dict(
        truth=_columns(sample["gt_instances"]),
        found=_columns(sample["pred_instances"], ("scores", "class_scores")),
    )
    if "ignored_instances" in sample:
        columns["ignored"] = _columns(sample["ignored_instances"])
    frame = FrameResult(
        recording=recording,
        t_us=t_us,
        **make_boxes(place_of(recording, t_us), **columns),
        scale=int(sample.get("scale", 1)),
        hw=tuple(map(int, sample["img_shape"])) if "img_shape" in sample else None,
        start_us=int(sample.get("start_us", 0)),
        step_us=int(sample.get("step_us", STEP_US)),
    )
    check_labels(frame, num_classes)
    return frame


def _columns(instances: dict, scores: Sequence[str] = ()) -> dict[str, np.ndarray]:
    return dict(
        bboxes_xyxy=_numpy(get_box_tensor(instances["bboxes"]), np.float32).reshape(-1, 4),
        labels=_numpy(instances["labels"], np.int64),
        **{name: _numpy(instances[name], np.float32) for name in scores if name in instances},
    )


def _numpy(values: Tensor, dtype: type) -> np.ndarray:
    """Copy a tensor to NumPy, so that a frame keeps no batch in memory.

    Floats go through float32, since NumPy has no bfloat16.
    """
    values = values.detach().cpu()
    return (values.float() if values.is_floating_point() else values).numpy().astype(dtype)
