"""A random street with all its actors as a fixed camera sees it, and their places at any time."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin
from typing import NamedTuple

import numpy as np

from etram_mmdet.events.class_sets import ETRAM8
from etram_mmdet.simulation.body import Body
from etram_mmdet.simulation.rasterizer import Camera, project
from etram_mmdet.simulation.street import LANE_M, Street, background
from etram_mmdet.simulation.traffic import (
    PAVEMENT_SHARE,
    STEP_S,
    Actor,
    RedLight,
    Route,
    drive,
    num_steps,
    pick,
    walk,
)


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
        camera, street = _draw_street(width, height, guests, rng)
        actors = _populate(camera, street, duration_s, night, guests, rng)
        if all(_seen(camera, actors, name) for name in ("car", "pedestrian", *guests)):
            break
    empty = background(camera, street, night, rng)
    return Scene(camera, empty, actors + _scenery(camera, street, duration_s, rng), night, street)


def _draw_street(
    width: int, height: int, guests, rng: np.random.Generator
) -> tuple[Camera, Street]:
    """A camera on a pole and the street before it.

    The vertical field of view is the same at every resolution.
    """
    near = rng.uniform(9.0, 11.5)
    mount = rng.uniform(5.0, 8.5)
    tilt = np.arctan2(mount, near + rng.uniform(6.0, 9.0))
    camera = Camera(width, height, rng.uniform(1080, 1380) * height / 720, mount, float(tilt))
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
    street = Street(
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
    return camera, street


def visible_span(camera: Camera, route: Route) -> tuple[float, float]:
    """First and last travel in metres at which an actor on a route is in the frame.

    Args:
        camera: the camera.
        route: the route.

    Returns:
        (0, 0) when the route is nowhere in the frame.
    """
    travel = np.arange(-90.0, 90.0, 0.5)
    inside = travel[_in_frame(camera, route, travel)]
    return (float(inside[0]), float(inside[-1])) if len(inside) else (0.0, 0.0)


def _in_frame(camera: Camera, route: Route, travel_m: np.ndarray) -> np.ndarray:
    """Whether the point half a metre above the route is in the frame after that travel."""
    points = np.stack([travel_m, np.zeros_like(travel_m), np.full_like(travel_m, 0.5)], axis=1)
    u, v, depth = project(camera.array, route.pose(0.0), points).T
    return (depth > 2) & (u > 0) & (u < camera.width) & (v > 0) & (v < camera.height)


def _seen(camera: Camera, actors: list[Actor], name: str) -> bool:
    """Whether an actor of a class has its middle in the frame for a quarter of the recording."""
    return any(
        np.mean(_in_frame(camera, actor.route, actor.travel_m)) >= 0.25
        for actor in actors
        if actor.class_id == ETRAM8.index(name)
    )


def _populate(
    camera: Camera, street: Street, duration_s: float, night: bool, guests, rng
) -> list[Actor]:
    red_s = rng.uniform(-4.0, 0.5 * duration_s)
    red_s = (red_s, red_s + rng.uniform(3.0, 6.0))
    lane_guests = [g for g in guests if g in ("bus", "truck", "motorbike")]
    hosts = rng.integers(0, len(street.lanes), len(lane_guests))
    actors = []
    for i, (across, direction) in enumerate(street.lanes + street.far_lanes):
        route = street.route(across, direction)
        red = None
        if street.crossing_m is not None and i < len(street.lanes):
            red = RedLight(direction * street.crossing_m - 2.8, *red_s)
        mine = [g for g, host in zip(lane_guests, hosts, strict=True) if host == i]
        actors += drive(route, visible_span(camera, route), mine, red, duration_s, night, rng)
    for across in (street.near_pavement_m, street.far_pavement_m):
        actors += _walkers(camera, street, across, duration_s, night, rng)
    if street.crossing_m is not None:
        actors += _crossers(street, red_s, duration_s, night, rng)
    return actors + _slow_guests(camera, street, duration_s, night, guests, rng)


def _walkers(
    camera, street: Street, across: float, duration_s: float, night: bool, rng
) -> list[Actor]:
    """People all along a pavement and beyond its visible part, some of them side by side."""
    low, high = visible_span(camera, street.route(across, 1))
    actors = []
    for _ in range(rng.poisson((high - low + 12) * rng.uniform(0.03, 0.1))):
        along = rng.uniform(low - 6, high + 6)
        direction = int(rng.choice([-1, 1]))
        name = pick(PAVEMENT_SHARE, rng)
        lateral = street.bicycle_m if name == "bicycle" else across + rng.uniform(-1.2, 1.2)
        actors.append(walk(name, street.route(lateral, direction, along), duration_s, night, rng))
        if name == "pedestrian" and rng.random() < 0.25:
            friend = walk(
                name,
                street.route(lateral + 0.6, direction, along + 0.2),
                duration_s,
                night,
                rng,
                0.0,
            )
            friend.travel_m = actors[-1].travel_m
            friend.speed_m_s = actors[-1].speed_m_s
            actors.append(friend)
    return actors


def _crossers(street: Street, red_s, duration_s: float, night: bool, rng) -> list[Actor]:
    """People on the crossing while the vehicles have a red light."""
    near, far = street.lanes[0][0] - 2.2, street.lanes[-1][0] + 2.2
    actors = []
    for _ in range(rng.integers(0, 4)):
        away = bool(rng.random() < 0.5)
        x, y = street.ground(street.crossing_m + rng.uniform(-1.2, 1.2), near if away else far)
        route = Route(x, y, street.angle_rad + (pi / 2 if away else -pi / 2))
        actor = walk("pedestrian", route, duration_s, night, rng, 0.0)
        # Waits at the kerb until the light has been red for a moment.
        waited_s = np.arange(len(actor.travel_m)) * STEP_S - red_s[0] - rng.uniform(0.5, 1.5)
        pace = actor.speed_m_s[0]
        actor.travel_m = np.clip(waited_s, 0.0, None) * pace
        actor.speed_m_s = np.where(waited_s > 0, pace, 0.0)
        actors.append(actor)
    return actors


def _slow_guests(
    camera, street: Street, duration_s: float, night: bool, guests, rng
) -> list[Actor]:
    """Guests that drive in no lane of vehicles.

    Each passes the middle of the view half-way through the recording.
    """
    places = {
        "bicycle": street.bicycle_m,
        "wheelchair": street.near_pavement_m,
        "tram": street.tram_m,
    }
    actors = []
    for name in guests:
        if name not in places:
            continue
        direction = int(rng.choice([-1, 1]))
        across = places[name]
        if name == "wheelchair":
            across = across + rng.uniform(-1.2, 1.2)
        actor = walk(name, street.route(across, direction), duration_s, night, rng, 0.05)
        low, high = visible_span(camera, street.route(across, direction))
        # A wheelchair needs longer than a recording to cross the view: it enters or leaves
        # half-way.
        share = rng.choice([0.05, 0.95]) if name == "wheelchair" else rng.uniform(0.35, 0.65)
        offset = low + share * (high - low) - actor.travel_m[len(actor.travel_m) // 2]
        actor.travel_m = actor.travel_m + offset
        actors.append(actor)
    return actors


def _scenery(
    camera: Camera, street: Street, duration_s: float, rng: np.random.Generator
) -> list[Actor]:
    """Lamp posts and trees: they hide actors behind them, and their leaves move."""
    still = np.zeros((2, num_steps(duration_s)))
    actors = [Actor(_lamp_post(), street.route(a, 1, s), *still) for s, a in street.lamps]
    for _ in range(rng.integers(0, 4)):
        low, high = visible_span(camera, street.route(street.far_pavement_m + 2.5, 1))
        route = street.route(
            street.far_pavement_m + rng.uniform(2.0, 3.0), 1, rng.uniform(low, high)
        )
        actors.append(Actor(_tree(rng), route, *still))
    return actors


def _lamp_post() -> Body:
    body = Body(-0.1, 0.1)
    body.add([(0, 0, 0), (0, 0, 7.0)], 0.3, 0.07)
    return body.freeze()


def _tree(rng: np.random.Generator) -> Body:
    """A trunk and a crown of leaves that swing by a few centimetres, each at its own pace."""
    body = Body(-1.5, 1.5)
    body.add([(0, 0, 0), (0, 0, 3.2)], 0.1, 0.14)
    middles = rng.normal((0, 0, 4.2), (0.9, 0.9, 0.8), (30, 3))
    pace = rng.uniform(2.0, 6.0, 30)
    phase = rng.uniform(0, 2 * pi, 30)
    for _ in middles:
        body.part(1, rng.uniform(0.25, 0.5), rng.uniform(0.08, 0.2))
    sway = np.array([0.06, 0.03, 0.015])
    body.animate = lambda _travel_m, _speed_m_s, time_s: (
        middles + np.sin(time_s * pace + phase)[:, None] * sway
    )
    return body.freeze()
