"""Rotation, translation, scale and shear of whole clips: EvRT-DETR's augmentation.

Source: Torbunov et al., ICCV 2025.
"""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from etram_mmdet.datasets.transforms.geometry import cut_to_frame, keep_boxes


def affine_matrix(
    hw: tuple[int, int],
    rotate_deg: float = 0.0,
    translate_xy: tuple[float, float] = (0.0, 0.0),
    scale: float = 1.0,
    shear_deg: float = 0.0,
) -> np.ndarray:
    """Matrix (2, 3) that rotates, translates, scales and shears, in EvRT-DETR's order.

    Everything but the translation keeps the centre of the frame in place.

    Args:
        hw: height and width of the frame, in pixels.
        rotate_deg: angle of rotation in degrees, counterclockwise. Default: 0.
        translate_xy: shift as shares of width and height. Default: none.
        scale: factor. Default: 1.
        shear_deg: angle of shear along the rows, in degrees. Default: 0.
    """
    sin, cos = np.sin(np.deg2rad(rotate_deg)), np.cos(np.deg2rad(rotate_deg))
    size_px = np.array([hw[1], hw[0]])
    after_move = scale * np.array([[1, np.tan(np.deg2rad(shear_deg))], [0, 1]])
    linear = after_move @ np.array([[cos, sin], [-sin, cos]])
    offset = after_move @ (np.array(translate_xy) * size_px) + size_px / 2 - linear @ (size_px / 2)
    return np.column_stack([linear, offset])


def affine(
    frames: np.ndarray, bboxes: list[np.ndarray], matrix: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Move the pixels and boxes of a clip by an affine map.

    A pixel takes the value found at the place where its centre comes from, and 0 from outside the
    frame: counts are categories and must not be mixed. Boxes are not cut to the frame.

    Args:
        frames: (T, C, H, W), one byte per value.
        bboxes: T arrays (n, 4) of boxes x1 y1 x2 y2.
        matrix: (2, 3); a point (x, y) goes to ``matrix`` times (x, y, 1). Pixel 0 reaches from
            0 to 1.

    Returns:
        The moved frames and boxes.
    """
    height, width = frames.shape[-2:]
    pixels, is_inside = _source(matrix, height, width)
    planes = frames.reshape(-1, height * width).take(pixels, axis=1)  # one map for all T * C planes
    planes *= is_inside
    return planes.reshape(frames.shape), [move_boxes(b, matrix) for b in bboxes]


def _source(matrix: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Flat index of the pixel that each pixel comes from, and whether it is inside the frame.

    Both are (H * W,).
    """
    (a, b), (c, d) = np.linalg.inv(matrix[:, :2])
    x, y = np.arange(width) + 0.5 - matrix[0, 2], np.arange(height)[:, None] + 0.5 - matrix[1, 2]
    column, row = np.floor(a * x + b * y), np.floor(c * x + d * y)
    is_inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return np.where(is_inside, row * width + column, 0).astype(np.intp).ravel(), is_inside.ravel()


def move_boxes(bboxes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Boxes (n, 4) around the images of the ellipses that the given boxes enclose.

    A box around the four moved corners would grow far beyond the object, which seldom reaches its
    corners (Kalra et al., "Towards rotation invariance in object detection", ICCV 2021). Without
    rotation and shear both are the same.

    Args:
        bboxes: (n, 4) boxes x1 y1 x2 y2.
        matrix: (2, 3), as for :func:`affine`.
    """
    x1, y1, x2, y2 = bboxes.T.astype(np.float64)
    (a, b, shift_x), (c, d, shift_y) = matrix
    x, y, radius_x, radius_y = (x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) / 2, (y2 - y1) / 2
    x, y = a * x + b * y + shift_x, c * x + d * y + shift_y
    radius_x, radius_y = np.hypot(a * radius_x, b * radius_y), np.hypot(c * radius_x, d * radius_y)
    return np.stack([x - radius_x, y - radius_y, x + radius_x, y + radius_y], 1).astype(np.float32)


@TRANSFORMS.register_module()
class ClipAffine(BaseTransform):
    """Rotate, translate, scale and shear a clip, each with the same probability.

    All boxes are cut to the frame.

    Args:
        prob: probability of each of the four. Default: 0.6.
        max_rotate_deg: largest angle of rotation to either side, in degrees. Default: 30.
        max_translate: largest shift to any side, as a share of the frame. Default: 0.5.
        scale: smallest and largest factor. Default: 0.5 and 1.5.
        max_shear_deg: largest angle of shear to either side, in degrees. Default: 30.
        min_visible: share of a box's area that must stay in the frame, else the box is dropped.
            Default: 0.25.
    """

    def __init__(
        self,
        prob: float = 0.6,
        max_rotate_deg: float = 30.0,
        max_translate: float = 0.5,
        scale: tuple[float, float] = (0.5, 1.5),
        max_shear_deg: float = 30.0,
        min_visible: float = 0.25,
    ) -> None:
        self.prob = prob
        self.max_rotate_deg = max_rotate_deg
        self.max_translate = max_translate
        self.scale = scale
        self.max_shear_deg = max_shear_deg
        self.min_visible = min_visible

    def transform(self, results: dict) -> dict:
        hw = results["frames"].shape[-2:]
        frames, bboxes = affine(results["frames"], results["bboxes"], self.draw(results["rng"], hw))
        cut, keep = zip(*(cut_to_frame(b, hw, self.min_visible) for b in bboxes), strict=True)
        return keep_boxes({**results, "frames": frames, "bboxes": list(cut)}, keep)

    def draw(self, rng: np.random.Generator, hw: tuple[int, int]) -> np.ndarray:
        """Draw the matrix (2, 3) of one clip."""
        rotates, translates, scales, shears = rng.random(4) < self.prob
        turn, x, y, tilt = rng.uniform(-1, 1, 4)
        factor = rng.uniform(*self.scale)
        return affine_matrix(
            hw,
            rotate_deg=rotates * turn * self.max_rotate_deg,
            translate_xy=(translates * x * self.max_translate, translates * y * self.max_translate),
            scale=factor if scales else 1.0,
            shear_deg=shears * tilt * self.max_shear_deg,
        )
