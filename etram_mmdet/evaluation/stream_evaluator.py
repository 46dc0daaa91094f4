"""mmdet's metrics over the labelled frames of streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmdet.evaluation.metrics import BaseVideoMetric, CocoVideoMetric
from mmdet.registry import EVALUATOR
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import get_box_tensor
from mmengine.dist import all_gather_object
from mmengine.evaluator import BaseMetric, Evaluator

from etram_mmdet.evaluation.event_coco_metric import EventCocoMetric
from etram_mmdet.utils.errors import InputError


@EVALUATOR.register_module()
class StreamEvaluator(Evaluator):
    """mmengine's evaluator for data sets whose items are clips; ``StreamRunner`` uses it.

    Metrics get labelled frames only. A batch without any still yields one frame, since mmengine's
    loops expect one. mmengine cuts results to the number of items. Here that number is the number
    of frames that the metrics got in all processes, so nothing is cut. ``CocoVideoMetric`` gets
    every frame as an image of a video.

    Detections may reach beyond the frame. ``EventCocoMetric`` gets them whole, since its protocols
    decide; all other metrics get them clipped to the frame, as the protocol ``coco`` does.

    Args:
        metrics: one metric or several, as configs or objects.

    Raises:
        InputError: a metric needs tracks.
    """

    def __init__(self, metrics: dict | list | Any) -> None:
        super().__init__(metrics)
        self.frames = 0
        for metric in self.metrics:
            if isinstance(metric, BaseVideoMetric):
                raise InputError(
                    f"{type(metric).__name__} measures tracks, but the detector finds boxes frame "
                    "by frame; use EventCocoMetric, CocoMetric, CocoVideoMetric or VOCMetric"
                )

    def process(self, data_samples: Sequence[DetDataSample], data_batch: Any = None) -> None:
        """Pass the labelled frames of a batch to every metric.

        Args:
            data_samples: predicted frames of the batch.
            data_batch: the batch, which the metrics get too. Default: none.
        """
        frames = [sample for sample in data_samples if _counts(sample)]
        self.frames += len(frames)
        for metric in self.metrics if frames else ():
            metric.process(data_batch, _as_wanted_by(metric, frames))

    def evaluate(self, size: int) -> dict[str, float]:
        """Results of every metric over the frames of all processes.

        Args:
            size: number of items of the data set; not used.
        """
        frames = sum(all_gather_object(self.frames))
        self.frames = 0
        return super().evaluate(frames)


def _as_wanted_by(metric: BaseMetric, frames: list[DetDataSample]) -> list[dict]:
    if isinstance(metric, EventCocoMetric):
        return [frame.to_dict() for frame in frames]
    clipped = [_clipped(frame) for frame in frames]
    if isinstance(metric, CocoVideoMetric):
        return [dict(video_data_samples=[frame]) for frame in clipped]
    return [frame.to_dict() for frame in clipped]


def _clipped(frame: DetDataSample) -> DetDataSample:
    """Copy a frame with its detections clipped to it, as `Boxes.clipped` does."""
    height, width = frame.img_shape
    found = frame.pred_instances.clone()
    bboxes = get_box_tensor(found.bboxes).clamp(min=0)
    found.bboxes = bboxes.minimum(bboxes.new_tensor([width - 1, height - 1] * 2))
    clipped = frame.clone()
    clipped.pred_instances = found
    return clipped


def _counts(sample: DetDataSample) -> bool:
    return sample.get("is_labelled", True) and not sample.get("is_padding", False)
