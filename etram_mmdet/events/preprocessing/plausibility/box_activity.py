"""Measure the events inside labelled boxes that move, compared with the whole image.

An object that moves before an event camera makes events. If times and numbers of the boxes are read
correctly, such boxes hold more events per pixel than the image as a whole. Boxes that stand still
prove nothing: a parked car makes no events. A pixel counts once per window, so that a flickering
lamp weighs no more than any other pixel.

Boxes of another recording may also hold many events, if traffic takes the same lanes. A comparison
with the surroundings of each box recognises them: right boxes hold more events than their
surroundings, those of another recording only by chance.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

_MOST_FRAMES = 60  # number of frames to look at, spread over the recording
# Fewer frames are no evidence, nor are fewer than a third of the frames that have boxes when
# labels are read unchanged.
_LEAST_FRAMES = 10
# A box moves if no box was nearly in its place so much earlier or later.
_COMPARE_AFTER_US = 200_000
_COMPARE_BEFORE_US = 1_000_000
_SAME_PLACE_IOU = 0.8
_LAG_STEP_US = 100_000
_LAGS_US = np.arange(-2_000_000, 2_000_001, _LAG_STEP_US)
_NEAR_US = 25_000  # labels so close to a time are labels of that time
_LEAST_BOXES = 30  # fewer boxes that differ from their surroundings are no evidence
# Active pixels in and around a box. Of a few single ones, most lie in the larger part: around it.
_LEAST_ACTIVE = 8
BLOCK_PX = 8
_LEAST_CLUMPING = 3  # Evenly spread noise has 1. If noise hides the objects, boxes prove nothing.


class Reading(NamedTuple):
    """A way to read the boxes of a label file.

    Attributes:
        offset_us: microseconds that are added to the label times.
        is_centre: whether x and y are the centre of a box.
    """

    offset_us: int = 0
    is_centre: bool = False


AS_THEY_ARE = Reading()


class BoxActivity:
    """Measures the activity in boxes on some of the frames, for several ways to read the boxes.

    Args:
        labels: all boxes in time order (``BBOX_DTYPE``, sensor pixels), also those of times that
            are no frame.
        frame_us: end times (F,) of the frames, in microseconds.
        hw: height and width of the images that :meth:`look` gets.
        scale: sensor pixels per pixel of these images. Default: 1.
        offsets_us: time offsets to try, beside those of up to two seconds. Default: none.
    """

    def __init__(
        self,
        labels: np.ndarray,
        frame_us: np.ndarray,
        hw: tuple[int, int],
        scale: int = 1,
        offsets_us: tuple[int, ...] = (),
    ) -> None:
        self._t = labels["t"]
        corners = [labels["x"], labels["y"], labels["x"] + labels["w"], labels["y"] + labels["h"]]
        self._xyxy = np.stack(corners, 1).astype(np.float64) / scale
        self._label_us = np.unique(self._t)
        self._hw = hw
        self.offsets_us = offsets_us
        self._moving: dict[int, np.ndarray] = {}
        labelled_us = np.intersect1d(frame_us, self._label_us)
        places = np.linspace(0, len(labelled_us) - 1, min(len(labelled_us), _MOST_FRAMES)).astype(
            int
        )
        self.frame_us = set(labelled_us[places].tolist())
        self.readings = [Reading(int(lag)) for lag in {*_LAGS_US.tolist(), *offsets_us}] + [
            Reading(is_centre=True)
        ]
        self._rows: list[
            list[tuple[float, float]]
        ] = []  # active and all pixels inside the boxes, by frame and reading
        self._active: list[tuple[int, int]] = []  # active and all pixels, by frame
        self._frames: dict[int, np.ndarray] = {}  # the active pixels themselves, packed

    def look(self, end_us: int, active: np.ndarray) -> None:
        """Add a frame to the measurement.

        Args:
            end_us: end time of the frame, one of ``frame_us``.
            active: bool (H, W), the pixels that had an event.
        """
        sums = cv2.integral(
            active.view(np.uint8)
        )  # (H + 1, W + 1): active pixels above and left of a corner
        self._rows.append([self._inside(sums, end_us, reading) for reading in self.readings])
        self._active.append((int(sums[-1, -1]), active.size))
        self._frames[end_us] = np.packbits(active)

    def _inside(self, sums: np.ndarray, end_us: int, reading: Reading) -> tuple[float, float]:
        pixels = self._pixels(_read_as(self._moving_boxes(end_us - reading.offset_us), reading))
        return float(sum_in(sums, pixels).sum()), float(_area(pixels).sum())

    def _pixels(self, boxes: np.ndarray) -> np.ndarray:
        """``boxes`` (n, 4) cut to the image, in whole pixels."""
        return np.rint(np.clip(boxes, 0, np.tile(self._hw[::-1], 2))).astype(int)

    def busier_share(self, reading: Reading = AS_THEY_ARE) -> float | None:
        """Share of the moving boxes that hold more events per pixel than their surroundings.

        The surroundings reach half a box further on each side; pixels inside any box are left out.
        ``None`` if there are too few boxes, or if noise hides all objects outside the
        boxes.
        """
        found = [self._against_surroundings(end_us, reading) for end_us in self._frames]
        differences = np.concatenate([differences for differences, _ in found] or [[]])
        clumping = [clumping for _, clumping in found if clumping is not None]
        if (
            np.count_nonzero(differences) < _LEAST_BOXES
            or not clumping
            or np.mean(clumping) < _LEAST_CLUMPING
        ):
            return None
        return float((differences[differences != 0] > 0).mean())

    def _against_surroundings(
        self, end_us: int, reading: Reading
    ) -> tuple[np.ndarray, float | None]:
        """Activity of each box (n,) minus that of its surroundings, and clumping outside boxes."""
        time_us = end_us - reading.offset_us
        active = np.unpackbits(self._frames[end_us], count=self._hw[0] * self._hw[1]).reshape(
            self._hw
        )
        outside = np.ones(self._hw, np.uint8)
        for x0, y0, x1, y1 in self._pixels(_read_as(self._boxes_near(time_us), reading)):
            outside[y0:y1, x0:x1] = 0
        boxes = _read_as(self._moving_boxes(time_us), reading)
        half = np.tile((boxes[:, 2:] - boxes[:, :2]) / 2, 2) * [-1, -1, 1, 1]
        inner, outer = self._pixels(boxes), self._pixels(boxes + half)
        area, around = _area(inner), sum_in(cv2.integral(outside), outer)
        inside = sum_in(cv2.integral(active), inner)
        beside = sum_in(cv2.integral(active * outside), outer)
        is_known = (area > 0) & (around > 0) & (inside + beside >= _LEAST_ACTIVE)
        differences = (inside / np.maximum(area, 1) - beside / np.maximum(around, 1))[is_known]
        return differences, clumping(active, outside)

    def _boxes_near(self, time_us: int) -> np.ndarray:
        k = self._nearest(time_us)
        return (
            self._boxes_at(k) if abs(self._label_us[k] - time_us) <= _NEAR_US else np.empty((0, 4))
        )

    def _moving_boxes(self, time_us: int) -> np.ndarray:
        """Corners (n, 4) of the moving boxes at the label time nearest to ``time_us``.

        Empty if no label time is near.
        """
        k = self._nearest(time_us)
        if abs(self._label_us[k] - time_us) > _NEAR_US:
            return np.empty((0, 4))
        if k not in self._moving:
            boxes = self._boxes_at(k)
            others = self._compared_with(k)
            moves = _overlap(boxes, others).max(1, initial=0) < _SAME_PLACE_IOU
            self._moving[k] = boxes[moves & bool(len(others))]
        return self._moving[k]

    def _compared_with(self, k: int) -> np.ndarray:
        """Boxes a moment before label time ``k``, else a moment after it, else none."""
        times = self._label_us
        before = int(np.searchsorted(times, times[k] - _COMPARE_AFTER_US, side="right")) - 1
        after = int(np.searchsorted(times, times[k] + _COMPARE_AFTER_US))
        for other in (before, after):
            if 0 <= other < len(times) and abs(times[other] - times[k]) <= _COMPARE_BEFORE_US:
                return self._boxes_at(other)
        return np.empty((0, 4))

    def _nearest(self, time_us: int) -> int:
        k = int(np.searchsorted(self._label_us, time_us))
        near = [i for i in (k - 1, k) if 0 <= i < len(self._label_us)]
        return min(near, key=lambda i: abs(self._label_us[i] - time_us))

    def _boxes_at(self, k: int) -> np.ndarray:
        start, stop = np.searchsorted(self._t, [self._label_us[k], self._label_us[k] + 1])
        return self._xyxy[start:stop]

    def compare(self) -> dict[Reading, tuple[float, float]]:
        """Activity of the boxes for each reading, and for labels that are read unchanged.

        Both are measured on the frames that have boxes in both readings. The value 1 is the
        activity of the image as a whole. Readings with too few frames are left out.
        """
        found = {}
        rows = np.array(self._rows).reshape(len(self._rows), len(self.readings), 2)
        active = np.array(self._active, float).reshape(-1, 2)
        as_they_are = rows[:, self.readings.index(AS_THEY_ARE)]
        for index, reading in enumerate(self.readings):
            other = rows[:, index]
            both = (as_they_are[:, 1] > 0) & (other[:, 1] > 0)
            least = max(_LEAST_FRAMES, np.count_nonzero(as_they_are[:, 1]) / 3)
            if both.sum() < least or not active[both, 0].any():
                continue
            everywhere = active[both, 0].sum() / active[both, 1].sum()
            found[reading] = tuple(
                r[both, 0].sum() / r[both, 1].sum() / everywhere for r in (other, as_they_are)
            )
        return found


def _read_as(boxes: np.ndarray, reading: Reading) -> np.ndarray:
    return boxes - np.tile((boxes[:, 2:] - boxes[:, :2]) / 2, 2) if reading.is_centre else boxes


def sum_in(sums: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Sums (n,) of an image inside rectangles.

    Args:
        sums: integral image (H + 1, W + 1), as ``cv2.integral`` gives it.
        pixels: corners (n, 4) of the rectangles, in whole pixels: left, top, right, bottom
            (exclusive).
    """
    x0, y0, x1, y1 = pixels.T
    return sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]


