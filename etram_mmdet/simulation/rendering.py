"""Films a scene with a simulated event camera: luminance, events, and boxes of visible actors."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numba import njit

from etram_mmdet.events.labels import BBOX_DTYPE
from etram_mmdet.events.recording import Events
from etram_mmdet.simulation.event_sensor import EventSensor
from etram_mmdet.simulation.rasterizer import paint, solid_bounds
from etram_mmdet.simulation.scene import Scene
from etram_mmdet.simulation.street import WHITE

PIECE_S = 0.05
FIRST_LABEL_US = 100_000
LABEL_HZ = 30
MIN_VISIBLE = 0.35  # share of an actor that is neither hidden nor outside the frame
# Image height times render step: fast edges move by about a pixel per step.
RENDER_STEP_ROWS_S = 0.64
BOX_DTYPE = np.dtype(BBOX_DTYPE.descr, align=True)  # as Prophesee's files: padded to 40 bytes


def film(scene: Scene, duration_s: float, rng: np.random.Generator) -> Iterator[Events]:
    """Events of a scene in time order, in pieces of about 50 ms.

    Args:
        scene: street with actors.
        duration_s: length of the film.
        rng: generator of the sensor's thresholds and noise.
    """
    step_s = RENDER_STEP_ROWS_S / scene.camera.height
    steps = int(np.ceil(duration_s / step_s))
    per_piece = max(1, round(PIECE_S / step_s))
    stamps_us = np.minimum(np.round(np.arange(steps + 1) * step_s * 1e6), duration_s * 1e6).astype(
        np.int64
    )
    canvas = render(scene, 0.0)
    sensor = EventSensor(canvas, scene.night, rng)
    for first in range(0, steps, per_piece):
        stamps = stamps_us[first : first + per_piece + 1]
        pieces = [sensor.noise(stamps[0], stamps[-1])]
        for start_us, stop_us in pairwise(stamps):
            pieces.append(sensor.step(render(scene, stop_us * 1e-6, canvas), start_us, stop_us))
        events = concatenate(pieces)
        order = np.argsort(events.t, kind="stable")
        yield Events(*(column[order] for column in events))


def concatenate(pieces: list[Events]) -> Events:
    """All events of several pieces, in the order of the pieces.

    Args:
        pieces: one or more.
    """
    return Events(*(np.concatenate(column) for column in zip(*pieces, strict=True)))


def render(scene: Scene, time_s: float, canvas: np.ndarray | None = None) -> np.ndarray:
    """Luminance float32 ``(H, W)``: the background with all actors painted over it, far ones first.

    Args:
        scene: street with actors.
        time_s: time since the start.
        canvas: float32 (H, W) image that is painted over. Default: a new one.
    """
    canvas = np.empty_like(scene.background) if canvas is None else canvas
    canvas[:] = scene.background
    camera = scene.camera.array
    for index, pose, travel_m, speed_m_s, light in scene.far_to_near(time_s):
        body = scene.actors[index].body
        points_m = body.points_m(travel_m, speed_m_s, time_s)
        luminance = WHITE * body.reflectance * light + body.glow
        paint(canvas, camera, pose, points_m, body.counts, body.radius_m, luminance, body.opacity)
    return canvas


def label(scene: Scene, duration_s: float) -> np.ndarray:
    """Boxes (n,) of all visible actors, at 30 Hz after the first 100 ms.

    They are rows of `BOX_DTYPE`, in full-resolution pixels.

    Args:
        scene: street with actors.
        duration_s: length of the film.
    """
    stamps = np.round(np.arange(int(duration_s * LABEL_HZ) + 1) * 1e6 / LABEL_HZ).astype(np.int64)
    rows = [
        row
        for t_us in stamps
        if FIRST_LABEL_US < t_us <= duration_s * 1e6
        for row in label_at(scene, int(t_us))
    ]
    boxes = np.zeros(len(rows), BOX_DTYPE)
    for name, column in zip(BOX_DTYPE.names, zip(*rows, strict=True), strict=bool(rows)):
        boxes[name] = column  # field by field, since whole rows would copy random padding bytes
    return boxes


def label_at(scene: Scene, t_us: int) -> list[tuple]:
    """Boxes of all visible actors at one time, as rows of `BOX_DTYPE`.

    Actors are visited from near to far, so that nearer ones cut the silhouettes of those behind.

    Args:
        scene: street with actors.
        t_us: time since the start, in microseconds.
    """
    hidden = np.zeros(scene.background.shape, bool)
    silhouette = np.empty(hidden.shape, np.float32)
    rows = []
    for index, pose, travel_m, speed_m_s, _ in reversed(scene.far_to_near(t_us * 1e-6)):
        actor = scene.actors[index]
        body = scene.actors[index].body
        points_m = body.points_m(travel_m, speed_m_s, t_us * 1e-6)
        shape = scene.camera.array, pose, points_m, body.counts, body.radius_m
        silhouette[:] = 0
        paint(silhouette, *shape, np.ones(len(body.counts)), body.solid)
        box = _visible_box(silhouette, hidden, solid_bounds(*shape, body.solid))
        if box is not None and actor.class_id is not None:
            rows.append((t_us, *box, actor.class_id, index, 1.0))
    return rows


def _visible_box(silhouette: np.ndarray, hidden: np.ndarray, bounds: np.ndarray) -> tuple | None:
    """x, y, w, h of the visible part of an actor; None if it is too little or too small.

    ``bounds`` may reach outside the frame. The silhouette is added to ``hidden``.
    """
    height, width = silhouette.shape
    shown, total, *pixels = _cut(silhouette, hidden)
    if shown == 0:
        return None
    left, top = max(bounds[0], pixels[0]), max(bounds[1], pixels[1])
    right = min(bounds[2], pixels[2])
    bottom = min(bounds[3], pixels[3])
    framed = np.clip(bounds, 0, (width, height, width, height))
    inside = (
        (framed[2] - framed[0])
        * (framed[3] - framed[1])
        / ((bounds[2] - bounds[0]) * (bounds[3] - bounds[1]))
    )
    if inside * shown / total < MIN_VISIBLE or min(right - left, bottom - top) < max(
        3.0, 10 * height / 720
    ):
        return None
    return left, top, right - left, bottom - top


@njit(cache=True)
def _cut(silhouette, hidden):
    """Number of the silhouette's visible pixels, number of all its pixels, and the visible bounds.

    The bounds are left, top, right, bottom. The silhouette is added to ``hidden``.
    """
    height, width = silhouette.shape
    shown = 0
    total = 0
    left = width
    top = height
    right = 0
    bottom = 0
    for row in range(height):
        for column in range(width):
            if silhouette[row, column] <= 0.1:
                continue
            total += 1
            if not hidden[row, column]:
                shown += 1
                left, top = min(left, column), min(top, row)
                right = max(right, column + 1)
                bottom = max(bottom, row + 1)
            hidden[row, column] |= silhouette[row, column] > 0.5
    return shown, total, left, top, right, bottom
