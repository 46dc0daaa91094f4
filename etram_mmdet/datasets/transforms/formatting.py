"""The last step of a pipeline: a clip becomes a tensor and mmdet's samples."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmdet.structures import DetDataSample, TrackDataSample
from mmengine.structures import InstanceData

from etram_mmdet.utils.errors import InputError


def instances(bboxes: np.ndarray, labels: np.ndarray, is_ignored: bool = False) -> list[dict]:
    """Annotations of a frame as mmdet lists them: one dict per box.

    Args:
        bboxes: (n, 4) boxes x1 y1 x2 y2.
        labels: (n,) classes.
        is_ignored: whether evaluation ignores these boxes. Default: no.
    """
    return [
        dict(bbox=bbox, bbox_label=label, ignore_flag=int(is_ignored))
        for bbox, label in zip(bboxes.tolist(), labels.tolist(), strict=True)
    ]


@TRANSFORMS.register_module()
class LoadEventFrame(BaseTransform):
    """Placeholder where mmdet's functions expect an image to be loaded; clips pass unchanged.

    ``mmdet.apis.inference_detector`` replaces it by ``LoadImageFromNDArray`` when it is given an
    array, the representation (C, H, W) of one window.

    Raises:
        InputError: for the path of a file, which names no window.
    """

    def transform(self, results: dict) -> dict:
        if "frames" not in results:
            raise InputError(
                f"{results.get('img_path')}: inference_detector takes the representation (C, H, W) "
                "of one window as an array; for a recording use etram_mmdet.apis.EventInferencer "
                "or tools/detect.py"
            )
        return results


@TRANSFORMS.register_module()
class PackClip(BaseTransform):
    """Pack a clip as ``inputs`` (T, C, H, W) of bytes and a ``TrackDataSample`` of T frames.

    Each frame is a ``DetDataSample``. Facts of the clip (``lane``, ``streamed``, ``video_id``,
    ``video_length``) are in the metainfo of the ``TrackDataSample``, facts of a frame in that of
    its ``DetDataSample``. In a data set's ``test_mode`` frames also carry the keys of mmdet's
    metrics: ``instances``, ``ignored_instances`` and ``ori_video_length``.
    """

    def transform(self, results: dict) -> dict:
        if "frames" not in results:
            results = _lone_frame(results)
        if results.get("test_mode"):
            results = for_metrics(results)
        track = TrackDataSample(metainfo=results["clip_meta"])
        frames = [DetDataSample()]
        track.video_data_samples = frames  # mmdet formats the first frame here as text, boxes too
        frames[:] = [DetDataSample(metainfo=meta) for meta in results["frame_metas"]]
        for frame, (counted, ignored) in zip(frames, counted_and_ignored(results), strict=True):
            frame.gt_instances = _box_instances(*counted)
            if results.get("test_mode"):
                frame.ignored_instances = _box_instances(*ignored)
        return dict(inputs=torch.from_numpy(results["frames"]), data_samples=track)


def counted_and_ignored(results: dict) -> Iterator[tuple[tuple, tuple]]:
    """Split the boxes and labels of each frame into counted and ignored ones.

    Args:
        results: clip with ``bboxes``, ``labels`` and, in evaluation, ``is_ignored``.

    Yields:
        For each frame, boxes and labels that count, and those that evaluation ignores.
    """
    flags = results.get("is_ignored", [np.zeros(len(labels), bool) for labels in results["labels"]])
    for bboxes, labels, is_ignored in zip(results["bboxes"], results["labels"], flags, strict=True):
        yield (bboxes[~is_ignored], labels[~is_ignored]), (bboxes[is_ignored], labels[is_ignored])


def _lone_frame(results: dict) -> dict:
    """A clip of one frame, from a representation (C, H, W) that mmdet loaded as ``img``."""
    image = results.get("img")
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.dtype.itemsize != 1:
        found = (
            f"{image.dtype} {image.shape}"
            if isinstance(image, np.ndarray)
            else f"a {type(image).__name__}"
        )
        raise InputError(
            f"inference_detector was given {found}, expected the bytes (C, H, W) of one window: "
            "EventInferencer(model).representation(height, width)(events, window_us)"
        )
    hw = image.shape[1:]
    meta = dict(
        recording="",
        t_us=0,
        start_us=0,
        is_padding=False,
        is_labelled=True,
        is_first=True,
        scale=1,
        img_id=0,
        frame_id=0,
        img_path="",
        ori_shape=hw,
        img_shape=hw,
        scale_factor=(1.0, 1.0),
        flip=False,
        flip_direction=None,
    )
    return dict(
        frames=image[None],
        bboxes=[np.empty((0, 4), np.float32)],
        labels=[np.empty(0, np.int64)],
        frame_metas=[meta],
        clip_meta=dict(lane=0, streamed=False, video_id=0, video_length=1),
    )


def for_metrics(results: dict) -> dict:
    """A copy of a clip whose frames also carry the ground truth for mmdet's metrics.

    The ground truth is augmented as the frames are.

    Args:
        results: clip with ``bboxes``, ``labels``, ``frame_metas`` and ``clip_meta``.
    """
    length = results["clip_meta"]["video_length"]
    metas = [
        dict(
            meta,
            instances=instances(*counted) + instances(*ignored, is_ignored=True),
            ori_video_length=length,
        )
        for meta, (counted, ignored) in zip(
            results["frame_metas"], counted_and_ignored(results), strict=True
        )
    ]
    return dict(results, frame_metas=metas)


def _box_instances(bboxes: np.ndarray, labels: np.ndarray) -> InstanceData:
    return InstanceData(bboxes=torch.from_numpy(bboxes), labels=torch.from_numpy(labels))
