"""Label assignment of YOLOX 0.3 as RVT uses it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmdet.models.task_modules.assigners import AssignResult, BaseAssigner
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import bbox_overlaps
from mmengine.structures import InstanceData
from torch import Tensor

OUTSIDE_COST = 1e6  # larger than any other cost, finite so that every box gets a prior


@TASK_UTILS.register_module()
class RVTSimOTAAssigner(BaseAssigner):
    """SimOTA with a centre region of ``center_radius`` strides as the only candidate rule.

    mmdet's own ``SimOTAAssigner`` also admits priors inside the box and therefore assigns differently. Cost of a prior
    for a box: BCE of the joint class score + ``iou_weight`` * -log(IoU), and a penalty outside that box's region. Each
    box takes its k cheapest priors, k the truncated sum of its best ``candidate_topk`` IoUs, at least 1; a prior that
    several boxes want goes to the cheapest.
    """

    def __init__(self, center_radius: float = 1.5, candidate_topk: int = 10, iou_weight: float = 3.0) -> None:
        self.center_radius = center_radius
        self.candidate_topk = candidate_topk
        self.iou_weight = iou_weight

    @torch.no_grad()
    def assign(
        self, pred_instances: InstanceData, gt_instances: InstanceData, gt_instances_ignore: InstanceData | None = None
    ) -> AssignResult:
        """Assign (P,) priors to (N,) boxes.

        ``pred_instances`` holds ``bboxes`` (P, 4) xyxy, ``scores`` (P, K), the square root of class times objectness
        probability, and ``priors`` (P, 4) = centre x, centre y, stride, stride.
        """
        boxes, labels = gt_instances.bboxes, gt_instances.labels
        gt_inds = labels.new_zeros(len(pred_instances))
        prior_labels = torch.full_like(gt_inds, -1)
        overlaps = pred_instances.bboxes.new_zeros(len(pred_instances))
        near = self._near_center(pred_instances.priors, boxes)  # (N, P)
        candidates = near.any(0).nonzero().squeeze(1)
        if len(candidates):
            preds = pred_instances[candidates]
            ious = bbox_overlaps(boxes, preds.bboxes)
            similarity = self._similarity(boxes, preds.bboxes, ious)
            cost = self._cost(preds.scores, labels, similarity) + OUTSIDE_COST * ~near[:, candidates]
            matched, box_of = self._match(cost, ious)
            index = candidates[matched]
            gt_inds[index] = box_of + 1
            prior_labels[index] = labels[box_of]
            overlaps[index] = ious[box_of, matched]
        return AssignResult(len(boxes), gt_inds, overlaps, prior_labels)

    def _near_center(self, priors: Tensor, boxes: Tensor) -> Tensor:
        centers = (boxes[:, :2] + boxes[:, 2:]) / 2
        distance = (priors[None, :, :2] - centers[:, None]).abs().amax(-1)  # (N, P)
        return distance < self.center_radius * priors[:, 2]

    def _similarity(self, boxes: Tensor, predicted: Tensor, ious: Tensor) -> Tensor:
        """(N, P') in [0, 1]: how well predictions fit boxes, for the cost."""
        return ious

    def _cost(self, scores: Tensor, labels: Tensor, similarity: Tensor) -> Tensor:
        """(N, P') cost; BCE against a one-hot target is that of all-zero plus the difference at the class."""
        zero_bce = F.binary_cross_entropy(scores, torch.zeros_like(scores), reduction="none")
        one_bce = F.binary_cross_entropy(scores, torch.ones_like(scores), reduction="none")
        class_cost = zero_bce.sum(-1) + (one_bce - zero_bce).t()[labels]
        return class_cost - self.iou_weight * torch.log(similarity + 1e-8)

    def _match(self, cost: Tensor, ious: Tensor) -> tuple[Tensor, Tensor]:
        """Indices of the matched candidates and of their boxes."""
        topk = min(self.candidate_topk, ious.shape[1])
        ks = ious.topk(topk, dim=1).values.sum(1).int().clamp(min=1)  # (N,)
        cheapest = cost.topk(int(ks.max()), dim=1, largest=False).indices
        taken = torch.arange(cheapest.shape[1], device=cost.device) < ks[:, None]
        matching = torch.zeros_like(cost, dtype=torch.bool).scatter_(1, cheapest, taken)
        matched = matching.any(0).nonzero().squeeze(1)
        box_of = torch.where(
            matching[:, matched].sum(0) > 1, cost[:, matched].argmin(0), matching[:, matched].int().argmax(0)
        )
        return matched, box_of
