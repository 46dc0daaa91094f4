"""Test-time augmentation of streams."""

from __future__ import annotations

from mmdet.models.test_time_augs import DetTTAModel
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample, TrackDataSample
from mmdet.structures.bbox import bbox_flip
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import nn

from etram_mmdet.models.dense_heads.nms_by_class import nms_by_class


@MODELS.register_module()
class StreamTTAModel(DetTTAModel):
    """mmdet's ``DetTTAModel`` for streams: merges boxes of every stream and of its mirror image.

    The mirrored streams run through the same network in lanes of their own, so each of the two has
    its own recurrent state from the first frame to the last. Boxes found in the mirror are flipped
    back; both sets are merged frame by frame with NMS. It mirrors the batches itself, so it needs
    no ``tta_pipeline``. A step takes twice the time.

    Args:
        module: the detector, or its config.
        tta_cfg: ``nms``, by default that of the detector's ``test_cfg``, and ``max_per_img``, the
            largest number of boxes per frame, by default all.
        data_preprocessor: config of the preprocessor, if ``module`` is a config without one.
            Default: none.
    """

    def __init__(
        self,
        module: nn.Module | dict,
        tta_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
    ) -> None:
        super().__init__(
            tta_cfg=ConfigDict(tta_cfg or {}), module=module, data_preprocessor=data_preprocessor
        )
        detector = getattr(self.module, "module", self.module)  # of several processes
        self.tta_cfg.setdefault("nms", detector.test_cfg["nms"])

    def test_step(self, data: dict) -> list[DetDataSample]:
        """Samples of the labelled frames of the batch, with the merged boxes."""
        mirrored = dict(
            inputs=[clip.flip(-1) for clip in data["inputs"]],
            data_samples=[_mirrored(track) for track in data["data_samples"]],
        )
        return super().test_step({key: [data[key], mirrored[key]] for key in mirrored})

    def merge_preds(
        self, data_samples_list: list[tuple[DetDataSample, ...]]
    ) -> list[DetDataSample]:
        """Merge each frame's boxes with those of its mirror image; all fields of a box stay."""
        for frame, mirrored in data_samples_list:
            found = mirrored.pred_instances
            height, width = frame.img_shape
            # as boxes are mirrored in training
            found.bboxes = bbox_flip(found.bboxes, (height - 1, width - 1))
            frame.pred_instances = self._merged(InstanceData.cat([frame.pred_instances, found]))
        return [frame for frame, _ in data_samples_list]

    def _merged(self, both: InstanceData) -> InstanceData:
        if not len(both):
            return both
        scores, kept = nms_by_class(both.bboxes, both.scores, both.labels, self.tta_cfg.nms)
        both = both[kept]
        both.scores = scores
        return both[: self.tta_cfg.get("max_per_img")]


def _mirrored(track: TrackDataSample) -> TrackDataSample:
    """A lane's frames without boxes, in another lane.

    Lane numbers below zero belong to mirror images.
    """
    mirror = TrackDataSample(metainfo=_in_mirror_lane(track.metainfo))
    mirror.video_data_samples = [
        DetDataSample(metainfo=_in_mirror_lane(frame.metainfo)) for frame in track
    ]
    return mirror


def _in_mirror_lane(metainfo: dict) -> dict:
    return {**metainfo, "lane": -1 - metainfo["lane"]} if "lane" in metainfo else metainfo
