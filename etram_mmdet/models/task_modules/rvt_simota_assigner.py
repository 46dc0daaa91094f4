"""Label assignment of YOLOX 0.3 as RVT uses it."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmdet.models.task_modules.assigners import AssignResult, BaseAssigner
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor

OUTSIDE_COST = 1e6  # larger than any other cost, finite so that every box gets a prior


class PriorGrid(NamedTuple):
    """``priors`` (P, 4): centre x, y of a cell and its stride, twice, in px; by level, row and column."""

    priors: Tensor
    levels: tuple[tuple[int, int, int], ...]  # rows, columns and stride in px of each

    def cells_around(self, centers: Tensor, reach: int) -> Tensor:
        """Indices of the cells up to ``reach`` from those that hold ``centers`` (..., 2), on every level: (..., n).

        A cell off the grid has index P.
        """
        offsets = torch.arange(-reach, reach + 1, device=centers.device)
        found = []
        first = 0
        for rows, columns, stride in self.levels:
            # in double precision, where no quotient of a float and a stride is rounded up to the next integer
            column, row = (centers.double() / stride).floor().long().unbind(-1)
            row, column = (row[..., None] + offsets)[..., None], (column[..., None] + offsets)[..., None, :]
            is_inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
            index = torch.where(is_inside, first + row * columns + column, len(self.priors))
            found.append(index.flatten(-2))
            first += rows * columns
        return torch.cat(found, -1)


class Choice(NamedTuple):
    """Which of C candidates of each of B frames are positive, in order of frame and candidate: M of them."""

    frame: Tensor  # (M,)
    candidate: Tensor  # (M,)
    box: Tensor  # (M,) of the frame
    iou: Tensor  # (M,)


@TASK_UTILS.register_module()
class RVTSimOTAAssigner(BaseAssigner):
    """SimOTA with a centre region of ``center_radius`` strides as the only candidate rule.

    mmdet's own ``SimOTAAssigner`` also admits priors inside the box and therefore assigns differently. Cost of a prior
    for a box: BCE of the joint class score + ``iou_weight`` * -log(IoU), and a penalty outside that box's region. Each
    box takes its k cheapest priors, k the truncated sum of its best ``candidate_topk`` IoUs, at least 1; a prior that
    several boxes want goes to the cheapest.

    :meth:`assign` is mmdet's interface. All frames of a batch at once: :meth:`candidates`, then :meth:`choose`, which
    wait for a GPU once each instead of several times a frame.
    """

    assigns_batches = True  # by `candidates` and `choose`

    def __init_subclass__(cls, **kwargs) -> None:
        """A subclass with an ``assign`` of its own is asked frame by frame, unless it says otherwise."""
        super().__init_subclass__(**kwargs)
        if "assign" in vars(cls):
            cls.assigns_batches = vars(cls).get("assigns_batches", False)

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
        boxes = gt_instances.bboxes
        labels = gt_instances.labels
        gt_inds = labels.new_zeros(len(pred_instances))
        prior_labels = torch.full_like(gt_inds, -1)
        overlaps = pred_instances.bboxes.new_zeros(len(pred_instances))
        candidates = self._near(pred_instances.priors, boxes[:, None]).any(0).nonzero().squeeze(1)
        if len(candidates):
            preds = pred_instances[candidates]
            everything = torch.ones(1, len(boxes), len(candidates), dtype=torch.bool, device=boxes.device)
            chosen = self.choose(
                preds.bboxes[None], preds.scores[None], preds.priors[None], boxes[None], labels[None], everything
            )
            index = candidates[chosen.candidate]
            gt_inds[index] = chosen.box + 1
            prior_labels[index] = labels[chosen.box]
            overlaps[index] = chosen.iou
        return AssignResult(len(boxes), gt_inds, overlaps, prior_labels)

    def candidates(self, grid: PriorGrid, boxes: Tensor, is_box: Tensor) -> tuple[Tensor, Tensor]:
        """Priors near any of the (B, N, 4) boxes of a frame for which ``is_box`` (B, N).

        Returns (B, C) indices of priors, ascending, and a mask of those that count: frames have fewer than C. Every box
        has but a few cells around it, which are computed instead of searched.
        """
        none = len(grid.priors)
        reach = math.ceil(self.center_radius + 0.5) - 1  # cells to either side of the one that holds the centre
        index = grid.cells_around((boxes[..., :2] + boxes[..., 2:]) / 2, reach)  # (B, N, cells)
        is_near = self._near(grid.priors[index.clamp(max=none - 1)], boxes[:, :, None])
        index = index.masked_fill(~(is_near & is_box[..., None]), none).flatten(1).sort(dim=1).values
        is_again = F.pad(index[:, 1:] == index[:, :-1], (1, 0), value=False)
        index = index.masked_fill(is_again, none).sort(dim=1).values
        index = index[:, : int((index < none).sum(1).max())]
        return index.clamp(max=none - 1), index < none

    @torch.no_grad()
    def choose(
        self, predicted: Tensor, scores: Tensor, priors: Tensor, boxes: Tensor, labels: Tensor, is_pair: Tensor
    ) -> Choice:
        """Match C candidates of each of B frames to its N boxes, where ``is_pair`` (B, N, C).

        ``predicted`` (B, C, 4) boxes of the candidates, ``scores`` (B, C, K) and ``priors`` (B, C, 4) as in
        :meth:`assign`; ``boxes`` (B, N, 4) and ``labels`` (B, N).
        """
        ious = pairwise_iou(boxes, predicted).masked_fill_(~is_pair, 0)
        cost = self._cost(scores, labels, self._similarity(boxes, predicted, ious))
        cost += OUTSIDE_COST * ~self._near(priors[:, None], boxes[:, :, None])
        cost.masked_fill_(~is_pair, torch.inf)
        matching = self._cheapest(cost, ious)
        wanted_by = matching.sum(1)
        frame, candidate = wanted_by.nonzero().unbind(1)
        box = torch.where(wanted_by > 1, cost.argmin(1), matching.int().argmax(1))[frame, candidate]
        return Choice(frame, candidate, box, ious[frame, box, candidate])

    def _near(self, priors: Tensor, boxes: Tensor) -> Tensor:
        """(..., 4) and (..., 4), broadcast: whether priors lie in the centre region of boxes."""
        centers = (boxes[..., :2] + boxes[..., 2:]) / 2
        distance = (priors[..., :2] - centers).abs().amax(-1)
        return distance < self.center_radius * priors[..., 2]

    def _similarity(self, boxes: Tensor, predicted: Tensor, ious: Tensor) -> Tensor:
        """(B, N, C) in [0, 1]: how well predictions fit boxes, for the cost."""
        return ious

    def _cost(self, scores: Tensor, labels: Tensor, similarity: Tensor) -> Tensor:
        """(B, N, C) cost; BCE against a one-hot target is that of all-zero plus the difference at the class."""
        zero_bce = F.binary_cross_entropy(scores, torch.zeros_like(scores), reduction="none")
        one_bce = F.binary_cross_entropy(scores, torch.ones_like(scores), reduction="none")
        of_box = labels[..., None].expand(-1, -1, scores.shape[1])  # (B, N, C)
        class_cost = zero_bce.sum(-1)[:, None] + (one_bce - zero_bce).transpose(1, 2).gather(1, of_box)
        return class_cost - self.iou_weight * torch.log(similarity + 1e-8)

    def _cheapest(self, cost: Tensor, ious: Tensor) -> Tensor:
        """(B, N, C) bool: the k cheapest candidates of every box."""
        topk = min(self.candidate_topk, ious.shape[2])
        ks = ious.topk(topk, dim=2).values.sum(2, keepdim=True).int().clamp(min=1)  # (B, N, 1)
        costs, cheapest = cost.topk(topk, dim=2, largest=False)
        taken = (torch.arange(topk, device=cost.device) < ks) & costs.isfinite()
        return torch.zeros_like(cost, dtype=torch.bool).scatter_(2, cheapest, taken)


def pairwise_iou(boxes: Tensor, others: Tensor, least_union_px2: float = 1e-6) -> Tensor:
    """(B, N, 4) and (B, M, 4) boxes xyxy -> (B, N, M): mmdet's ``bbox_overlaps`` to the last bit.

    That one copies a constant to the device, for which a GPU is waited for.
    """
    boxes = boxes[:, :, None]
    others = others[:, None]
    sides = torch.min(boxes[..., 2:], others[..., 2:]) - torch.max(boxes[..., :2], others[..., :2])
    overlap = sides.clamp(min=0).prod(-1)
    areas = (boxes[..., 2:] - boxes[..., :2]).prod(-1) + (others[..., 2:] - others[..., :2]).prod(-1)
    return overlap / (areas - overlap).clamp(min=least_union_px2)
