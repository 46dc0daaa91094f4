"""From what a graph returns to boxes, as the detector's own head does it, with NumPy and numba."""

from __future__ import annotations

import numpy as np

from etram_mmdet.deploy.description import Description
from etram_mmdet.evaluation.nms import nms
from etram_mmdet.evaluation.results import Boxes


def to_boxes(
    bboxes: np.ndarray, objectness: np.ndarray, class_scores: np.ndarray, description: Description
) -> Boxes:
    """Boxes of one frame after the lowest threshold and NMS, best first.

    Args:
        bboxes: (P, 4) x1 y1 x2 y2 in pixels of the frame.
        objectness: (P,) probabilities.
        class_scores: (P, K) probabilities.
        description: gives ``score_thr``, ``nms_pre``, ``nms`` and the class names.
    """
    scores = class_scores.max(1) * objectness
    chosen = np.flatnonzero(scores >= np.float32(description.score_thr))
    chosen = chosen[np.argsort(-scores[chosen], kind="stable")]
    if description.nms_pre > 0:
        chosen = chosen[: description.nms_pre]
    labels = class_scores[chosen].argmax(1)
    groups = np.zeros_like(labels) if description.nms.get("class_agnostic") else labels
    iou_thr = np.full(len(chosen), float(description.nms["iou_threshold"]))
    kept = nms(bboxes[chosen], groups, iou_thr)
    rows = chosen[kept]
    return Boxes(bboxes[rows], labels[kept], scores[rows], classes=description.classes)
