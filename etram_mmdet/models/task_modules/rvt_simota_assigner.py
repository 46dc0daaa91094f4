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
    """Priors of all levels, by level, row and column.

    ``priors`` (P, 4) are centre x, centre y of a cell and its stride, twice, in pixels.
    """

    priors: Tensor
    levels: tuple[tuple[int, int, int], ...]  # rows, columns and stride in px of each

    def cells_around(self, centers: Tensor, reach: int) -> Tensor:
        """Indices of the cells around given points, on every level: (..., n).

        Args:
            centers: (..., 2) points x, y, in pixels.
            reach: number of cells to either side of the one that holds the point.

        Returns:
            Indices of priors; a cell off the grid has index P.
        """
        offsets = torch.arange(-reach, reach + 1, device=centers.device)
        found = []
        first = 0
        for rows, columns, stride in self.levels:
            # in double precision, where no quotient of a float and a stride is rounded up to the
            # next integer
            column, row = (centers.double() / stride).floor().long().unbind(-1)
            row, column = (
                (row[..., None] + offsets)[..., None],
                (column[..., None] + offsets)[..., None, :],
            )
            is_inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
            index = torch.where(is_inside, first + row * columns + column, len(self.priors))
            found.append(index.flatten(-2))
            first += rows * columns
        return torch.cat(found, -1)


class Choice(NamedTuple):
    """The M positive candidates among C of each of B frames, ordered by frame and candidate."""

    frame: Tensor  # (M,)
    candidate: Tensor  # (M,)
    box: Tensor  # (M,) of the frame
    iou: Tensor  # (M,)


