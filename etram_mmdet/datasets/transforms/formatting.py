"""The end of a pipeline: a clip becomes a tensor and mmdet's samples."""

from __future__ import annotations

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmdet.structures import DetDataSample, TrackDataSample
from mmengine.structures import InstanceData


def instances(bboxes: np.ndarray, labels: np.ndarray) -> list[dict]:
    """Boxes (n, 4) and labels (n,) of a frame as mmdet's list of annotations, one dict per box."""
    return [
        dict(bbox=bbox, bbox_label=label, ignore_flag=0)
        for bbox, label in zip(bboxes.tolist(), labels.tolist(), strict=True)
    ]


@TRANSFORMS.register_module()
class PackClip(BaseTransform):
    """``inputs`` (T, C, H, W) of bytes and a ``TrackDataSample`` of T ``DetDataSample``s.

    Facts of the clip (``lane``, ``streamed``, ``video_id``, ``video_length``) are in the metainfo of the
    ``TrackDataSample``, facts of a frame in that of its ``DetDataSample``. In a data set's ``test_mode``
    frames also carry what mmdet's metrics ask for: ``instances``, ``ignored_instances`` and
    ``ori_video_length``.
    """

    def transform(self, results: dict) -> dict:
        if results.get("test_mode"):
            results = for_metrics(results)
        track = TrackDataSample(metainfo=results["clip_meta"])
        columns = (results[name] for name in ("bboxes", "labels", "frame_metas"))
        frames = [DetDataSample()]
        track.video_data_samples = frames  # mmdet formats the first one as text here, boxes and all
        frames[:] = [self._frame(*frame) for frame in zip(*columns, strict=True)]
        if results.get("test_mode"):
            for frame in frames:
                frame.ignored_instances = _boxes(np.empty((0, 4), np.float32), np.empty(0, np.int64))
        return dict(inputs=torch.from_numpy(results["frames"]), data_samples=track)

    @staticmethod
    def _frame(bboxes: np.ndarray, labels: np.ndarray, meta: dict) -> DetDataSample:
        sample = DetDataSample(metainfo=meta)
        sample.gt_instances = _boxes(bboxes, labels)
        return sample


def for_metrics(results: dict) -> dict:
    """A clip whose frames also say, as augmented, what mmdet's metrics want to know of the truth."""
    length = results["clip_meta"]["video_length"]
    columns = (results[name] for name in ("frame_metas", "bboxes", "labels"))
    metas = [
        dict(meta, instances=instances(bboxes, labels), ori_video_length=length)
        for meta, bboxes, labels in zip(*columns, strict=True)
    ]
    return dict(results, frame_metas=metas)


def _boxes(bboxes: np.ndarray, labels: np.ndarray) -> InstanceData:
    return InstanceData(bboxes=torch.from_numpy(bboxes), labels=torch.from_numpy(labels))
