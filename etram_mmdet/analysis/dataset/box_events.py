"""Events inside and outside the boxes of the network's frames, and whether the camera moved."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import cv2
import numpy as np

from etram_mmdet.events.preprocessing.plausibility.box_activity import (
    BLOCK_PX,
    clumping,
    per_block,
    sum_in,
)

# Events in a box for each of its pixels. Noise makes 0.001 to 0.03 in 50 ms.
LEAST_PER_PX = 0.05
# A block of pixels with at least this share of active pixels is busy. A moving camera sees edges
# everywhere.
_BUSY_BLOCK = 1 / 8
# Shares of busy blocks among those outside boxes. Seven of nine real recordings from moving cameras
# had 0.3 to 0.9. A real street from a static camera had 0.01, simulated nights had up to 0.15.
_LEAST_BUSY_MOVING = 0.25
_MOST_BUSY_STATIC = 0.17
# Evenly spread noise has a clumping of 1 and says nothing about the camera.
_LEAST_CLUMPING = 3


_NO_BOXES = np.empty((0, 4))


class BoxEvents(NamedTuple):
    """Numbers about the events of some labelled frames, inside and outside their boxes.

    Attributes:
        per_px: (n,) events in each box for each of its pixels.
        inside: events in boxes; an event that lies in several boxes counts once.
        seen: events in these frames.
        busy: (F,) share of the blocks outside boxes that are busy, for each frame that has such
            blocks.
        clumps: (m,) how clumped the activity outside boxes is, for each frame that has any.
    """

    per_px: np.ndarray
    inside: float
    seen: float
    busy: np.ndarray
    clumps: np.ndarray

    @classmethod
    def of_frame(
        cls,
        bboxes_xyxy: np.ndarray,
        events: np.ndarray,
        others_xyxy: np.ndarray = _NO_BOXES,
        added_up: int = 1,
    ) -> BoxEvents:
        """Returns the numbers of one frame.

        Args:
            bboxes_xyxy: (n, 4) boxes, in network pixels.
            events: (H, W) number of events on each pixel.
            others_xyxy: (k, 4) boxes that are not counted but may move too, so they are not
                background. Default: none.
            added_up: rows of the sensor whose events one pixel counts. Default: 1.
        """
        pixels, others = (
            _whole_pixels(boxes, events.shape) for boxes in (bboxes_xyxy, others_xyxy)
        )
        beside = _uncovered(pixels, np.ones(events.shape, np.uint8))
        outside = _uncovered(others, beside.copy())
        areas = (pixels[:, 2:] - pixels[:, :2]).prod(1)
        has_area = areas > 0
        sums = sum_in(cv2.integral(events.astype(np.float64)), pixels)
        per_px = sums[has_area] / areas[has_area]
        seen = float(events.sum())
        active = events > 0
        sizes = per_block(outside)
        is_outside = sizes >= BLOCK_PX**2 / 2
        shares = per_block(active * outside)[is_outside] / sizes[is_outside]
        busy = [(shares >= _BUSY_BLOCK * added_up).mean()] if len(shares) else []
        clumps = [c] if (c := clumping(active, outside)) is not None else []
        return cls(
            per_px, seen - float((events * beside).sum()), seen, np.array(busy), np.array(clumps)
        )

    @classmethod
    def joined(cls, parts: Iterable[BoxEvents]) -> BoxEvents:
        """Returns the numbers of all frames in ``parts`` together."""
        empty = cls(np.empty(0), 0.0, 0.0, np.empty(0), np.empty(0))
        columns = zip(empty, *parts, strict=True)
        return cls(*(sum(c) if isinstance(c[0], float) else np.concatenate(c) for c in columns))

    @property
    def empty_share(self) -> float | None:
        """Share of boxes with fewer than `LEAST_PER_PX` events a pixel; ``None`` without boxes."""
        return float(np.mean(self.per_px < LEAST_PER_PX)) if len(self.per_px) else None

    @property
    def inside_share(self) -> float | None:
        """Share of the events that lie in boxes; ``None`` without events."""
        return self.inside / self.seen if self.seen else None

    @property
    def camera(self) -> str | None:
        """``"static"`` or ``"moving"``; ``None`` if the frames do not show which."""
        busy = float(np.median(self.busy)) if len(self.busy) else 0.0
        if not self.seen or not len(self.busy):
            return None
        if busy < _MOST_BUSY_STATIC:
            return "static"
        is_clear = (
            busy >= _LEAST_BUSY_MOVING
            and len(self.clumps)
            and self.clumps.mean() >= _LEAST_CLUMPING
        )
        return "moving" if is_clear else None


def _whole_pixels(bboxes_xyxy: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
    """Returns boxes (n, 4) cut to an image, in whole pixels."""
    return np.rint(np.clip(bboxes_xyxy, 0, np.tile(hw[::-1], 2))).astype(int)


def _uncovered(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Sets ``mask`` (H, W) to zero in place where one of the boxes (n, 4) lies, and returns it."""
    for x0, y0, x1, y1 in pixels:
        mask[y0:y1, x0:x1] = 0
    return mask