@TASK_UTILS.register_module()
class RVTSimOTAAssigner(BaseAssigner):
    """SimOTA that takes priors near the centre of a box as its only candidates.

    mmdet's own ``SimOTAAssigner`` also admits priors inside the box and therefore assigns
    differently. The cost of a prior for a box is BCE of the joint class score + ``iou_weight`` *
    -log(IoU), and a penalty outside that box's centre region. Each box takes its k cheapest priors:
    k is the truncated sum of its best ``candidate_topk`` IoUs, at least 1. A prior that several
    boxes want goes to the cheapest.

    :meth:`assign` is mmdet's interface. :meth:`candidates` and then :meth:`choose` match all frames
    of a batch at once; each waits for a GPU once instead of several times a frame.

    Args:
        center_radius: half side of the centre region, in strides. Default: 1.5.
        candidate_topk: number of best IoUs that are summed for k. Default: 10.
        iou_weight: factor on the IoU part of the cost. Default: 3.0.
    """

    assigns_batches = True  # by `candidates` and `choose`

    def __init_subclass__(cls, **kwargs) -> None:
        """Let a subclass with its own ``assign`` be called frame by frame.

        That holds unless the subclass sets ``assigns_batches`` itself.
        """
        super().__init_subclass__(**kwargs)
        if "assign" in vars(cls):
            cls.assigns_batches = vars(cls).get("assigns_batches", False)

    def __init__(
        self, center_radius: float = 1.5, candidate_topk: int = 10, iou_weight: float = 3.0
    ) -> None:
        self.center_radius = center_radius
        self.candidate_topk = candidate_topk
        self.iou_weight = iou_weight

    @torch.no_grad()
    def assign(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        gt_instances_ignore: InstanceData | None = None,
    ) -> AssignResult:
        """Assign the P priors of one frame to its N boxes.

        Args:
            pred_instances: ``bboxes`` (P, 4) xyxy, ``scores`` (P, K), the square root of class
                times objectness probability, and ``priors`` (P, 4): centre x, centre y, stride,
                stride.
            gt_instances: ``bboxes`` (N, 4) xyxy and ``labels`` (N,).
            gt_instances_ignore: not used.
        """
        boxes = gt_instances.bboxes
        labels = gt_instances.labels
        gt_inds = labels.new_zeros(len(pred_instances))
        prior_labels = torch.full_like(gt_inds, -1)
        overlaps = pred_instances.bboxes.new_zeros(len(pred_instances))
        candidates = self._near(pred_instances.priors, boxes[:, None]).any(0).nonzero().squeeze(1)
        if len(candidates):
            preds = pred_instances[candidates]
            everything = torch.ones(
                1, len(boxes), len(candidates), dtype=torch.bool, device=boxes.device
            )
            chosen = self.choose(
                preds.bboxes[None],
                preds.scores[None],
                preds.priors[None],
                boxes[None],
                labels[None],
                everything,
            )
            index = candidates[chosen.candidate]
            gt_inds[index] = chosen.box + 1
            prior_labels[index] = labels[chosen.box]
            overlaps[index] = chosen.iou
        return AssignResult(len(boxes), gt_inds, overlaps, prior_labels)

    def candidates(self, grid: PriorGrid, boxes: Tensor, is_box: Tensor) -> tuple[Tensor, Tensor]:
        """Priors near any box of each frame.

        Only a few cells lie around a box; they are computed instead of searched.

        Args:
            grid: the priors of a frame.
            boxes: (B, N, 4) xyxy, filled up to the same number in every frame.
            is_box: (B, N) bool mask of the boxes that are not filling.

        Returns:
            (B, C) indices of priors, ascending, and a (B, C) mask of those which count: most frames
            have fewer than C.
        """
        none = len(grid.priors)
        # cells to either side of the one that holds the centre
        reach = math.ceil(self.center_radius + 0.5) - 1
        index = grid.cells_around((boxes[..., :2] + boxes[..., 2:]) / 2, reach)  # (B, N, cells)
        is_near = self._near(grid.priors[index.clamp(max=none - 1)], boxes[:, :, None])
        index = (
            index.masked_fill(~(is_near & is_box[..., None]), none).flatten(1).sort(dim=1).values
        )
        is_again = F.pad(index[:, 1:] == index[:, :-1], (1, 0), value=False)
        index = index.masked_fill(is_again, none).sort(dim=1).values
        index = index[:, : int((index < none).sum(1).max())]
        return index.clamp(max=none - 1), index < none

    @torch.no_grad()
    def choose(
        self,
        predicted: Tensor,
        scores: Tensor,
        priors: Tensor,
        boxes: Tensor,
        labels: Tensor,
        is_pair: Tensor,
    ) -> Choice:
        """Match C candidates of each of B frames to its N boxes.

        Args:
            predicted: (B, C, 4) predicted boxes of the candidates.
            scores: (B, C, K), as in :meth:`assign`.
            priors: (B, C, 4), as in :meth:`assign`.
            boxes: (B, N, 4) xyxy.
            labels: (B, N).
            is_pair: (B, N, C) bool mask of the pairs that may be matched.
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
        """Whether priors (..., 4) lie in the centre region of boxes (..., 4), with broadcasting."""
        centers = (boxes[..., :2] + boxes[..., 2:]) / 2
        distance = (priors[..., :2] - centers).abs().amax(-1)
        return distance < self.center_radius * priors[..., 2]

    def _similarity(self, boxes: Tensor, predicted: Tensor, ious: Tensor) -> Tensor:
        """(B, N, C) in [0, 1]: how well predicted boxes fit boxes, for the cost."""
        return ious

    def _cost(self, scores: Tensor, labels: Tensor, similarity: Tensor) -> Tensor:
        """(B, N, C) cost of each pair of box and candidate.

        BCE against a one-hot target is BCE against zeros plus the difference at the class.
        """
        zero_bce = F.binary_cross_entropy(scores, torch.zeros_like(scores), reduction="none")
        one_bce = F.binary_cross_entropy(scores, torch.ones_like(scores), reduction="none")
        of_box = labels[..., None].expand(-1, -1, scores.shape[1])  # (B, N, C)
        class_cost = zero_bce.sum(-1)[:, None] + (one_bce - zero_bce).transpose(1, 2).gather(
            1, of_box
        )
        return class_cost - self.iou_weight * torch.log(similarity + 1e-8)

    def _cheapest(self, cost: Tensor, ious: Tensor) -> Tensor:
        """(B, N, C) bool: the k cheapest candidates of every box."""
        topk = min(self.candidate_topk, ious.shape[2])
        ks = ious.topk(topk, dim=2).values.sum(2, keepdim=True).int().clamp(min=1)  # (B, N, 1)
        costs, cheapest = cost.topk(topk, dim=2, largest=False)
        taken = (torch.arange(topk, device=cost.device) < ks) & costs.isfinite()
        return torch.zeros_like(cost, dtype=torch.bool).scatter_(2, cheapest, taken)


def pairwise_iou(boxes: Tensor, others: Tensor, least_union_px2: float = 1e-6) -> Tensor:
    """IoU of every pair of boxes, equal to mmdet's ``bbox_overlaps`` to the last bit.

    mmdet's function copies a constant to the device, and so the processor waits for a GPU.

    Args:
        boxes: (B, N, 4) xyxy.
        others: (B, M, 4) xyxy.
        least_union_px2: smallest union that IoUs are divided by, in pixels squared. Default: 1e-6.

    Returns:
        (B, N, M) IoUs.
    """
    boxes = boxes[:, :, None]
    others = others[:, None]
    sides = torch.min(boxes[..., 2:], others[..., 2:]) - torch.max(boxes[..., :2], others[..., :2])
    overlap = sides.clamp(min=0).prod(-1)
    areas = (boxes[..., 2:] - boxes[..., :2]).prod(-1) + (others[..., 2:] - others[..., :2]).prod(
        -1
    )
    return overlap / (areas - overlap).clamp(min=least_union_px2)