def _area(pixels: np.ndarray) -> np.ndarray:
    return (pixels[:, 2:] - pixels[:, :2]).prod(1)


def clumping(active: np.ndarray, outside: np.ndarray) -> float | None:
    """How much the activity varies between blocks outside the boxes; 1 is evenly spread noise.

    ``None`` if no pixel or every pixel there is active.

    Args:
        active: (H, W) 0 or 1, the pixels that had an event.
        outside: (H, W) 0 or 1, the pixels outside all boxes.
    """
    counts, sizes = per_block(active * outside), per_block(outside)
    is_outside = sizes >= BLOCK_PX**2 / 2
    counts, sizes = counts[is_outside], sizes[is_outside]
    share = counts.sum() / max(sizes.sum(), 1)
    if not 0 < share < 1:
        return None
    return float(np.mean((counts - sizes * share) ** 2 / (sizes * share * (1 - share))))


def per_block(image: np.ndarray) -> np.ndarray:
    """Sums of an image in each whole block of `BLOCK_PX` pixels a side, float (n,).

    Args:
        image: (H, W). An incomplete block at the right or lower edge is left out.
    """
    rows, columns = (side // BLOCK_PX for side in image.shape)
    cut = image[: rows * BLOCK_PX, : columns * BLOCK_PX]
    return cut.reshape(rows, BLOCK_PX, columns, BLOCK_PX).sum((1, 3), dtype=float).ravel()


def _overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union (n, m) of corners (n, 4) and (m, 4); 0 if both boxes are empty."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (a, b)]
    union = areas[0][:, None] + areas[1][None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
