"""IoU of two boxes and non-maximum suppression (NMS) on a CPU, without PyTorch.

Training and prediction use mmcv's NMS on the device, or `etram_mmdet.ops`. Numba keeps a compiled
copy of `iou` with each function that calls it: after a change here, touch `pairs.py` too.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def iou(a, b):
    """Intersection over union of two boxes; 0 if they do not overlap or one ends before it begins.

    Args:
        a: box x1 y1 x2 y2.
        b: box x1 y1 x2 y2, in the same pixels.
    """
    shared = _shared(a, b)
    return shared / (_area(a) + _area(b) - shared) if shared > 0 else 0.0


@njit(cache=True)
def share_inside(a, b):
    """Share of the area of one box that lies in another one, which is COCO's overlap with a crowd.

    Args:
        a: box x1 y1 x2 y2 whose area is shared; if it ends before it begins, the share is 0.
        b: box x1 y1 x2 y2, the crowd, in the same pixels.
    """
    shared = _shared(a, b)
    return shared / _area(a) if shared > 0 else 0.0


@njit(cache=True)
def _shared(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0.0


@njit(cache=True)
def _area(a):
    return (a[2] - a[0]) * (a[3] - a[1])


def nms(bboxes_xyxy: np.ndarray, labels: np.ndarray, iou_thr: np.ndarray) -> np.ndarray:
    """Greedy non-maximum suppression within each class.

    Args:
        bboxes_xyxy: (N, 4) boxes in falling order of score.
        labels: (N,) class of each box; boxes of two classes do not suppress each other.
        iou_thr: (N,) threshold of each box; the box is removed when its IoU with a kept box of
            higher score is strictly greater.

    Returns:
        (M,) int64, the rows that are kept, in order.
    """
    return _nms(bboxes_xyxy.astype(np.float64), labels, iou_thr)


@njit(cache=True)
def _nms(bboxes_xyxy, labels, iou_thr):
    kept = np.empty(len(labels), np.int64)
    count = 0
    for i in range(len(labels)):
        is_free = True
        for k in kept[:count]:
            if labels[k] == labels[i] and iou(bboxes_xyxy[i], bboxes_xyxy[k]) > iou_thr[i]:
                is_free = False
                break
        if is_free:
            kept[count] = i
            count += 1
    return kept[:count]
