"""People and vehicles of a street, and the rare guests that must pass."""

from __future__ import annotations

from math import pi

import numpy as np

from etram_mmdet.simulation.rasterizer import Camera
from etram_mmdet.simulation.street import Street
from etram_mmdet.simulation.traffic import (
    PAVEMENT_SHARE,
    STEP_S,
    Actor,
    RedLight,
    Route,
    drive,
    pick,
    walk,
)
from etram_mmdet.simulation.visibility import visible_span


def populate(
    camera: Camera,
    street: Street,
    duration_s: float,
    night: bool,
    guests: tuple[str, ...],
    rng: np.random.Generator,
) -> list[Actor]:
    """Draw the traffic of a street for one recording.

    Args:
        camera: the camera.
        street: the street.
        duration_s: length of the recording.
        night: whether it is night.
        guests: rare classes that must pass through the view, some of `sample.GUESTS`.
        rng: generator of the traffic.
    """
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
