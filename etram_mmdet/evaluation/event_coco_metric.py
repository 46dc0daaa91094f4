"""COCO's AP for streams of event frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmdet.registry import METRICS
from mmengine.dist import broadcast_object_list, gather_object, is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from etram_mmdet.events.errors import InputError

from .coco_protocol import PROTOCOL, boxes_per_class, coco_metrics, format_table
from .frames import Frame, frame_of, merge


@METRICS.register_module()
class EventCocoMetric(BaseMetric):
    """COCO's AP and AR, class-aware, without box filter, at 1, 10 and 100 detections per frame and class.

    Takes one data sample per labelled frame, with ``recording``, ``t_us``, ``gt_instances`` and ``pred_instances``;
    samples with ``is_padding=True`` or ``is_labelled=False`` are skipped. Frames are told apart by (recording, t_us),
    so the numbers do not depend on batch size, workers or world size. The keys are those of `coco_metrics` behind
    ``coco/``, unrounded.

    Attributes:
        frames: after ``evaluate``, on the main process: every frame's boxes by (recording, t_us), sorted.
    """

    default_prefix = "coco"
    protocol = PROTOCOL

    def __init__(self, prefix: str | None = None) -> None:
        super().__init__(prefix=prefix)
        self.frames: dict[tuple[str, int], Frame] = {}

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the labelled frames of a batch; raises ``InputError`` as `frame_of` does."""
        for sample in data_samples:
            if sample.get("is_labelled", True) and not sample.get("is_padding", False):
                self.results.append(frame_of(sample, len(self._classes)))

    def evaluate(self, size: int) -> dict[str, float]:
        """Metrics over the frames of all ranks, on every rank; ``size`` is ignored.

        mmengine passes ``len(dataset)`` and cuts the results to it. Here a dataset item is a clip of several frames, so
        that cut would lose most of them without a word.
        """
        per_rank = gather_object(self.results, dst=0)
        outcome: list[Any] = [None]
        if is_main_process():
            try:
                metrics = self.compute_metrics([frame for part in per_rank for frame in part])
                outcome = [{f"{self.prefix}/{key}": value for key, value in metrics.items()}]
            except InputError as error:  # raised on every rank below: else the others wait for it for ever
                outcome = [error]
        broadcast_object_list(outcome)
        self.results.clear()
        if isinstance(outcome[0], InputError):
            raise outcome[0]
        return outcome[0]

    def compute_metrics(self, results: list[Frame]) -> dict[str, float]:
        """`coco_metrics` of the merged frames, and a table in the log; raises ``InputError`` if there are none."""
        if not results:
            raise InputError(
                "no labelled frame reached the metric; expected data samples with recording and t_us that are neither "
                "is_labelled=False nor is_padding=True: check the labels of the evaluated split and its sampler"
            )
        self.frames = merge(results)
        frames = list(self.frames.values())
        metrics = coco_metrics(frames, self._classes)
        table = format_table(metrics, boxes_per_class(frames, len(self._classes)), self._classes)
        print_log("\n" + table, logger="current")
        return metrics

    @property
    def _classes(self) -> Sequence[str]:
        classes = (self.dataset_meta or {}).get("classes")
        if not classes:
            raise InputError(
                f"EventCocoMetric has no class names: dataset_meta is {self.dataset_meta}, expected a key 'classes'. "
                "The Runner sets it from the dataset's metainfo; elsewhere set metric.dataset_meta first"
            )
        return classes
