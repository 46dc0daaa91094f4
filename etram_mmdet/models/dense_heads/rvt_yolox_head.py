"""YOLOX head with RVT's numerics."""

from __future__ import annotations

import torch
from mmdet.models.dense_heads import YOLOXHead
from mmdet.registry import MODELS
from mmdet.utils import reduce_mean
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

# torch's defaults, which RVT keeps; YOLOX and mmdet use eps 1e-3 and momentum 0.03.
RVT_NORM = dict(type="BN", eps=1e-5, momentum=0.1)
# Swish as one operator: mmdet's default, x * sigmoid(x), keeps an extra map for the backward pass.
FUSED_SWISH = dict(type="SiLU", inplace=False)


@MODELS.register_module()
class RVTYOLOXHead(YOLOXHead):
    """mmdet's YOLOX head with RVT's BatchNorm, as wide as its input, computing boxes and losses in float32.

    Half precision cannot hold areas of large boxes (65504 px2) nor the products of small probabilities. ``strides``
    and ``in_channels`` come from the backbone and neck (see :class:`RecurrentDetector`). Beside the losses it tells
    ``num_pos``, the number of positive priors (mean over processes) whose mean the losses are.
    """

    def __init__(
        self,
        *args,
        in_channels: int,
        feat_channels: int | None = None,
        norm_cfg: dict = RVT_NORM,
        act_cfg: dict = FUSED_SWISH,
        **kwargs,
    ) -> None:
        super().__init__(
            *args,
            in_channels=in_channels,
            feat_channels=feat_channels or in_channels,
            norm_cfg=norm_cfg,
            act_cfg=act_cfg,
            **kwargs,
        )

    def loss_by_feat(self, cls_scores, bbox_preds, objectnesses, *args, **kwargs) -> dict[str, Tensor]:
        self._num_pos = 0
        with torch.autocast(cls_scores[0].device.type, enabled=False):
            losses = super().loss_by_feat(*map(_float, (cls_scores, bbox_preds, objectnesses)), *args, **kwargs)
        return losses | dict(num_pos=reduce_mean(cls_scores[0].new_tensor(self._num_pos, dtype=torch.float)))

    def _bbox_post_process(self, results: InstanceData, cfg: ConfigDict, *args, **kwargs) -> InstanceData:
        """At most ``nms_pre`` boxes reach NMS, as in mmdet's other heads: all those of fresh weights take seconds."""
        if 0 < cfg.get("nms_pre", -1) < len(results):
            results = results[results.scores.topk(cfg.nms_pre).indices]
        return super()._bbox_post_process(results, cfg, *args, **kwargs)

    def _get_targets_single(self, *args) -> tuple:
        """Counts on the way what mmdet's ``loss_by_feat`` keeps to itself."""
        targets = super()._get_targets_single(*args)
        self._num_pos += targets[-1]
        return targets

    def predict_by_feat(self, cls_scores, bbox_preds, objectnesses, *args, **kwargs) -> list:
        with torch.autocast(cls_scores[0].device.type, enabled=False):
            return super().predict_by_feat(*map(_float, (cls_scores, bbox_preds, objectnesses)), *args, **kwargs)


def _float(maps: list[Tensor]) -> list[Tensor]:
    return [m.float() for m in maps]
