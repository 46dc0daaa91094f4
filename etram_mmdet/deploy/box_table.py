"""Rows of a CSV table of boxes."""

from __future__ import annotations

from collections.abc import Iterator

from etram_mmdet.deploy.inferencer import Window

COLUMNS = ("t_us", "x1", "y1", "x2", "y2", "score", "class")


def rows_of(window: Window) -> Iterator[list]:
    """One row per box: time in microseconds, corners in sensor pixels, score, class name.

    Args:
        window: window with detections.
    """
    boxes = window.boxes
    for box, score, name in zip(boxes.bboxes_xyxy, boxes.scores, boxes.names, strict=True):
        yield [window.t_us, *(f"{side:.2f}" for side in box), f"{score:.4f}", name]
