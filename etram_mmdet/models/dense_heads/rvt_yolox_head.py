"""YOLOX head with RVT's numerics."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from itertools import accumulate
from typing import NamedTuple

import torch
from mmdet.models.dense_heads import YOLOXHead
from mmdet.registry import MODELS
from mmdet.utils import reduce_mean
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from etram_mmdet.models.dense_heads.loss_sums import check_loss, loss_sum
from etram_mmdet.models.dense_heads.nms_by_class import nms_by_class
from etram_mmdet.models.task_modules.assignment import Predicted, Targets, match
from etram_mmdet.utils.registry import takes_key

# torch's defaults, which RVT keeps; YOLOX and mmdet use eps 1e-3 and momentum 0.03.
RVT_NORM = dict(type="BN", eps=1e-5, momentum=0.1)
# Swish as one operator: mmdet's default, x * sigmoid(x), keeps an extra map for the backward pass.
FUSED_SWISH = dict(type="SiLU", inplace=False)
# mmdet's default has the same values and makes the host wait for the GPU.
BOX_LOSS = dict(type="SquaredIoULoss", loss_weight=5.0, eps=1e-16)

Maps = list[Tensor]  # one (B, C, H, W) per level


class Decoded(NamedTuple):
    """Predictions of all P priors of B frames, float32, before any threshold and before NMS."""

    bboxes: Tensor  # (B, P, 4) x1 y1 x2 y2 in network pixels
    objectness: Tensor  # (B, P) probabilities
    class_scores: Tensor  # (B, P, K) probabilities


def in_float32(method: Callable) -> Callable:
    """Switch autocast off within a method of a head, whatever the precision of its maps is.

    Args:
        method: a method of a head whose first argument holds the maps of all levels.
    """

    @wraps(method)
    def without_autocast(self, maps: Maps, *args, **kwargs):
        with torch.autocast(maps[0].device.type, enabled=False):
            return method(self, maps, *args, **kwargs)

    return without_autocast


@MODELS.register_module()
class RVTYOLOXHead(YOLOXHead):
    """mmdet's YOLOX head with RVT's BatchNorm, which computes boxes and losses in float32.

    Half precision cannot hold areas of large boxes (65504 px2) nor the products of small
    probabilities. Besides the losses the head returns ``num_pos``: the number of positive priors
    (mean over processes), by which the sums of losses are divided.

    A variant overrides one of the ``*_terms`` methods, which return sums over priors. They get the
    box that each positive prior is matched to; mmdet's own ``loss_by_feat`` does not pass that on.

    Losses. Each slot takes any loss of mmdet, or a module with ``forward(prediction, target)``.
    With M positive priors, K classes and P priors in each of B frames they receive:

    ``loss_cls``
        (M, K) logits and (M, K) targets: the IoU at the class of the box, 0 elsewhere. A loss with
        ``takes_labels = True`` gets the (M,) class numbers instead.
    ``loss_obj``
        (B * P, 1) logits and targets: 1 at positive priors, 0 elsewhere.
    ``loss_bbox``
        (M, 4) predicted and matched boxes, x1 y1 x2 y2 in network pixels, float32.
    ``loss_l1``
        (M, 4) raw outputs and targets, if ``use_l1`` is set: offset of the centre in strides,
        logarithm of width and height in strides.

    They return one number, the sum over rows. The head divides it by the number of positive priors,
    also for ``loss_obj``, as RVT and mmdet do. A loss whose ``forward`` takes
    ``reduction_override``, as all of mmdet's do, is called with ``reduction_override="sum"``, so
    that ``reduction="mean"`` and ``"sum"`` train the same. A loss without it must sum by itself.
    With M = 0 only ``loss_obj`` is called.

    Args:
        num_classes: K. Default in a config: the classes of the data decide.
        in_channels: channels of every map. Default in a config: the backbone and the neck decide,
            as for ``strides`` (see :class:`RecurrentDetector`).
        feat_channels: channels of the head's own convolutions. Default: ``in_channels``.
        norm_cfg: mmdet's config of the norms. Default: BatchNorm with PyTorch's eps and momentum,
            as in RVT.
        act_cfg: mmdet's config of the activation. Default: Swish as one operator.
        loss_bbox: config of the loss of boxes. Default: :class:`SquaredIoULoss`, which has the
            values of YOLOX's ``IoULoss``.
        kwargs: further keys of mmdet's YOLOXHead, such as ``strides``, ``stacked_convs`` and the
            other losses.

    Raises:
        InputError: a loss returns a mean or something else than one number, needs further
            arguments, or is one of mmdet's that fit no YOLOX head (EQLV2Loss, SeesawLoss,
            GaussianFocalLoss, softmax cross entropy).
    """

    predicts_from_maps = True  # `predict` does no more than `predict_by_feat` of the maps

    def __init_subclass__(cls, **kwargs) -> None:
        """Let a :class:`Streamer` call a subclass's own ``predict``.

        That holds for a subclass with a ``predict`` that does not set ``predicts_from_maps``
        itself.
        """
        super().__init_subclass__(**kwargs)
        if "predict" in vars(cls):
            cls.predicts_from_maps = vars(cls).get("predicts_from_maps", False)

    def __init__(
        self,
        num_classes: int,
        *,
        in_channels: int,
        feat_channels: int | None = None,
        norm_cfg: dict = RVT_NORM,
        act_cfg: dict = FUSED_SWISH,
        loss_bbox: dict = BOX_LOSS,
        **kwargs,
    ) -> None:
        if "loss_cls" in kwargs and takes_key(kwargs["loss_cls"], "num_classes", MODELS):
            kwargs["loss_cls"] = dict(kwargs["loss_cls"], num_classes=num_classes)
        super().__init__(
            num_classes,
            in_channels=in_channels,
            feat_channels=feat_channels or in_channels,
            norm_cfg=norm_cfg,
            act_cfg=act_cfg,
            loss_bbox=loss_bbox,
            **kwargs,
        )
        for slot in ("loss_cls", "loss_obj", "loss_bbox", "loss_l1"):
            check_loss(slot, getattr(self, slot))

    @in_float32
    def loss_by_feat(
        self,
        cls_scores: Maps,
        bbox_preds: Maps,
        objectnesses: Maps,
        batch_gt_instances: list[InstanceData],
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: None = None,
    ) -> dict[str, Tensor]:
        predicted = self.join_levels(cls_scores, bbox_preds, objectnesses)
        targets = self.match(predicted, batch_gt_instances)
        return self.mean_over_positives(self.loss_terms(predicted, targets), targets)

    def join_levels(self, cls_scores: Maps, bbox_preds: Maps, objectnesses: Maps) -> Predicted:
        sizes = [m.shape[2:] for m in cls_scores]
        priors = self.prior_generator.grid_priors(
            sizes, torch.float, cls_scores[0].device, with_stride=True
        )
        scores, deltas, objectness = map(flatten, (cls_scores, bbox_preds, objectnesses))
        priors = torch.cat(priors)
        levels = tuple(
            (*size, stride)
            for size, (stride, _) in zip(sizes, self.prior_generator.strides, strict=True)
        )
        return Predicted(
            scores,
            deltas,
            self._bbox_decode(priors, deltas),
            objectness.squeeze(-1),
            priors,
            levels,
        )

    def match(self, predicted: Predicted, truth: list[InstanceData]) -> Targets:
        return match(predicted, self.class_probabilities, truth, self.assigner)

    def class_probabilities(self, scores: Tensor) -> Tensor:
        """Sigmoid of logits (..., K), unless the class loss has ``probabilities`` of its own."""
        return getattr(self.loss_cls, "probabilities", torch.sigmoid)(scores.detach())

    def mean_over_positives(self, terms: dict[str, Tensor], targets: Targets) -> dict[str, Tensor]:
        num_pos = reduce_mean(targets.ious.new_full((), len(targets.ious)))
        return {name: term / num_pos.clamp(min=1) for name, term in terms.items()} | dict(
            num_pos=num_pos
        )

    def loss_terms(self, predicted: Predicted, targets: Targets) -> dict[str, Tensor]:
        """Sum of each loss over the batch."""
        terms = dict(loss_obj=self.objectness_terms(predicted.objectness.view(-1, 1), targets))
        # every parameter stays part of the graph: DDP waits for its gradient
        if not len(targets.labels):
            terms |= dict(loss_cls=predicted.scores.sum() * 0, loss_bbox=predicted.deltas.sum() * 0)
            return terms | (dict(loss_l1=predicted.deltas.sum() * 0) if self.use_l1 else {})
        terms |= dict(
            loss_cls=self.class_terms(targets.of(predicted.scores), targets),
            loss_bbox=loss_sum(self.loss_bbox, targets.of(predicted.bboxes), targets.bboxes),
        )
        return terms | (dict(loss_l1=self.l1_terms(predicted, targets)) if self.use_l1 else {})

    def class_terms(self, scores: Tensor, targets: Targets) -> Tensor:
        """Sum of class losses; ``scores`` are the logits (M, K) of the positive priors.

        A loss with ``takes_labels`` gets class numbers and no IoUs.
        """
        if getattr(self.loss_cls, "takes_labels", False):
            return loss_sum(self.loss_cls, scores, targets.labels)
        return loss_sum(self.loss_cls, scores, targets.soft_labels(self.num_classes))

    def objectness_terms(self, objectness: Tensor, targets: Targets) -> Tensor:
        """Sum of objectness losses; ``objectness`` are the logits (B * P, 1) of all priors."""
        return loss_sum(self.loss_obj, objectness, targets.marked(objectness))

    def l1_terms(self, predicted: Predicted, targets: Targets) -> Tensor:
        """YOLOX's L1 loss of the raw box outputs.

        mmdet's ``YOLOXModeSwitchHook`` switches it on by ``use_l1``.
        """
        priors = predicted.priors[targets.index % len(predicted.priors)]
        wanted = self._get_l1_target(torch.empty_like(priors), targets.bboxes, priors)
        return loss_sum(self.loss_l1, targets.of(predicted.deltas), wanted)

    def _bbox_post_process(
        self,
        results: InstanceData,
        cfg: ConfigDict,
        rescale: bool = False,
        with_nms: bool = True,
        img_meta: dict | None = None,
    ) -> InstanceData:
        """Let at most ``nms_pre`` boxes reach NMS, as mmdet's other heads do.

        Untrained weights give so many boxes that NMS of all of them takes seconds.
        """
        if 0 < cfg.get("nms_pre", -1) < len(results):
            results = results[results.scores.topk(cfg.nms_pre).indices]
        results = super()._bbox_post_process(results, cfg, rescale, False, img_meta)
        if with_nms and len(results):
            scores, kept = nms_by_class(results.bboxes, results.scores, results.labels, cfg.nms)
            results = results[kept]
            results.scores = scores
        return results

    def decoded(self, cls_scores: Maps, bbox_preds: Maps, objectnesses: Maps) -> Decoded:
        """Decode the maps of the head into boxes and probabilities."""
        predicted = self.join_levels(cls_scores, bbox_preds, objectnesses)
        return Decoded(
            predicted.bboxes,
            predicted.objectness.sigmoid(),
            self.class_probabilities(predicted.scores),
        )

    def decoded_features(self, x: tuple[Tensor, ...]) -> Decoded:
        """Decode the maps (B, C, H_i, W_i) of the neck; an exported detector returns this."""
        return self.decoded(*self(x))

    @in_float32
    def predict_by_feat(
        self,
        *maps: Maps,
        batch_img_metas: list[dict],
        cfg: ConfigDict | None = None,
        rescale: bool = False,
        with_nms: bool = True,
    ) -> list[InstanceData]:
        """mmdet's boxes, scored by objectness times class probability.

        The class probability alone is kept as ``class_scores``.
        """
        cfg = cfg or self.test_cfg
        found = self.decoded(*maps)
        class_scores, labels = found.class_scores.max(2)  # (B, P)
        scores = class_scores * found.objectness
        is_sure = scores >= cfg.score_thr
        # this waits for a GPU, once instead of once for every column
        sure = is_sure.nonzero().unbind(1)
        columns = dict(bboxes=found.bboxes, scores=scores, class_scores=class_scores, labels=labels)
        results = InstanceData(**{name: values[sure] for name, values in columns.items()})
        counts = [len(results)] if len(scores) == 1 else is_sure.sum(1).tolist()
        stops = accumulate(counts)
        return [
            self._bbox_post_process(results[stop - count : stop], cfg, rescale, with_nms, meta)
            for count, stop, meta in zip(counts, stops, batch_img_metas, strict=True)
        ]


def flatten(maps: Maps) -> Tensor:
    """Join the maps of all levels into one float32 tensor (B, P, C) with a row per prior.

    Args:
        maps: (B, C, H, W) of every level, finest first.
    """
    return torch.cat([m.float().permute(0, 2, 3, 1).flatten(1, 2) for m in maps], 1)
