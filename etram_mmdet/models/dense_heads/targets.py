"""What a YOLOX head predicts for a batch, and what each prediction is matched to."""

from __future__ import annotations

from typing import NamedTuple

import torch
from mmengine.structures import InstanceData
from torch import Tensor


class Predicted(NamedTuple):
    """A head's maps with levels joined: B frames, P priors, K classes; logits and raw box outputs in float32."""

    scores: Tensor  # (B, P, K) class logits
    deltas: Tensor  # (B, P, 4)
    bboxes: Tensor  # (B, P, 4) decoded, xyxy in network pixels
    objectness: Tensor  # (B, P) logits
    priors: Tensor  # (P, 4) corner x, y of the cell and its stride, twice


class Targets(NamedTuple):
    """The M positive priors of a batch, in the order of ``positive``, and the N boxes that they are matched to."""

    positive: Tensor  # (B, P) bool
    bboxes: Tensor  # (M, 4) xyxy of the matched boxes
    labels: Tensor  # (M,)
    ious: Tensor  # (M,) of prediction and matched box
    box_index: Tensor  # (M,) which of the batch's N boxes
    num_boxes: int

    def soft_labels(self, num_classes: int) -> Tensor:
        """(M, K): the IoU at the class of the box, 0 elsewhere (YOLOX's classification target)."""
        return torch.nn.functional.one_hot(self.labels, num_classes) * self.ious[:, None]

    def areas_px2(self) -> Tensor:
        """(M,) areas of the matched boxes, network pixels squared."""
        return (self.bboxes[:, 2:] - self.bboxes[:, :2]).prod(1)


@torch.no_grad()
def match(predicted: Predicted, class_probabilities: Tensor, truth: list[InstanceData], assigner) -> Targets:
    """Let ``assigner`` match every frame's priors to its boxes (``truth``: ``bboxes``, ``labels`` of each frame).

    As in YOLOX, priors stand at the centre of their cell for this, while boxes are decoded from its corner.
    """
    strides = predicted.priors[:, 2:]
    priors = torch.cat([predicted.priors[:, :2] + strides / 2, strides], 1)
    positive = torch.zeros_like(predicted.objectness, dtype=torch.bool)
    matched, first_box = [], 0
    for frame, boxes in enumerate(truth):
        if len(boxes):
            scores = class_probabilities[frame] * predicted.objectness[frame, :, None].sigmoid()
            candidates = InstanceData(bboxes=predicted.bboxes[frame], scores=scores.sqrt_(), priors=priors)
            result = assigner.assign(pred_instances=candidates, gt_instances=boxes, gt_instances_ignore=None)
            chosen = result.gt_inds > 0
            positive[frame] = chosen
            index = result.gt_inds[chosen] - 1
            matched.append((boxes.bboxes[index], boxes.labels[index], result.max_overlaps[chosen], index + first_box))
        first_box += len(boxes)
    if not matched:
        empty = positive.new_zeros(0, dtype=torch.long)
        return Targets(positive, predicted.bboxes.new_zeros(0, 4), empty, empty.float(), empty, first_box)
    return Targets(positive, *map(torch.cat, zip(*matched, strict=True)), first_box)
