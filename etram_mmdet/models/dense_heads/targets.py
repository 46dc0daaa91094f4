"""What a YOLOX head predicts for a batch, and what each prediction is matched to."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Predicted(NamedTuple):
    """A head's maps with levels joined: B frames, P priors, K classes; logits and raw box outputs in float32."""

    scores: Tensor  # (B, P, K) class logits
    deltas: Tensor  # (B, P, 4)
    bboxes: Tensor  # (B, P, 4) decoded, xyxy in network pixels
    objectness: Tensor  # (B, P) logits
    priors: Tensor  # (P, 4) corner x, y of the cell and its stride, twice
    levels: tuple[tuple[int, int, int], ...]  # rows, columns and stride in px of each


class Targets(NamedTuple):
    """The M positive priors of a batch of B frames with P priors each, and the N boxes that they are matched to."""

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
