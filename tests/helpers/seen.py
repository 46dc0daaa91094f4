"""Frames of a batch, made by hand."""

from __future__ import annotations

import numpy as np

from etram_mmdet.evaluation.results import Boxes
from etram_mmdet.visualization.clip_sheet import SeenFrame

CLASSES = ("pedestrian", "car")
PALETTE = ((255, 94, 58), (66, 165, 245))


def seen(t=0, lane=0, boxes=(), height=36, width=60, **other) -> SeenFrame:
    """Frame ``t`` of a clip in the middle of a stream.

    It is labelled; its two right columns and its last row are padding.
    """
    values = dict(
        off_on=np.zeros((2, height, width), np.float32),
        boxes=Boxes(np.array(boxes, np.float32).reshape(-1, 4), np.zeros(len(boxes), np.int64)),
        hw=(height - 1, width - 2),
        recording="day_0000",
        t_us=50_000 * t,
        lane=lane,
        starts_clip=t == 0,
        is_first=False,
        is_labelled=True,
        is_padding=False,
        streamed=True,
    )
    return SeenFrame(**{**values, **other})
