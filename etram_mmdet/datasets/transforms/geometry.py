"""Augmentation of clips: one draw per clip, the same for all clips of a stream's pass.

Random numbers come from ``results['rng']``. Each transform has a generator of its own there, so
that the draws of one transform never depend on those of another.

Boxes are xyxy in network pixels from 0 to W - 1, the last pixel, as RVT's loader cuts them. So they
are mirrored about W - 1 and cut there, as in RVT. Unlike in RVT they are scaled by the factor that
whole pixels allow instead of the drawn one, which in frames of 96 pixels would move them off their
events by half a pixel on average.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from etram_mmdet.datasets.recorded_boxes import is_flat

# Lists of a clip that hold one array per frame, with a row per box. Only evaluation has the last
# one, since its ignored boxes are listed with the others and move with them.
PER_BOX = ("bboxes", "labels", "tracks", "is_ignored")


def resize_nearest(frames: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Resize frames without mixing pixels: counts are categories rather than intensities.

    Args:
        frames: (T, C, H, W), one byte per value.
        size_hw: new height and width.
    """
    as_bytes = torch.from_numpy(frames.view(np.uint8))  # torch resamples no signed bytes
    return F.interpolate(as_bytes, size=size_hw, mode="nearest-exact").numpy().view(frames.dtype)


