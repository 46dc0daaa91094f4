"""A random street with all its actors as a fixed camera sees it, and their places at any time."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, sin
from typing import NamedTuple

import numpy as np

from etram_mmdet.simulation.population import populate
from etram_mmdet.simulation.rasterizer import Camera
from etram_mmdet.simulation.scenery import make_scenery
from etram_mmdet.simulation.street import LANE_M, Street, background
from etram_mmdet.simulation.traffic import STEP_S, Actor
from etram_mmdet.simulation.visibility import is_seen


class Placed(NamedTuple):
    """An actor at one time.

    Args:
        index: number of the actor in its scene.
        pose: (4,) for `rasterizer.paint`.
        travel_m: distance along its route.
        speed_m_s: speed.
        light: share of full light on the actor.
    """

    index: int
    pose: np.ndarray
    travel_m: float
    speed_m_s: float
    light: float


@dataclass
class Scene:
    """A street with actors before a camera.

    Args:
        camera: the camera.
        background: float32 (H, W) luminance of the empty street.
        actors: road users and scenery.
        night: whether it is night.
        street: places of lanes, pavements and lamps.
    """

    camera: Camera
    background: np.ndarray
    actors: list[Actor]
    night: bool
    street: Street

    def __post_init__(self) -> None:
        steps = max((len(a.travel_m) for a in self.actors), default=2)
        self._motion = np.array([(a.travel_m, a.speed_m_s) for a in self.actors]).reshape(
            -1, 2, steps
        )
        self._start = np.array([a.route.pose(0.0) for a in self.actors]).reshape(-1, 4)
        self._reach_m = np.array([a.body.front_m + 1.5 for a in self.actors])

    def far_to_near(self, time_s: float) -> list[Placed]:
        """All actors that may be in the frame, by lane and then by distance, the farthest first."""
        low = min(int(time_s / STEP_S), self._motion.shape[2] - 2)
        share = time_s / STEP_S - low
        travel, speed = (
            (1 - share) * self._motion[..., low] + share * self._motion[..., low + 1]
        ).T
        poses = self._start.copy()
        poses[:, :2] += travel[:, None] * poses[:, 2:]
        along, across = self.street.coordinates(poses[:, 0], poses[:, 1])
        order = np.argsort(-across - 1e-3 * np.hypot(poses[:, 0], poses[:, 1]), kind="stable")
        order = order[self._may_be_in_frame(poses)[order]]
        light = self.street.light(along[order], across[order], self.night)
        return [
            Placed(i, poses[i], travel[i], speed[i], shine)
            for i, shine in zip(order, light, strict=True)
        ]

    def _may_be_in_frame(self, poses: np.ndarray) -> np.ndarray:
        """Whether a circle as large as the actor reaches into the horizontal field of view."""
        camera = self.camera
        reach = self._reach_m
        depth = poses[:, 1] * cos(camera.tilt_rad) + camera.mount_m * sin(camera.tilt_rad)
        half_width = camera.width / 2 / camera.focal_px * np.maximum(depth + reach, 0.0)
        return (np.abs(poses[:, 0]) < half_width + reach) & (depth > -reach)


def build_scene(
    width: int,
    height: int,
    duration_s: float,
    night: bool,
    guests: tuple[str, ...],
    rng: np.random.Generator,
) -> Scene:
    """Draw streets and traffic until a car, a pedestrian and every guest are in view long enough.

    If 50 draws are not enough, the last one is used.

    Args:
        width: width of the image, in pixels.
        height: height of the image, in pixels.
        duration_s: length of the recording.
        night: whether it is night.
        guests: rare classes that must pass through the view, some of `sample.GUESTS`.
        rng: generator of street, traffic and background.
    """
    for _ in range(50):
        camera, street = _draw_camera_and_street(width, height, guests, rng)
        actors = populate(camera, street, duration_s, night, guests, rng)
        if all(is_seen(camera, actors, name) for name in ("car", "pedestrian", *guests)):
            break
    empty = background(camera, street, night, rng)
    return Scene(
        camera, empty, actors + make_scenery(camera, street, duration_s, rng), night, street
    )


def _draw_camera_and_street(
    width: int, height: int, guests, rng: np.random.Generator
) -> tuple[Camera, Street]:
    """A camera on a pole and the street before it.

    The vertical field of view is the same at every resolution.
    """
    near = rng.uniform(9.0, 11.5)
    mount = rng.uniform(5.0, 8.5)
    tilt = np.arctan2(mount, near + rng.uniform(6.0, 9.0))
    camera = Camera(width, height, rng.uniform(1080, 1380) * height / 720, mount, float(tilt))
    return camera, _draw_street(near, guests, rng)


def _draw_street(near: float, guests, rng: np.random.Generator) -> Street:
    """A street whose near pavement is ``near`` metres from the camera."""
    steep = rng.random() < 0.2
    angle = rng.uniform(0.6, 0.85) * rng.choice([-1, 1]) if steep else rng.uniform(-0.45, 0.45)
    first = near + 5.2
    lanes = int(rng.choice([2, 3, 4], p=[0.4, 0.4, 0.2]))
    end = first + (lanes - 1) * LANE_M + LANE_M / 2
    far = end + 1.9
    tram = (
        max(far + 4.0, rng.uniform(27.0, 31.0)) if "tram" in guests or rng.random() < 0.2 else None
    )
    wide = tram is None and rng.random() < 0.4
    far_lanes = ((far + 18.0, 1), (far + 18.0 + LANE_M, -1)) if wide else ()
    wall = far + 60 if wide else (tram or far) + rng.uniform(4.0, 9.0)
    crossing = rng.uniform(-4.0, 4.0) if rng.random() < 0.35 else None
    spots = rng.uniform(-10, 10) + np.arange(-3, 4) * 16.0
    return Street(
        angle_rad=float(angle),
        near_pavement_m=near,
        bicycle_m=near + 2.5,
        lanes=tuple((first + i * LANE_M, 1 if i < lanes / 2 else -1) for i in range(lanes)),
        far_pavement_m=far,
        tram_m=tram,
        far_lanes=far_lanes,
        wall_m=wall,
        crossing_m=crossing,
        lamps=np.array(
            [(s + 8 * side, far - 1 if side else near + 1.4) for s in spots for side in (0, 1)]
        ),
    )
