"""Match the priors of a YOLOX head to boxes, for all frames of a batch."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import NamedTuple

import torch
from mmdet.models.task_modules.assigners import BaseAssigner
from mmengine.structures import InstanceData
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from etram_mmdet.models.task_modules.rvt_simota_assigner import PriorGrid
from etram_mmdet.utils.transfer import to_device

PAIRS_AT_ONCE = 2**15  # of boxes with boxes of their frame; up to nine candidates per level and box
Probabilities = Callable[[Tensor], Tensor]


@torch.no_grad()
def match(
    predicted: Predicted,
    probabilities: Probabilities,
    truth: list[InstanceData],
    assigner: BaseAssigner,
) -> Targets:
    """Match the priors of every frame to its boxes.

    As in YOLOX, a prior is at the centre of its cell for this, while boxes are decoded from the
    corner of the cell. All frames go to the assigner together; an assigner with its own ``assign``
    gets them one after another.

    Args:
        predicted: the head's maps.
        probabilities: turns class logits (..., K) into probabilities.
        truth: ``bboxes`` (N, 4) and ``labels`` (N,) of each frame, and perhaps ``is_target`` (N,)
            bool: False at boxes that no prior is matched to. Such a mask spares the host the wait
            for a GPU that taking the boxes away would cost.
        assigner: decides which priors learn from which box.
    """
    corners, strides = predicted.priors.split(2, dim=1)
    grid = PriorGrid(torch.cat([corners + strides / 2, strides], 1), predicted.levels)
    counts = [len(boxes) for boxes in truth]
    matching = _Matching(predicted, probabilities, grid, truth, [0, *accumulate(counts)], assigner)
    if getattr(assigner, "assigns_batches", False):
        found = [matching.of_frames(frames) for frames in portions_of(counts, PAIRS_AT_ONCE)]
    else:
        found = [matching.of_frame(frame) for frame, count in enumerate(counts) if count]
    if not found:
        empty = predicted.bboxes.new_zeros(0)
        return Targets(empty.long(), empty.view(0, 4), empty.long(), empty, empty.long())
    return Targets(*map(torch.cat, zip(*found, strict=True)))


def portions_of(counts: list[int], limit: int) -> list[list[int]]:
    """Group the frames that have boxes into portions that are matched at once.

    Frames of a portion are filled up to the most boxes of any, and candidates are proportional to
    boxes. So the number of frames times the square of the most boxes measures a portion.

    Args:
        counts: boxes of each frame.
        limit: the largest measure of a portion; a single frame may exceed it.

    Returns:
        Numbers of the frames of each portion, in order.
    """
    portions = []
    most = 0
    for frame, count in enumerate(counts):
        most = max(most, count)
        if portions and (len(portions[-1]) + 1) * most**2 <= limit and count:
            portions[-1].append(frame)
        elif count:
            portions.append([frame])
            most = count
    return portions


class _Matching(NamedTuple):
    """Data that all frames of a batch share; the methods return :class:`Targets` of some frames."""

    predicted: Predicted
    probabilities: Probabilities
    grid: PriorGrid
    truth: list[InstanceData]
    first_box: list[int]  # of every frame, among the batch's boxes
    assigner: BaseAssigner

    def of_frames(self, frames: list[int]) -> tuple[Tensor, ...]:
        device = self.predicted.bboxes.device
        boxes, labels = (
            pad_sequence([self.truth[f][key] for f in frames], batch_first=True)
            for key in ("bboxes", "labels")
        )  # (B, N, 4), (B, N)
        known = [frames, [len(self.truth[f]) for f in frames], [self.first_box[f] for f in frames]]
        rows, counts, first_box = to_device(torch.tensor(known), device)
        is_box = torch.arange(boxes.shape[1], device=device) < counts[:, None]
        is_box = self._are_targets(frames, is_box)
        candidates, is_candidate = self.assigner.candidates(self.grid, boxes, is_box)  # (B, C)
        here = rows[:, None], candidates
        chosen = self.assigner.choose(
            self.predicted.bboxes[here],
            self._scores(here),
            self.grid.priors[candidates],
            boxes,
            labels,
            is_box[..., None] & is_candidate[:, None],
        )
        index = (
            rows[chosen.frame] * len(self.grid.priors) + candidates[chosen.frame, chosen.candidate]
        )
        at = chosen.frame, chosen.box
        return index, boxes[at], labels[at], chosen.iou, first_box[chosen.frame] + chosen.box

    def of_frame(self, frame: int) -> tuple[Tensor, ...]:
        boxes = self.truth[frame]
        rows = torch.arange(len(boxes), device=boxes.labels.device)
        if "is_target" in boxes:
            rows = rows[boxes.is_target]
            boxes = boxes[rows]
        candidates = InstanceData(
            bboxes=self.predicted.bboxes[frame], scores=self._scores(frame), priors=self.grid.priors
        )
        result = self.assigner.assign(
            pred_instances=candidates, gt_instances=boxes, gt_instances_ignore=None
        )
        prior = (result.gt_inds > 0).nonzero().squeeze(1)
        box = result.gt_inds[prior] - 1
        index = frame * len(self.grid.priors) + prior
        return (
            index,
            boxes.bboxes[box],
            boxes.labels[box],
            result.max_overlaps[prior],
            self.first_box[frame] + rows[box],
        )

    def _are_targets(self, frames: list[int], is_box: Tensor) -> Tensor:
        """(B, N) mask of the boxes that priors may be matched to, filling left out."""
        masks = [self.truth[frame].get("is_target") for frame in frames]
        if any(mask is None for mask in masks):
            return is_box
        return is_box & pad_sequence(masks, batch_first=True)

    def _scores(self, where: int | tuple[Tensor, Tensor]) -> Tensor:
        """(..., K) square roots of class times objectness probability, by which YOLOX assigns.

        NaN, from a training that diverged, counts as 0. The loss still shows it, while in an
        assigner it would crash the GPU.
        """
        objectness = self.predicted.objectness[where].sigmoid()[..., None]
        return (
            (self.probabilities(self.predicted.scores[where]) * objectness).sqrt_().nan_to_num_(0)
        )


class Predicted(NamedTuple):
    """A head's maps with levels joined, in float32: B frames, P priors, K classes.

    Attributes:
        scores: (B, P, K) logits of the classes.
        deltas: (B, P, 4) raw outputs of the boxes.
        bboxes: (B, P, 4) decoded boxes x1 y1 x2 y2, in network pixels.
        objectness: (B, P) logits.
        priors: (P, 4) x and y of each prior's corner and its stride twice, in network pixels.
        levels: rows, columns and stride of the map of each level, finest first.
    """

    scores: Tensor
    deltas: Tensor
    bboxes: Tensor
    objectness: Tensor
    priors: Tensor
    levels: tuple[tuple[int, int, int], ...]


class Targets(NamedTuple):
    """The M positive priors of a batch, and the boxes that they are matched to.

    The batch has B frames with P priors each, and N boxes.
    """

    index: Tensor  # (M,) ascending: frame * P + prior
    bboxes: Tensor  # (M, 4) xyxy of the matched boxes
    labels: Tensor  # (M,)
    ious: Tensor  # (M,) of prediction and matched box
    box_index: Tensor  # (M,) which of the batch's N boxes

    def of(self, values: Tensor) -> Tensor:
        """(B, P, ...) of all priors -> (M, ...) of the positive ones."""
        return values.flatten(0, 1).index_select(0, self.index)

    def marked(self, objectness: Tensor) -> Tensor:
        """Zeros like (B * P, 1) ``objectness``, with ones at the positive priors."""
        return torch.zeros_like(objectness).index_fill_(0, self.index, 1)

    def soft_labels(self, num_classes: int) -> Tensor:
        """(M, K): the IoU at the class of the box, 0 elsewhere (YOLOX's classification target)."""
        nothing = self.ious.new_zeros(len(self.ious), num_classes)
        return nothing.scatter_(1, self.labels[:, None], self.ious[:, None])

    def areas_px2(self) -> Tensor:
        """(M,) areas of the matched boxes, network pixels squared."""
        return (self.bboxes[:, 2:] - self.bboxes[:, :2]).prod(1)
