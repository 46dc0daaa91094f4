"""Doubts about the boxes: where they lie on the sensor, and which events they hold."""

from __future__ import annotations

import numpy as np

from etram_mmdet.events.preprocessing.plausibility.box_activity import (
    AS_THEY_ARE,
    BoxActivity,
    Reading,
)
from etram_mmdet.events.preprocessing.plausibility.limits import limit_of
from etram_mmdet.events.preprocessing.plausibility.times import LABELS_FROM_START
from etram_mmdet.utils.text import percent


def doubts_about_boxes(boxes: np.ndarray, width: int, height: int, box_format: str) -> list[str]:
    """A sentence if boxes seem to hold two corners, or lie outside the sensor.

    Args:
        boxes: boxes (``BBOX_DTYPE``, sensor pixels) as they were read.
        width: columns of the sensor.
        height: rows of the sensor.
        box_format: ``xywh``, ``cxcywh`` or ``xyxy``, as the boxes were read.
    """
    if not len(boxes):
        return []
    x, y, w, h = (boxes[name] for name in "xywh")
    cut = (x + w > width) | (y + h > height)
    like_corners = ((w > x) & (h > y)).mean()
    if (
        box_format == "xywh"
        and like_corners >= limit_of("corner_boxes_share")
        and cut.mean() > limit_of("least_cut_corner_boxes_share")
    ):
        return [
            f"{percent(cut.mean(), 0)} of the boxes reach over the sensor of {width}x{height}, and "
            f"{percent(like_corners, 0)} have w > x and h > y; likely cause: boxes are stored as "
            "two corners; use --box-format xyxy"
        ]
    outside = ((x >= width) | (y >= height) | (x + w <= 0) | (y + h <= 0)).mean()
    if outside <= limit_of("most_outside_boxes_share"):
        return []
    return [
        f"{percent(outside, 0)} of the boxes lie outside the sensor of {width}x{height}; likely "
        "cause: they were drawn on images of another size, or the sensor's size was guessed "
        "wrongly; give it with --sensor WIDTH HEIGHT"
    ]


def doubts_about_activity(activity: BoxActivity, box_format: str) -> list[str]:
    """A sentence if moving boxes hold too few events, or more events when read in another way.

    Args:
        activity: measured activity in the boxes.
        box_format: ``xywh``, ``cxcywh`` or ``xyxy``, as the boxes were read.
    """
    compared = activity.compare()
    if AS_THEY_ARE not in compared:
        return []
    found = (
        f"moving boxes hold {compared[AS_THEY_ARE][0]:.2f} times as many events per pixel as the "
        "whole image"
    )
    are_foreign = _is_below(activity, AS_THEY_ARE, "least_busier_share")
    better = _better_reading(compared, box_format)
    if better and not (are_foreign and _is_below(activity, better, "least_busier_share_mended")):
        return [f"{found}, but {_told_of_better(better, compared[better][0], activity.offsets_us)}"]
    if are_foreign:
        busier = percent(activity.busier_share(), 0)
        found = (
            f"only {busier} of the moving boxes hold more events per pixel than their surroundings"
        )
    elif compared[AS_THEY_ARE][0] >= limit_of("least_activity"):
        return []
    return [
        f"{found}; likely cause: labels of another recording, or another clock; shift the labels "
        "with --label-offset-us N"
    ]


def _better_reading(
    compared: dict[Reading, tuple[float, float]], box_format: str
) -> Reading | None:
    """The reading with which boxes hold the most events; ``None`` if it is hardly better."""
    least = limit_of("better_reading")
    gains = {
        reading: other / max(own, 1e-9)
        for reading, (other, own) in compared.items()
        if other > least and not (reading.is_centre and box_format != "xywh")
    }
    best = max(gains, key=gains.get, default=AS_THEY_ARE)
    return best if best != AS_THEY_ARE and gains[best] > least else None


def _told_of_better(better: Reading, share: float, offsets_us: tuple[int, ...]) -> str:
    if better.is_centre:
        return (
            f"{share:.2f} times if x and y are read as box centres; likely cause: x and y are "
            "centres; use --box-format cxcywh"
        )
    if better.offset_us in offsets_us:
        cause = f"{LABELS_FROM_START.text}; use {LABELS_FROM_START.options}"
    else:
        cause = f"their clock is off; use --label-offset-us {better.offset_us}"
    return (
        f"{share:.2f} times if the labels are shifted by {better.offset_us / 1e6:+.4g} s; likely "
        f"cause: {cause}"
    )


def _is_below(activity: BoxActivity, reading: Reading, limit: str) -> bool:
    share = activity.busier_share(reading)
    return share is not None and share < limit_of(limit)
