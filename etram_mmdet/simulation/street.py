"""The street before the camera: places of lanes and pavements, look of the ground, and light."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import cos, pi, sin

import cv2
import numpy as np

from etram_mmdet.simulation.rasterizer import Camera
from etram_mmdet.simulation.traffic import Route

WHITE = 200.0  # luminance of a perfect reflector in full light
LANE_M = 3.3
PAVEMENT_M = 3.0
NIGHT_AMBIENT = 0.06
SUPERSAMPLE = 3


@dataclass(frozen=True)
class Street:
    """A street whose lanes and pavements run parallel.

    ``along`` is a distance in the direction of the street, ``across`` a distance from the camera to
    a line of that direction, both on the ground and in metres. Pavements, the bicycle lane and
    lanes are given by ``across`` of their middle.

    Args:
        angle_rad: direction of the street.
        near_pavement_m: pavement on the camera's side.
        bicycle_m: bicycle lane.
        lanes: middle and direction of travel (1 or -1) of each lane.
        far_pavement_m: pavement on the other side.
        tram_m: tram track, or None.
        far_lanes: lanes of a second road, as ``lanes``.
        wall_m: wall of houses behind the street.
        crossing_m: place of the crossing along the street, or None.
        lamps: (n, 2) along and across of each street lamp.
    """

    angle_rad: float
    near_pavement_m: float
    bicycle_m: float
    lanes: tuple[tuple[float, int], ...]
    far_pavement_m: float
    tram_m: float | None
    far_lanes: tuple[tuple[float, int], ...]
    wall_m: float
    crossing_m: float | None
    lamps: np.ndarray = field(repr=False)

    def ground(self, along: float, across: float) -> tuple[float, float]:
        """World x and y of a place on the street."""
        c, s = cos(self.angle_rad), sin(self.angle_rad)
        return along * c - across * s, along * s + across * c

    def coordinates(self, x, y):
        """Along and across of a place at world x and y: the inverse of `ground`."""
        c, s = cos(self.angle_rad), sin(self.angle_rad)
        return x * c + y * s, y * c - x * s

    def route(self, across: float, direction: int, along: float = 0.0) -> Route:
        return Route(*self.ground(along, across), self.angle_rad + (0.0 if direction > 0 else pi))

    def light(self, along, across, night: bool):
        """Share of full light that reaches the ground at a place."""
        if not night:
            return np.ones_like(along, dtype=float)
        total = np.full(np.shape(along), NIGHT_AMBIENT)
        for lamp_along, lamp_across in self.lamps:
            total += 0.22 * np.exp(
                -((along - lamp_along) ** 2 + (across - lamp_across) ** 2) / (2 * 4.5**2)
            )
        return total


def background(camera: Camera, street: Street, night: bool, rng: np.random.Generator) -> np.ndarray:
    """Luminance float32 ``(H, W)`` of the empty street.

    A ray is cast through every sub-pixel onto the ground, the wall behind the street, or the sky.

    Args:
        camera: the camera.
        street: the street.
        night: whether it is night.
        rng: generator of tones and grain.
    """
    rays = camera.rays(SUPERSAMPLE)
    c, s = cos(street.angle_rad), sin(street.angle_rad)
    ray_along, ray_across = rays[..., 0] * c + rays[..., 1] * s, rays[..., 1] * c - rays[..., 0] * s
    ground = camera.mount_m / np.maximum(-rays[..., 2], 1e-6)
    along, across = ray_along * ground, ray_across * ground
    facade = street.wall_m / np.maximum(ray_across, 1e-6)
    behind = (across > street.wall_m) & (ray_across > 0)
    surface = _ground_tone(street, along, across, rng) * street.light(along, across, night)
    wall = _wall_tone(ray_along * facade, camera.mount_m + rays[..., 2] * facade, night, rng)
    image = cv2.resize(
        np.where(behind, wall, surface), (camera.width, camera.height), interpolation=cv2.INTER_AREA
    )
    grain = cv2.GaussianBlur(rng.normal(0, 1, image.shape), (0, 0), 1.2 * camera.height / 128)
    return (WHITE * image * np.exp(0.1 * grain)).astype(np.float32)


def _ground_tone(street: Street, along, across, rng: np.random.Generator) -> np.ndarray:
    """Reflectance of verges, pavements, kerbs, asphalt, markings, rails and the crossing."""
    asphalt = rng.uniform(0.16, 0.26)
    verge = rng.uniform(0.15, 0.3)
    slab = rng.uniform(0.34, 0.5)
    edges = street.lanes[0][0] - LANE_M / 2, street.lanes[-1][0] + LANE_M / 2
    tone = np.full(along.shape, verge)
    tone[np.abs(across - street.near_pavement_m) < PAVEMENT_M / 2 + 0.2] = slab
    tone[np.abs(across - street.far_pavement_m) < PAVEMENT_M / 2 + 0.3] = slab
    tone[np.abs(across - street.bicycle_m) < 0.9] = asphalt * 1.25
    tone[(across > edges[0]) & (across < edges[1])] = asphalt
    for edge in edges:
        tone[np.abs(across - edge) < 0.12] = 0.6
    for (left, way), (right, next_way) in zip(street.lanes[:-1], street.lanes[1:], strict=True):
        line = np.abs(across - (left + right) / 2) < 0.08
        tone[line & ((along % 6 < 3) | (way != next_way))] = 0.75
    for lane, _ in street.far_lanes:
        tone[np.abs(across - lane) < LANE_M / 2] = asphalt
    if street.crossing_m is not None:
        stripe = (np.abs(along - street.crossing_m) < 1.6) & (across % 1.0 < 0.5)
        tone[stripe & (across > edges[0] + 0.3) & (across < edges[1] - 0.3)] = 0.75
    if street.tram_m is not None:
        tone[np.abs(across - street.tram_m) < 1.6] = 0.3
        tone[np.abs(np.abs(across - street.tram_m) - 0.72) < 0.07] = 0.08
    return tone


def _wall_tone(along, height, night: bool, rng: np.random.Generator) -> np.ndarray:
    """Facades of different tone and height under the sky, with windows, some lit at night."""
    house = np.clip(((along + 200) / 11).astype(int), 0, 39)
    tone = rng.uniform(0.25, 0.6, 40)[house]
    top = rng.uniform(7, 16, 40)[house]
    column = ((along + 200) / 2.6).astype(int) % 256
    row = np.clip(height / 3.1, 0, 9).astype(int)
    window = ((along % 2.6) < 1.2) & ((height % 3.1) > 1.0) & ((height % 3.1) < 2.5)
    light = NIGHT_AMBIENT * 0.8 if night else 0.9
    lit = rng.random((256, 10))[column, row] < 0.3
    panes = np.where(lit, 0.5, 0.01) if night else 0.1
    facade = np.where(window, panes, tone * light)
    return np.where(height < top, facade, 0.012 if night else 1.1)
