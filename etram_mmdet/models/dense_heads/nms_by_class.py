"""Non-maximum suppression within classes, without a wait for the GPU besides that of NMS itself."""

from __future__ import annotations

from mmcv.ops import batched_nms
from torch import Tensor


def nms_by_class(
    boxes: Tensor, scores: Tensor, labels: Tensor, nms_cfg: dict | None
) -> tuple[Tensor, Tensor]:
    """The choice of mmcv's ``batched_nms``, which copies a constant to the device.

    Boxes of each class are shifted apart here, by the same number of pixels as there, and mmcv
    takes them as boxes of one class.

    Args:
        boxes: (N, 4) boxes xyxy, in pixels.
        scores: (N,) scores.
        labels: (N,) classes.
        nms_cfg: mmcv's settings, such as ``type``, ``iou_threshold`` and ``class_agnostic``. None:
            all boxes stay and are sorted.

    Returns:
        (M,) scores of the boxes that stay, which some kinds of NMS lower, and their (M,) indices,
        best first.
    """
    if nms_cfg is not None and not nms_cfg.get("class_agnostic"):
        nms_cfg = dict(nms_cfg, class_agnostic=True)
        boxes = boxes + (labels.to(boxes) * (boxes.max() + 1))[:, None]
    scored, kept = batched_nms(boxes, scores, labels, nms_cfg)
    return scored[:, -1], kept
