"""Shapes of people and cycles, built of parts that turn, swing and pedal.

Coordinates are in metres: x forward, y left, z up, ground at 0. Heights and radii are in metres,
angles in radians.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import cos, hypot, pi, sin

import numpy as np

Animation = Callable[[float, float, float], list]


@dataclass
class Body:
    """A road user as a list of parts for `rasterizer.paint`.

    Args:
        rear_m: rear end along x.
        front_m: front end along x.
        rigid: points of the rigid parts.
        hubs: turning parts: first rigid point, last, hub x, hub z, radius.
        counts: number of points of each part.
        radius_m: radius of each part.
        reflectance: share of the light on the body that each part reflects.
        opacity: opacity of each part; below 1 for parts that do not belong to the body:
            shadows, beams, halos.
        glow: light of its own of each part (night only), in luminance units.
        animate: ``animate(travel_m, speed_m_s, time_s)``, which gives the points that follow
            the rigid ones. Default: none.
        solid: 1 for the parts that belong to the body, else 0; `freeze` sets it.
    """

    rear_m: float
    front_m: float
    rigid: list = field(default_factory=list)
    hubs: list = field(default_factory=list)  # (first rigid point, last, hub x, hub z, radius)
    counts: list = field(default_factory=list)
    radius_m: list = field(default_factory=list)
    reflectance: list = field(default_factory=list)
    opacity: list = field(default_factory=list)
    glow: list = field(default_factory=list)
    animate: Animation | None = None
    solid: np.ndarray | None = None  # 1 for the parts that belong to the body, else 0

    def part(
        self,
        count: int,
        radius_m: float,
        reflectance: float,
        opacity: float = 1.0,
        glow: float = 0.0,
    ) -> None:
        """Announce a part of ``count`` points that `animate` will give; rigid parts use `add`."""
        self.counts.append(count)
        self.radius_m.append(radius_m)
        self.reflectance.append(reflectance)
        self.opacity.append(opacity)
        self.glow.append(glow)

    def add(
        self,
        points_m,
        reflectance: float,
        radius_m: float = 0.0,
        opacity: float = 1.0,
        glow: float = 0.0,
    ) -> None:
        """Add a rigid part."""
        self.rigid.extend(points_m)
        self.part(len(points_m), radius_m, reflectance, opacity, glow)

    def freeze(self) -> Body:
        """Turn the lists into the arrays that compiled code needs."""
        self.rigid = np.array(self.rigid, float).reshape(-1, 3)
        self.counts = np.array(self.counts, np.int64)
        for name in ("radius_m", "reflectance", "opacity", "glow"):
            setattr(self, name, np.array(getattr(self, name), float))
        self.solid = (self.opacity == 1).astype(float)
        return self

    def points_m(self, travel_m: float, speed_m_s: float, time_s: float) -> np.ndarray:
        """All points ``(n, 3)`` after ``travel_m`` metres: wheels turned, limbs swung."""
        rigid = self.rigid.copy()
        for first, last, x, z, radius in self.hubs:
            angle = travel_m / radius
            dx, dz = self.rigid[first:last, 0] - x, self.rigid[first:last, 2] - z
            rigid[first:last, 0] = x + dx * cos(angle) + dz * sin(angle)
            rigid[first:last, 2] = z - dx * sin(angle) + dz * cos(angle)
        if self.animate is None:
            return rigid
        return np.concatenate([rigid, np.array(self.animate(travel_m, speed_m_s, time_s))])


def circle(x: float, y: float, z: float, radius: float, side: int, points: int = 14) -> list:
    """Points of a wheel's rim, counter-clockwise as seen from one side.

    Args:
        x: centre, forward.
        y: centre, left.
        z: centre, up.
        radius: radius of the circle, in metres.
        side: side from which the circle is counter-clockwise: -1 right, +1 left.
        points: number of points. Default: 14.
    """
    angles = np.arange(points) * (-2 * pi / points * side)
    return [(x + radius * cos(a), y, z + radius * sin(a)) for a in angles]


def on_side(outline_xz, y: float) -> list:
    """Put an outline on the right or left side of a vehicle, facing outwards.

    Args:
        outline_xz: points (x, z), counter-clockwise.
        y: distance to the left in metres; negative for the right side.
    """
    points = [(x, y, z) for x, z in outline_xz]
    return points if y < 0 else points[::-1]


def box_xz(x0: float, z0: float, x1: float, z1: float) -> list:
    """Corners (x, z) of a rectangle, counter-clockwise.

    Args:
        x0: rear end, in metres.
        z0: lower end, in metres.
        x1: front end, in metres.
        z1: upper end, in metres.
    """
    return [(x0, z0), (x1, z0), (x1, z1), (x0, z1)]


def spoked_wheel(body: Body, x: float, y: float, radius: float, spokes: int, tyre_m: float) -> None:
    """Add a see-through wheel on the ground: an outline and turning spokes.

    Args:
        body: road user that gets the wheel.
        x: hub, forward, in metres.
        y: hub, left, in metres.
        radius: radius of the wheel, in metres.
        spokes: number of rods through the hub.
        tyre_m: thickness of the tyre.
    """
    body.add(circle(x, y, radius, radius - tyre_m, -1, 16), 0.04, tyre_m)
    first = len(body.rigid)
    for angle in np.arange(spokes) * pi / spokes:
        dx, dz = 0.9 * radius * cos(angle), 0.9 * radius * sin(angle)
        body.add([(x - dx, y, radius - dz), (x + dx, y, radius + dz)], 0.5, 0.006)
    body.hubs.append((first, len(body.rigid), x, radius, radius))


def disc_wheel(body: Body, x: float, y: float, radius: float, rim: float) -> None:
    """Add a vehicle's wheel on the ground: tyre, rim and turning dark gaps between the spokes.

    Args:
        body: vehicle that gets the wheel.
        x: hub, forward, in metres.
        y: hub, left, in metres; its sign says on which side the wheel is.
        radius: radius of the wheel, in metres.
        rim: reflectance of the rim.
    """
    side = 1 if y > 0 else -1
    body.add(circle(x, y, radius, radius, side), 0.03)
    body.add(circle(x, y, radius, 0.66 * radius, side), rim)
    first = len(body.rigid)
    for k in range(4):
        a, b = sorted((side * -(k * pi / 2 + 0.35), side * -(k * pi / 2 - 0.35)), reverse=side > 0)
        corners = [(0.18, (a + b) / 2), (0.58, a), (0.58, b)]
        body.add(
            [(x + r * radius * cos(w), y, radius + r * radius * sin(w)) for r, w in corners], 0.05
        )
    body.hubs.append((first, len(body.rigid), x, radius, radius))


def leg(hip, thigh_rad: float, knee_rad: float, bone_m: float) -> list:
    """Points of two rods, thigh and shin; the knee bends backwards.

    Args:
        hip: (x, y, z) of the upper end, in metres.
        thigh_rad: angle of the thigh from straight down; positive is forward.
        knee_rad: angle by which the shin bends backwards from the thigh.
        bone_m: length of each rod.
    """
    knee = (hip[0] + bone_m * sin(thigh_rad), hip[1], hip[2] - bone_m * cos(thigh_rad))
    shin = thigh_rad - knee_rad
    return [hip, knee, knee, (knee[0] + bone_m * sin(shin), hip[1], knee[2] - bone_m * cos(shin))]


def reach(start, end, bone_m: float, forward: float = 1.0) -> list:
    """Points of two rods of equal length that connect two points with a bent joint.

    Args:
        start: (x, y, z) of one end, in metres.
        end: (x, y, z) of the other end.
        bone_m: length of each rod.
        forward: 1 bends the joint forwards (knees), -1 backwards (elbows). Default: 1.
    """
    dx, dz = end[0] - start[0], end[2] - start[2]
    distance = max(hypot(dx, dz), 1e-6)
    bend = forward * max(bone_m**2 - distance**2 / 4, 0.0) ** 0.5 / distance
    joint = (
        (start[0] + end[0]) / 2 - bend * dz,
        (start[1] + end[1]) / 2,
        (start[2] + end[2]) / 2 + bend * dx,
    )
    return [start, joint, joint, end]


def _clothes(rng: np.random.Generator) -> tuple[float, float, float]:
    """Reflectance of jacket, trousers and skin or hair.

    People wear dark or light, seldom the road's own grey.
    """
    jacket, trousers = rng.choice(
        [0.05, 0.09, 0.14, 0.45, 0.65, 0.8], 2, p=[0.2, 0.2, 0.15, 0.15, 0.15, 0.15]
    )
    return float(jacket), float(trousers) * 0.8, float(rng.choice([0.08, 0.3, 0.45]))


def pedestrian(rng: np.random.Generator, night: bool) -> Body:
    """A pedestrian with swinging arms and legs, one gait cycle per 0.8 body heights.

    A standing pedestrian holds arms and legs down.

    Args:
        rng: generator of size, clothes and gait.
        night: whether the ground shadow is left out.
    """
    tall = rng.normal(1.72, 0.09) if rng.random() > 0.12 else rng.uniform(1.1, 1.4)
    size = tall / 1.75
    start = rng.uniform(0, 2 * pi)
    jacket, trousers, head = _clothes(rng)
    body = Body(-0.3 * size, 0.3 * size)
    ground_shadow(body, -0.25, 0.25, 0.2, night)
    for _ in range(2):
        body.part(2, 0.075 * size, trousers)
        body.part(2, 0.06 * size, trousers)
    body.part(2, 0.17 * size, jacket)
    for _ in range(2):
        body.part(2, 0.05 * size, jacket * 0.85)
        body.part(2, 0.042 * size, jacket * 0.85)
    body.part(1, 0.115 * size, head)
    bag = rng.random() < 0.35
    if bag:
        body.part(1, 0.15 * size, 0.12 + 0.5 * (jacket < 0.2))

    def animate(travel_m: float, speed_m_s: float, _time_s: float) -> list:
        phase = start + travel_m * 2 * pi / (0.8 * tall)
        swing = min(1.0, speed_m_s / 0.7)
        legs = []
        arms = []
        for side in (-1, 1):
            lift = swing * (0.12 + 0.75 * max(0.0, cos(phase)))
            legs += leg((0.0, 0.09 * side, 0.0), 0.43 * swing * sin(phase), lift, 0.43)
            arms += leg(
                (0.0, 0.2 * side, 0.55), -0.5 * swing * sin(phase), -0.1 - 0.35 * swing, 0.29
            )
            phase += pi
        top = [(0.0, 0.0, 0.13), (0.03, 0.0, 0.46), *arms, (0.05, 0.0, 0.78)]
        points = legs + top + ([(-0.2, 0.0, 0.4)] if bag else [])
        # The lower foot stays on the ground, so the body bobs.
        ground = min(z for _, _, z in legs) - 0.05
        return [(x * size, y * size, (z - ground) * size) for x, y, z in points]

    body.animate = animate
    return body.freeze()


def bicycle(rng: np.random.Generator, night: bool) -> Body:
    """A bicycle: two spoked wheels, a frame and a leaning rider whose feet follow the cranks.

    Args:
        rng: generator of clothes, frame and cranks.
        night: whether the lamp is on.
    """
    jacket, trousers, head = _clothes(rng)
    frame = rng.choice([0.1, 0.6])
    start = rng.uniform(0, 2 * pi)
    body = Body(-0.9, 0.9)
    ground_shadow(body, -0.8, 0.8, 0.12, night)
    spoked_wheel(body, -0.53, 0.0, 0.35, 4, 0.025)
    spoked_wheel(body, 0.53, 0.0, 0.35, 4, 0.025)
    crank = (-0.05, 0.0, 0.32)
    seat = (-0.2, 0.0, 0.85)
    bar = (0.4, 0.0, 0.98)
    for a, b in (
        (crank, seat),
        (seat, bar),
        (crank, bar),
        (crank, (-0.53, 0.0, 0.35)),
        (bar, (0.53, 0.0, 0.35)),
    ):
        body.add([a, b], frame, 0.025)
    body.add([(0.5, 0.0, 0.8)], 0.5, 0.05, glow=350.0 * night)
    halo(body, (0.5, 0.0, 0.8), 0.25, night)
    for _ in range(2):
        body.part(2, 0.075, trousers)
        body.part(2, 0.06, trousers)
    body.part(2, 0.155, jacket)
    body.part(2, 0.05, jacket * 0.85)
    body.part(2, 0.045, jacket * 0.85)
    body.part(1, 0.125, head)

    def animate(travel_m: float, _speed_m_s: float, _time_s: float) -> list:
        angle = start + travel_m * 2 * pi / 4.2
        points = []
        for side in (-1, 1):
            foot = (crank[0] + 0.17 * sin(angle), 0.1 * side, crank[2] + 0.17 * cos(angle))
            points += reach((seat[0], 0.1 * side, seat[2] + 0.08), foot, 0.44)
            angle += pi
        points += [(-0.14, 0.0, 0.98), (0.1, 0.0, 1.36)]
        return points + reach((0.12, 0.0, 1.38), bar, 0.32, -1.0) + [(0.2, 0.0, 1.65)]

    body.animate = animate
    return body.freeze()


def motorbike(rng: np.random.Generator, night: bool) -> Body:
    """A motorbike: thick wheels close under a solid tank and seat, and a rider who sits still.

    Args:
        rng: generator of clothes and paint.
        night: whether the lamps are on.
    """
    jacket, trousers, _ = _clothes(rng)
    paint_ = rng.choice([0.06, 0.12, 0.5, 0.7])
    helmet = rng.choice([0.1, 0.75])
    body = Body(-1.1, 1.1)
    ground_shadow(body, -1.0, 1.0, 0.25, night)
    beam(body, 1.1, 0.2, night)
    for x in (-0.7, 0.7):
        spoked_wheel(body, x, 0.0, 0.32, 3, 0.07)
    for a, b, radius, tone in (
        ((-0.7, 0.0, 0.32), (0.0, 0.0, 0.45), 0.09, 0.3),
        ((-0.15, 0.0, 0.42), (0.22, 0.0, 0.45), 0.2, 0.25),
        ((-0.95, 0.0, 0.85), (-0.2, 0.0, 0.76), 0.1, paint_),
        ((-0.05, 0.0, 0.82), (0.35, 0.0, 0.86), 0.17, paint_),
        ((0.7, 0.0, 0.32), (0.45, 0.0, 1.0), 0.05, 0.4),
        ((-0.3, 0.12, 0.9), (0.12, 0.18, 0.72), 0.1, trousers),
        ((0.12, 0.18, 0.72), (-0.12, 0.16, 0.35), 0.08, trousers),
        ((-0.28, 0.0, 0.98), (-0.02, 0.0, 1.35), 0.19, jacket),
        ((0.02, 0.0, 1.38), (0.12, 0.22, 1.1), 0.065, jacket),
        ((0.12, 0.22, 1.1), (0.46, 0.2, 1.08), 0.055, jacket),
    ):
        body.add([a, b], tone, radius)
    body.add([(0.1, 0.0, 1.62)], helmet, 0.155)
    body.add([(0.62, 0.0, 0.95)], 0.7, 0.1, glow=900.0 * night)
    body.add([(-1.0, 0.0, 0.85)], 0.3, 0.05, glow=150.0 * night)
    halo(body, (0.65, 0.0, 0.95), 0.4, night)
    return body.freeze()


def wheelchair(rng: np.random.Generator, night: bool) -> Body:
    """A seated person between two large wheels, pushing with both arms or driven by a motor.

    Args:
        rng: generator of clothes, motor and arms.
        night: whether the ground shadow is left out.
    """
    jacket, trousers, head = _clothes(rng)
    powered = rng.random() < 0.3
    start = rng.uniform(0, 2 * pi)
    body = Body(-0.5, 0.6)
    ground_shadow(body, -0.45, 0.5, 0.3, night)
    for y in (0.3, -0.3):
        spoked_wheel(body, -0.08, y, 0.31, 6, 0.028)
        body.add(circle(0.38, y * 0.8, 0.09, 0.06, -1, 8), 0.05, 0.03)
    body.add([(-0.22, 0.0, 0.5), (-0.3, 0.0, 0.98)], 0.08, 0.05)
    body.add([(-0.3, 0.0, 0.98), (-0.45, 0.0, 0.96)], 0.08, 0.03)
    body.add([(-0.2, 0.0, 0.45), (0.28, 0.0, 0.45)], 0.1, 0.06)
    if powered:
        body.add([(-0.25, 0.0, 0.3), (0.15, 0.0, 0.3)], 0.15, 0.13)
    for y in (0.11, -0.11):
        body.add([(-0.12, y, 0.55), (0.34, y, 0.57)], trousers, 0.085)
        body.add([(0.34, y, 0.57), (0.46, y, 0.14)], trousers, 0.065)
    body.add([(0.4, 0.0, 0.1), (0.58, 0.0, 0.13)], 0.1, 0.05)
    body.add([(-0.14, 0.0, 0.62), (-0.16, 0.0, 0.98)], jacket, 0.175)
    body.add([(-0.1, 0.0, 1.28)], head, 0.12)
    for _ in range(2):
        body.part(2, 0.055, jacket * 0.8)
        body.part(2, 0.045, jacket * 0.8)

    def animate(travel_m: float, _speed_m_s: float, _time_s: float) -> list:
        push = 0.0 if powered else 0.22 * sin(start + travel_m * 2 * pi / 1.1)
        points = []
        for y in (0.25, -0.25):
            points += reach((-0.14, y, 1.05), (0.02 + push, y, 0.66 - abs(push) * 0.3), 0.28, -1.0)
        return points

    body.animate = animate
    return body.freeze()


def ground_shadow(body: Body, rear_m: float, front_m: float, half_m: float, night: bool) -> None:
    """Add a soft dark patch on the ground, a little to the body's right and behind it, by day only.

    Args:
        body: road user that gets the shadow.
        rear_m: rear end of the road user's footprint.
        front_m: front end of the footprint.
        half_m: half width of the footprint.
        night: whether it is night, without a shadow.
    """
    if not night:
        rear = rear_m - 0.3
        front = front_m - 0.1
        right = -half_m - 0.35
        left = half_m - 0.1
        body.add(
            [(rear, right, 0), (front, right, 0), (front, left, 0), (rear, left, 0)],
            0.02,
            opacity=0.4,
        )


def beam(body: Body, front_m: float, half_m: float, night: bool) -> None:
    """Add the light of headlights on the road ahead, at night only.

    The light has many layers, each too faint to make an event of its own.

    Args:
        body: vehicle that gets the beam.
        front_m: front end of the vehicle.
        half_m: half width of the beam at the vehicle.
        night: whether it is night.
    """
    for length in np.linspace(7.0, 1.0, 10) if night else ():
        near = half_m
        far = half_m + 0.12 * length
        start = front_m + 0.3
        ground = [(start, -near), (start + length, -far), (start + length, far), (start, near)]
        body.add([(x, y, 0.0) for x, y in ground], 0.0, opacity=0.03, glow=60.0)


def halo(body: Body, point_m, radius_m: float, night: bool) -> None:
    """Add stray light round a lamp, fading outwards, at night only.

    Args:
        body: road user that gets the halo.
        point_m: (x, y, z) of the lamp.
        radius_m: radius of the halo.
        night: whether it is night.
    """
    for share in np.linspace(1.0, 0.3, 8) if night else ():
        body.add([point_m], 0.0, radius_m * share, opacity=0.05, glow=300.0)
