"""Motion of all actors: lanes of vehicles that keep their distance and stop, walkers, cyclists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, sin

import numpy as np

from etram_mmdet.events.class_sets import ETRAM8
from etram_mmdet.simulation import people as road_users
from etram_mmdet.simulation import vehicles
from etram_mmdet.simulation.body import Body

STEP_S = 0.02  # time step of the trajectories
WARM_UP_S = 6.0  # traffic runs this long before a recording, so that queues have formed
SHAPES: dict[str, Callable[[np.random.Generator, bool], Body]] = {
    "pedestrian": road_users.pedestrian,
    "car": vehicles.car,
    "bicycle": road_users.bicycle,
    "bus": vehicles.bus,
    "motorbike": road_users.motorbike,
    "truck": vehicles.truck,
    "tram": vehicles.tram,
    "wheelchair": road_users.wheelchair,
}
SPEED_M_S = {
    "pedestrian": (1.0, 1.8),
    "car": (7.0, 12.0),
    "bicycle": (3.0, 6.0),
    "bus": (6.0, 9.5),
    "motorbike": (7.0, 12.0),
    "truck": (6.0, 10.0),
    "tram": (8.0, 12.0),
    "wheelchair": (0.8, 1.6),
}
# Ordinary traffic; the rare guests of a recording come on top (see `sample.Job.guests`).
LANE_SHARE = {"car": 0.93, "truck": 0.035, "bus": 0.015, "motorbike": 0.02}
PAVEMENT_SHARE = {"pedestrian": 0.98, "bicycle": 0.017, "wheelchair": 0.003}


@dataclass(frozen=True)
class Route:
    """A straight line on the ground.

    Args:
        x_m: x of its start, at travel 0.
        y_m: y of its start.
        heading_rad: direction of travel.
    """

    x_m: float
    y_m: float
    heading_rad: float

    def pose(self, travel_m: float) -> np.ndarray:
        """Pose for `rasterizer.paint`: x, y, cosine and sine of the heading."""
        c, s = cos(self.heading_rad), sin(self.heading_rad)
        return np.array([self.x_m + travel_m * c, self.y_m + travel_m * s, c, s])


@dataclass(eq=False)
class Actor:
    """A body on a route, with its travel and speed every `STEP_S` from the recording's start.

    Args:
        body: shape of the actor.
        route: line on which it moves.
        travel_m: (steps,) distance along the route.
        speed_m_s: (steps,) speed.
        class_id: class of the road user. Default: None, for scenery.
    """

    body: Body
    route: Route
    travel_m: np.ndarray
    speed_m_s: np.ndarray
    class_id: int | None = None


@dataclass(frozen=True)
class RedLight:
    """A red light before which vehicles halt.

    Args:
        line_m: travel of the line before which they halt.
        start_s: time at which the light turns red.
        stop_s: time at which it turns green.
    """

    line_m: float
    start_s: float
    stop_s: float


def num_steps(duration_s: float) -> int:
    """Number of steps of a trajectory, one every `STEP_S`, with one behind the end.

    Args:
        duration_s: length of the recording.
    """
    return int(duration_s / STEP_S) + 2


def make_actor(
    name: str, route: Route, travel_m, speed_m_s, night: bool, rng: np.random.Generator
) -> Actor:
    """Put a random road user of a class on a route.

    Args:
        name: class, a key of `SHAPES`.
        route: line on which it moves.
        travel_m: (steps,) distance along the route.
        speed_m_s: (steps,) speed.
        night: whether it is night.
        rng: generator of the shape.
    """
    return Actor(SHAPES[name](rng, night), route, travel_m, speed_m_s, ETRAM8.index(name))


def pick(shares: dict[str, float], rng: np.random.Generator) -> str:
    """Draw a name.

    Args:
        shares: probability of each name; they sum to 1.
        rng: generator of the draw.
    """
    return str(rng.choice(list(shares), p=list(shares.values())))


def walk(
    name: str,
    route: Route,
    duration_s: float,
    night: bool,
    rng: np.random.Generator,
    stop_share=0.1,
) -> Actor:
    """A road user at constant speed, perhaps with a pause of some seconds.

    Travel 0 is the route's start.

    Args:
        name: class, a key of `SHAPES`.
        route: line on which it moves.
        duration_s: length of the recording.
        night: whether it is night.
        rng: generator of shape, speed and pause.
        stop_share: probability of a pause. Default: 0.1.
    """
    steps = num_steps(duration_s)
    speed = np.full(steps, rng.uniform(*SPEED_M_S[name]))
    if rng.random() < stop_share:
        pause_s = rng.uniform(0.1 * duration_s, 0.8 * duration_s)
        time_s = np.arange(steps) * STEP_S
        # Walkers take about half a second to stop and to set off again.
        speed *= np.clip(np.abs(time_s - pause_s - 1.2) - 1.2, 0.0, 0.5) / 0.5
    travel = np.concatenate([[0.0], np.cumsum(speed[:-1]) * STEP_S])
    return make_actor(name, route, travel, speed, night, rng)


def drive(
    route: Route,
    span_m: tuple[float, float],
    guests: list[str],
    red: RedLight | None,
    duration_s: float,
    night: bool,
    rng: np.random.Generator,
) -> list[Actor]:
    """One lane of vehicles; each guest is in the middle of the view about mid-recording.

    Args:
        route: middle of the lane.
        span_m: first and last travel at which a vehicle is visible.
        guests: classes of vehicles that must pass.
        red: red light on the lane, or None.
        duration_s: length of the recording.
        night: whether it is night.
        rng: generator of vehicles and distances.
    """
    names, bodies, travel_m, speed_m_s = _queue_up(span_m, guests, duration_s, night, rng)
    travel, speed = _follow(np.array(travel_m), np.array(speed_m_s), bodies, red, duration_s)
    actors = [
        Actor(body, route, travel[:, i], speed[:, i], ETRAM8.index(name))
        for i, (name, body) in enumerate(zip(names, bodies, strict=True))
    ]
    return [a for a in actors if a.travel_m[-1] + 15 > span_m[0] and a.travel_m[0] - 15 < span_m[1]]


def _queue_up(span_m, guests: list[str], duration_s: float, night: bool, rng: np.random.Generator):
    """Vehicles from the front of the lane to the back, in their places `WARM_UP_S` early.

    Early means before the recording starts.
    """
    pace = rng.uniform(*SPEED_M_S["car"])
    centre = (span_m[0] + span_m[1]) / 2
    waiting = list(guests)
    guest_due = -rng.uniform(0.3, 0.5) * duration_s * pace + centre
    at = span_m[1] + 10.0
    names = []
    bodies = []
    travel_m = []
    speed_m_s = []
    while at > span_m[0] - pace * duration_s - 10:
        name = waiting.pop(0) if waiting and at <= guest_due else pick(LANE_SHARE, rng)
        body = SHAPES[name](rng, night)
        names.append(name)
        bodies.append(body)
        travel_m.append(at - body.front_m - pace * WARM_UP_S)
        speed_m_s.append(min(pace * rng.uniform(0.92, 1.1), SPEED_M_S[name][1]))
        at -= body.front_m - body.rear_m + 3.0 + pace * (0.5 + rng.exponential(0.5))
    return names, bodies, travel_m, speed_m_s


def _follow(at, desired, bodies: list[Body], red: RedLight | None, duration_s: float):
    """Travel and speed ``(steps, vehicles)`` by the intelligent-driver model; the first leads."""
    warm_up = round(WARM_UP_S / STEP_S)
    steps = num_steps(duration_s)
    rear, front = (np.array([getattr(b, side) for b in bodies]) for side in ("rear_m", "front_m"))
    speed = desired.copy()
    travel = np.empty((steps, len(at)))
    speeds = np.empty((steps, len(at)))
    for step in range(-warm_up, steps):
        if step >= 0:
            travel[step] = at
            speeds[step] = speed
        gap = np.concatenate([[1e3], (at + rear)[:-1] - (at + front)[1:]])
        closing = np.concatenate([[0.0], speed[1:] - speed[:-1]])
        if red is not None and red.start_s <= step * STEP_S < red.stop_s:
            ahead = red.line_m - (at + front)
            # Only the first vehicle that can still stop with 4 m/s2 sees the light. Those behind
            # see the vehicle before them.
            able = np.flatnonzero(ahead > speed**2 / 8)
            if len(able) and ahead[able[0]] < gap[able[0]]:
                gap[able[0]] = ahead[able[0]] + 1.5
                closing[able[0]] = speed[able[0]]
        wanted = 2.0 + np.maximum(0.0, speed * 0.8 + speed * closing / (2 * np.sqrt(1.8 * 3.0)))
        push = 1.8 * (1 - (speed / desired) ** 4 - (wanted / np.maximum(gap, 0.3)) ** 2)
        speed = np.maximum(0.0, speed + STEP_S * np.maximum(push, -8.0))
        at = at + STEP_S * speed
    return travel, speeds