def flip(frames: np.ndarray, bboxes: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Mirror a clip left to right: column 0 becomes column W - 1, for pixels and boxes.

    Args:
        frames: (T, C, H, W).
        bboxes: T arrays (n, 4) of boxes x1 y1 x2 y2.
    """
    last = frames.shape[-1] - 1
    mirrored = [np.stack([last - b[:, 2], b[:, 1], last - b[:, 0], b[:, 3]], 1) for b in bboxes]
    return np.ascontiguousarray(frames[..., ::-1]), mirrored


def zoom_out(
    frames: np.ndarray, bboxes: list[np.ndarray], factor: float, offset: tuple[float, float]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Shrink a clip and put it into an empty frame.

    Args:
        frames: (T, C, H, W).
        bboxes: T arrays (n, 4) of boxes x1 y1 x2 y2.
        factor: how much smaller the clip becomes, at least 1.
        offset: y and x in [0, 1); the place of the clip, as shares of the free space.
    """
    h, w = frames.shape[-2:]
    small_hw = int(h / factor), int(w / factor)
    y, x = (
        int(o * (full - small + 1)) for o, full, small in zip(offset, (h, w), small_hw, strict=True)
    )
    canvas = np.zeros_like(frames)
    canvas[..., y : y + small_hw[0], x : x + small_hw[1]] = resize_nearest(frames, small_hw)
    scale = np.array([small_hw[1] / w, small_hw[0] / h] * 2, np.float32)
    return canvas, [b * scale + np.array([x, y, x, y], np.float32) for b in bboxes]


def zoom_in(
    frames: np.ndarray, bboxes: list[np.ndarray], factor: float, corner_yx: tuple[int, int]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Enlarge a part of a clip to the whole frame; boxes are cut to the part.

    A box that is cut away entirely becomes flat; the caller drops it with its label.

    Args:
        frames: (T, C, H, W).
        bboxes: T arrays (n, 4) of boxes x1 y1 x2 y2.
        factor: how much larger the part becomes, at least 1.
        corner_yx: upper left corner of the part, in pixels.
    """
    h, w = frames.shape[-2:]
    (y, x), (crop_h, crop_w) = corner_yx, (int(h / factor), int(w / factor))
    enlarged = resize_nearest(
        np.ascontiguousarray(frames[..., y : y + crop_h, x : x + crop_w]), (h, w)
    )
    shift, limit = np.array([x, y, x, y], np.float32), np.array([crop_w, crop_h] * 2, np.float32)
    frame = np.array([w, h] * 2, np.float32)
    return enlarged, [
        np.minimum(np.clip(b - shift, 0, limit) * (frame / limit), frame - 1) for b in bboxes
    ]


@TRANSFORMS.register_module()
class ClipFlip(BaseTransform):
    """Mirror a clip left to right.

    Args:
        prob: probability of mirroring. Default: 0.5.
    """

    def __init__(self, prob: float = 0.5) -> None:
        self.prob = prob

    def transform(self, results: dict) -> dict:
        if results["rng"].random() < self.prob:
            results["frames"], results["bboxes"] = flip(results["frames"], results["bboxes"])
            for meta in results.get("frame_metas", ()):
                meta.update(flip=not meta.get("flip"), flip_direction="horizontal")
        return results


@TRANSFORMS.register_module()
class ClipZoom(BaseTransform):
    """Zoom a clip in or out as RVT does.

    A clip of a stream is only zoomed out: a crop would lose road users for the rest of the stream.
    A clip on its own may be zoomed in; the crop then keeps a random box of its last labelled frame
    whole.

    Args:
        stream_prob: probability of zooming out a stream. Default: 0.5.
        random_prob: probability of zooming a clip on its own, in or out. Default: 0.8.
        in_share: share of these zooms that go in. Default: 0.8.
        max_in: largest factor of zooming in. Default: 1.5.
        max_out: largest factor of zooming out. Default: 1.2.
    """

    def __init__(
        self,
        stream_prob: float = 0.5,
        random_prob: float = 0.8,
        in_share: float = 0.8,
        max_in: float = 1.5,
        max_out: float = 1.2,
    ) -> None:
        self.stream_prob = stream_prob
        self.random_prob = random_prob
        self.in_share = in_share
        self.max_in = max_in
        self.max_out = max_out

    def transform(self, results: dict) -> dict:
        chance, direction, size, y, x, which = results["rng"].random(6)
        inward = not results["streamed"] and direction < self.in_share
        if chance >= (self.stream_prob if results["streamed"] else self.random_prob):
            return results
        factor = 1 + size * ((self.max_in if inward else self.max_out) - 1)
        zoom = self._in if inward else self._out
        results["frames"], results["bboxes"] = zoom(results, factor, (y, x), which)
        return keep_boxes(results, [~is_flat(b) for b in results["bboxes"]])

    @staticmethod
    def _out(results: dict, factor: float, offset: tuple[float, float], which: float) -> tuple:
        return zoom_out(results["frames"], results["bboxes"], factor, offset)

    @staticmethod
    def _in(results: dict, factor: float, offset: tuple[float, float], which: float) -> tuple:
        frames = results["frames"]
        bboxes = results["bboxes"]
        corner = crop_around(_one_box(bboxes, which), frames.shape[-2:], factor, offset)
        return zoom_in(frames, bboxes, factor, corner)


def _one_box(bboxes: list[np.ndarray], which: float) -> np.ndarray | None:
    """A box of the last frame with boxes; ``which`` in [0, 1) chooses it."""
    last = next((b for b in reversed(bboxes) if len(b)), None)
    return None if last is None else last[int(which * len(last))]


def crop_around(
    box: np.ndarray | None, hw: tuple[int, int], factor: float, offset: tuple[float, float]
) -> tuple[int, int]:
    """Upper left corner (y, x) of a crop that holds a box whole if the box fits.

    Args:
        box: (4,) box x1 y1 x2 y2. None: the crop may lie anywhere.
        hw: height and width of the frame, in pixels.
        factor: the crop has 1 / ``factor`` of the frame's height and width.
        offset: y and x in [0, 1); the choice among the possible corners.
    """
    corner = []
    for axis in (0, 1):
        crop = int(hw[axis] / factor)
        low = 0
        high = hw[axis] - crop
        if box is not None:
            first, last = box[1 - axis], box[3 - axis]
            low, high = max(low, int(np.ceil(last)) - crop), min(high, int(first))
            low, high = min(low, hw[axis] - crop), max(high, 0)
            low, high = min(low, high), max(low, high)
        corner.append(low + int(offset[axis] * (high - low + 1)))
    return corner[0], corner[1]


def cut_to_frame(
    bboxes: np.ndarray, hw: tuple[int, int], min_visible: float
) -> tuple[np.ndarray, np.ndarray]:
    """Cut boxes (n, 4) to the frame, and return a mask (n,) of the boxes that remain.

    Args:
        bboxes: (n, 4) boxes x1 y1 x2 y2.
        hw: height and width of the frame, in pixels.
        min_visible: share of its area that a box has to keep.
    """
    cut = np.clip(bboxes, 0, np.array([hw[1] - 1, hw[0] - 1] * 2, np.float32))
    area, visible = ((b[:, 2:] - b[:, :2]).prod(1) for b in (bboxes, cut))
    return cut, ~is_flat(cut) & (visible >= min_visible * area)


def keep_boxes(results: dict, keep: Sequence[np.ndarray]) -> dict:
    """Keep some boxes of a clip, with their labels, track ids and flags, in place.

    Args:
        results: clip with the lists of `PER_BOX`.
        keep: for each frame a mask (n,) of the boxes to keep.
    """
    for name in PER_BOX:
        if name in results:
            results[name] = [values[k] for values, k in zip(results[name], keep, strict=True)]
    return results
