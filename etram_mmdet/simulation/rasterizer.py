"""Paints anti-aliased parts of solid bodies through a pinhole camera onto a luminance image.

Bodies are given in metres. A part is a run of points and a radius: one point is a disc, two are a
rod, three or more are a filled polygon (radius zero, painted only when its counter-clockwise face
looks at the camera) or a closed outline (radius above zero). Parts are painted in order, so a later
part hides an earlier one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

NEAR_M = 1.0  # parts that reach closer to the camera than this are left out
SCANLINES = 4  # per pixel row; horizontally a polygon's coverage is exact
MAX_POINTS = 64  # crossings of one scanline that a polygon may have


@dataclass(frozen=True)
class Camera:
    """A level pinhole camera on a mast, looking along +y and tilted down.

    World axes in metres: x right, y away from the camera, z up; the camera stands above x = y = 0.

    Args:
        width: width of the image, in pixels.
        height: height of the image, in pixels.
        focal_px: focal length at this width and height, in pixels.
        mount_m: height of the camera above the ground.
        tilt_rad: angle by which the camera looks down.
    """

    width: int
    height: int
    focal_px: float
    mount_m: float
    tilt_rad: float

    @property
    def array(self) -> np.ndarray:
        """Numbers for compiled code.

        They are focal length, centre u and v, mount height, cosine and sine of the tilt.
        """
        tilt = np.cos(self.tilt_rad), np.sin(self.tilt_rad)
        return np.array([self.focal_px, self.width / 2, self.height / 2, self.mount_m, *tilt])

    def rays(self, supersample: int) -> np.ndarray:
        """World direction, at depth 1, of every sub-pixel.

        Returns:
            ``(height * supersample, width * supersample, 3)``.
        """
        v, u = np.indices((self.height * supersample, self.width * supersample))
        right = ((u + 0.5) / supersample - self.width / 2) / self.focal_px
        down = ((v + 0.5) / supersample - self.height / 2) / self.focal_px
        cos = np.cos(self.tilt_rad)
        sin = np.sin(self.tilt_rad)
        return np.stack([right, cos - down * sin, -sin - down * cos], axis=-1)


@njit(cache=True)
def project(camera, pose, points_m):
    """Project the points of a body: (n, 3) of u and v in pixels and depth in metres.

    Args:
        camera: ``Camera.array``.
        pose: (4,) x, y in metres, cosine and sine of the heading.
        points_m: (n, 3) points of the body.
    """
    focal, u0, v0, mount, cos, sin = camera
    out = np.empty(points_m.shape)
    for i in range(len(points_m)):
        x = pose[0] + points_m[i, 0] * pose[2] - points_m[i, 1] * pose[3]
        y = pose[1] + points_m[i, 0] * pose[3] + points_m[i, 1] * pose[2]
        z = points_m[i, 2] - mount
        depth = max(y * cos - z * sin, 1e-3)
        out[i, 0] = u0 + focal * x / depth
        out[i, 1] = v0 - focal * (y * sin + z * cos) / depth
        out[i, 2] = depth
    return out


@njit(cache=True)
def _blend(canvas, row, column, cover, luminance):
    canvas[row, column] += np.float32(cover * (luminance - canvas[row, column]))


@njit(cache=True)
def _rod(canvas, a, b, radius_px, luminance, opacity):
    """Paint all pixels within ``radius_px`` of the segment a-b.

    A rod thinner than a pixel fades instead of vanishing.
    """
    height, width = canvas.shape
    opacity *= min(1.0, 2 * radius_px)
    reach = max(radius_px, 0.5) + 0.5
    du, dv = b[0] - a[0], b[1] - a[1]
    length2 = max(du * du + dv * dv, 1e-9)
    for row in range(
        max(0, int(min(a[1], b[1]) - reach)), min(height, int(max(a[1], b[1]) + reach) + 1)
    ):
        for column in range(
            max(0, int(min(a[0], b[0]) - reach)), min(width, int(max(a[0], b[0]) + reach) + 1)
        ):
            u, v = column + 0.5 - a[0], row + 0.5 - a[1]
            along = min(max((u * du + v * dv) / length2, 0.0), 1.0)
            distance = np.sqrt((u - along * du) ** 2 + (v - along * dv) ** 2)
            if distance < reach:
                _blend(canvas, row, column, opacity * min(1.0, reach - distance), luminance)


@njit(cache=True)
def _crossings(corners, v, out):
    """Write the sorted u of the outline on scanline ``v`` to ``out``, and return their number."""
    found = 0
    last = len(corners) - 1
    for i in range(len(corners)):
        v0, v1 = corners[last, 1], corners[i, 1]
        if (v0 <= v) != (v1 <= v):
            u = corners[last, 0] + (v - v0) * (corners[i, 0] - corners[last, 0]) / (v1 - v0)
            slot = found
            while slot > 0 and out[slot - 1] > u:
                out[slot] = out[slot - 1]
                slot -= 1
            out[slot] = u
            found += 1
        last = i
    return found


@njit(cache=True)
def _cover_span(cover, start, stop):
    """Add the share of every pixel of one scanline that lies between ``start`` and ``stop``."""
    start, stop = max(start, 0.0), min(stop, float(len(cover)))
    if start >= stop:
        return
    first = int(start)
    last = min(int(stop), len(cover) - 1)
    for column in range(first, last + 1):
        cover[column] += np.float32(1 / SCANLINES)
    cover[first] -= np.float32((start - first) / SCANLINES)
    cover[last] -= np.float32((last + 1 - stop) / SCANLINES)


@njit(cache=True)
def _faces_camera(corners):
    area = 0.0
    last = len(corners) - 1
    for i in range(len(corners)):
        area += corners[last, 0] * corners[i, 1] - corners[i, 0] * corners[last, 1]
        last = i
    return area < 0  # v points down, so a counter-clockwise outline has a negative area


@njit(cache=True)
def _polygon(canvas, corners, luminance, opacity, cover, crossings):
    """Paint a polygon; ``cover`` (one float per column) and ``crossings`` are scratch memory."""
    height, width = canvas.shape
    left = min(max(int(corners[:, 0].min()), 0), width)
    right = min(max(int(corners[:, 0].max()) + 1, 0), width)
    for row in range(max(0, int(corners[:, 1].min())), min(height, int(corners[:, 1].max()) + 1)):
        cover[left:right] = 0
        for line in range(SCANLINES):
            found = _crossings(corners, row + (line + 0.5) / SCANLINES, crossings)
            for i in range(0, found - 1, 2):
                _cover_span(cover, crossings[i], crossings[i + 1])
        for column in range(left, right):
            _blend(canvas, row, column, opacity * min(cover[column], np.float32(1.0)), luminance)


@njit(cache=True)
def paint(canvas, camera, pose, points_m, counts, radius_m, luminance, opacity):
    """Paint the parts of a body onto an image, in place.

    Args:
        canvas: float32 (H, W) image that is painted on.
        camera: ``Camera.array``.
        pose: (4,) x, y in metres, cosine and sine of the heading.
        points_m: (n, 3) points of the body, part after part.
        counts: (parts,) number of points of each part.
        radius_m: (parts,) radius of each part; 0 for a filled polygon.
        luminance: (parts,) luminance of each part.
        opacity: (parts,) opacity of each part, from 0 to 1.
    """
    pixels = project(camera, pose, points_m)
    cover = np.zeros(canvas.shape[1], np.float32)
    crossings = np.empty(MAX_POINTS)
    start = 0
    for part in range(len(counts)):
        corners = pixels[start : start + counts[part]]
        start += counts[part]
        depth = corners[:, 2].mean()
        if corners[:, 2].min() < NEAR_M or opacity[part] == 0:
            continue
        if radius_m[part] > 0:
            edges = len(corners) if len(corners) > 2 else max(len(corners) - 1, 1)
            for i in range(edges):
                end = corners[(i + 1) % len(corners)]
                _rod(
                    canvas,
                    corners[i],
                    end,
                    radius_m[part] * camera[0] / depth,
                    luminance[part],
                    opacity[part],
                )
        elif _faces_camera(corners):
            _polygon(canvas, corners, luminance[part], opacity[part], cover, crossings)


@njit(cache=True)
def solid_bounds(camera, pose, points_m, counts, radius_m, opacity):
    """Box around a body's opaque parts with their radii: left, top, right, bottom in pixels.

    The box is not clipped to the frame.

    Args:
        camera: ``Camera.array``.
        pose: (4,) x, y in metres, cosine and sine of the heading.
        points_m: (n, 3) points of the body, part after part.
        counts: (parts,) number of points of each part.
        radius_m: (parts,) radius of each part.
        opacity: (parts,) opacity of each part; parts below 1 do not count.
    """
    pixels = project(camera, pose, points_m)
    bounds = np.array([np.inf, np.inf, -np.inf, -np.inf])
    start = 0
    for part in range(len(counts)):
        corners = pixels[start : start + counts[part]]
        start += counts[part]
        if opacity[part] < 1 or corners[:, 2].min() < NEAR_M:
            continue
        for i in range(len(corners)):
            radius = radius_m[part] * camera[0] / corners[i, 2]
            bounds[0] = min(bounds[0], corners[i, 0] - radius)
            bounds[1] = min(bounds[1], corners[i, 1] - radius)
            bounds[2] = max(bounds[2], corners[i, 0] + radius)
            bounds[3] = max(bounds[3], corners[i, 1] + radius)
    return bounds
