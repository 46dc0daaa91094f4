"""YOLOX head whose class and objectness losses count small boxes more."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.registry import MODELS
from torch import Tensor

from etram_mmdet.models.dense_heads.loss_sums import loss_sum
from etram_mmdet.models.dense_heads.rvt_yolox_head import RVTYOLOXHead
from etram_mmdet.models.losses.size_aware_iou_loss import SizeWeight
from etram_mmdet.models.task_modules.assignment import Targets
from etram_mmdet.utils.errors import InputError

_TERMS = ("cls", "obj")


@MODELS.register_module()
class SizeAwareYOLOXHead(RVTYOLOXHead):
    """:class:`RVTYOLOXHead` whose class and objectness losses count small boxes more.

    A positive prior is weighed by the size of its box; priors without a box keep weight 1. The box
    loss has its own slot for that, see :class:`SizeAwareIoULoss`.

    Args:
        args: num_classes, as in :class:`RVTYOLOXHead`.
        terms: weighed losses, ``'cls'``, ``'obj'`` or both. Default: both.
        size_weight: keys of :class:`SizeWeight`. Default: its defaults.
        kwargs: further keys of :class:`RVTYOLOXHead`.

    Raises:
        InputError: ``terms`` are unknown, or hold ``'cls'`` and ``loss_cls`` weighs classes itself.
    """

    def __init__(
        self, *args, terms: Sequence[str] = _TERMS, size_weight: dict | None = None, **kwargs
    ) -> None:
        if not terms or set(terms) - set(_TERMS):
            raise InputError(
                f"SizeAwareYOLOXHead: terms={list(terms)}, expected {' or '.join(_TERMS)}, or both"
            )
        super().__init__(*args, **kwargs)
        self.terms = tuple(terms)
        self.weights = SizeWeight(**(size_weight or {}))
        self.needs_whole_batch = self.weights.normalize
        if "cls" in terms and getattr(self.loss_cls, "takes_labels", False):
            raise InputError(
                f"SizeAwareYOLOXHead: {type(self.loss_cls).__name__} weighs classes itself; leave "
                "cls out of terms"
            )

    def class_terms(self, scores: Tensor, targets: Targets) -> Tensor:
        if "cls" not in self.terms:
            return super().class_terms(scores, targets)
        weight = self.weights(targets.areas_px2())
        return loss_sum(self.loss_cls, scores, targets.soft_labels(self.num_classes), weight)

    def objectness_terms(self, objectness: Tensor, targets: Targets) -> Tensor:
        if "obj" not in self.terms:
            return super().objectness_terms(objectness, targets)
        weight = torch.ones_like(objectness[:, 0]).index_copy_(
            0, targets.index, self.weights(targets.areas_px2())
        )
        return loss_sum(self.loss_obj, objectness, targets.marked(objectness), weight)
