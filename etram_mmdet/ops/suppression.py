"""NMS and soft NMS with the signatures and answers of mmcv's compiled operators."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

# Boxes decided at a time: as many as fit a CPU's cache, or as a GPU handles in one go.
BLOCK = dict(cpu=512, cuda=8192)
# Rounds between two looks whether anything still changes. A look waits for the GPU; a round too
# many changes nothing.
ROUNDS_PER_LOOK = 4


def nms(bboxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Greedy non-maximum suppression with the signature and the result of mmcv's compiled ``nms``.

    Args:
        bboxes: (N, 4) boxes x1 y1 x2 y2.
        scores: (N,) scores; of two equal scores the earlier box wins.
        iou_threshold: a box is dropped when its IoU with a better kept box is strictly greater.
        offset: 1 when x2 y2 name the last pixel inside a box (width = x2 - x1 + 1), else 0.

    Returns:
        (M,) int64 indices of the kept boxes, best first.
    """
    bboxes = bboxes.to(torch.promote_types(bboxes.dtype, torch.float32))
    compiled = _torchvision_nms()
    if compiled is not None:
        shifted = torch.cat([bboxes[:, :2], bboxes[:, 2:] + offset], 1)
        return compiled(shifted, scores.to(bboxes.dtype), iou_threshold)
    return _torch_nms(bboxes, scores, iou_threshold, offset)


def _torch_nms(bboxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """`nms` in plain torch: boxes are decided best first, `BLOCK` at a time."""
    order = scores.argsort(descending=True, stable=True)
    kept = order[:0]
    for block in order.split(BLOCK.get(bboxes.device.type, BLOCK["cpu"])):
        if len(kept):
            block = block[~(_iou(bboxes[kept], bboxes[block], offset) > iou_threshold).any(0)]
        stay = _survivors(_iou(bboxes[block], bboxes[block], offset) > iou_threshold)
        kept = torch.cat([kept, block[stay]])
    return kept


def _survivors(overlaps: Tensor) -> Tensor:
    """Greedy choice among boxes sorted best first: (N, N) bool overlaps -> (M,) indices.

    Box j stays if no earlier box that stays overlaps it. The iteration starts from "all stay".
    After k rounds the first k boxes are right and do not change any more, so a fixpoint is the
    greedy answer. Real boxes need a few rounds, not N.

    A GPU is read once per look: whether the answer is found, and how many boxes stay. With their
    number known, their indices need no further read.
    """
    beats = overlaps.triu(1).float()
    stays = beats.new_ones(len(beats))
    while True:
        for _ in range(ROUNDS_PER_LOOK):
            before = stays
            stays = (stays @ beats == 0).float()
        changes, number = torch.stack([(before != stays).sum(), stays.long().sum()]).tolist()
        if not changes:
            return stays.argsort(descending=True, stable=True)[:number]


def _iou(a: Tensor, b: Tensor, offset: int) -> Tensor:
    """(N, 4), (M, 4) -> (N, M); two boxes without area give NaN, which is over no threshold."""
    ax1, ay1, ax2, ay2 = a.t()[..., None]
    bx1, by1, bx2, by2 = b.t()
    width = torch.minimum(ax2, bx2).sub_(torch.maximum(ax1, bx1)).add_(offset).clamp_(min=0)
    height = torch.minimum(ay2, by2).sub_(torch.maximum(ay1, by1)).add_(offset).clamp_(min=0)
    overlap = width.mul_(height)
    area_a = (ax2 - ax1 + offset) * (ay2 - ay1 + offset)
    area_b = (bx2 - bx1 + offset) * (by2 - by1 + offset)
    return overlap / (area_a + area_b).sub_(overlap)


@functools.cache
def _torchvision_nms() -> Callable | None:
    """torchvision's operator, or None without a torchvision that fits this torch.

    A torchvision that was built for another torch raises RuntimeError.
    """
    try:
        from torchvision.ops import nms as compiled
    except (ImportError, RuntimeError, OSError):
        return None
    return compiled


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Soft NMS (Bodla et al., ICCV 2017): boxes that overlap a better one lose score.

    Args:
        boxes: (N, 4) boxes x1 y1 x2 y2, on the CPU as mmcv hands them over.
        scores: (N,) scores; of two equal scores the earlier box comes first.
        dets: (N, 5) tensor that is written to: its first M rows get the kept boxes and their
            new scores, best first.
        iou_threshold: methods 0 and 1 change the score of boxes that overlap by at least this IoU.
        sigma: width of method 2; a smaller one lowers scores more.
        min_score: boxes whose new score is below it are dropped; the best box of all stays.
        method: 0 (naive) sets the score to 0, 1 (linear) multiplies by 1 - IoU, 2 (gaussian) by
            exp(-IoU^2 / sigma).
        offset: as in `nms`.

    Returns:
        (M,) int64 indices of the kept boxes, in the order of ``dets``.
    """
    left = np.arange(len(scores))
    corners = boxes.float().numpy()
    remaining = scores.float().numpy().copy()
    kept = []
    while len(left):
        best = int(remaining[left].argmax())
        chosen = left[best]
        left = np.delete(left, best)
        kept.append(chosen)
        iou = _iou_with_one(corners[chosen], corners[left], offset)
        remaining[left] *= _score_factor(iou, iou_threshold, sigma, method)
        left = left[~(remaining[left] < min_score)]
    order = torch.tensor(kept, dtype=torch.int64)
    dets[: len(kept)] = torch.cat(
        [boxes[order], torch.from_numpy(remaining).to(boxes)[order, None]], 1
    )
    return order


def _score_factor(iou: np.ndarray, iou_threshold: float, sigma: float, method: int) -> np.ndarray:
    if method == 2:
        return np.exp(-(iou**2) / sigma)
    return np.where(iou >= iou_threshold, 0 if method == 0 else 1 - iou, 1)


def _iou_with_one(one: np.ndarray, boxes: np.ndarray, offset: int) -> np.ndarray:
    """(4,), (N, 4) -> (N,)"""
    top_left = np.maximum(one[:2], boxes[:, :2])
    bottom_right = np.minimum(one[2:], boxes[:, 2:])
    overlap = np.maximum(bottom_right - top_left + offset, 0).prod(1)
    area = (one[2:] - one[:2] + offset).prod()
    areas = (boxes[:, 2:] - boxes[:, :2] + offset).prod(1)
    with np.errstate(invalid="ignore"):  # two boxes without area do not overlap
        return np.nan_to_num(overlap / (area + areas - overlap))
