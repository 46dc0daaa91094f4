"""Parts of road users: outlines, wheels, limbs, shadows and light.

Coordinates are in metres: x forward, y left, z up, ground at 0. Heights and radii are in metres,
angles in radians.
"""

from __future__ import annotations

from math import cos, hypot, pi, sin

import numpy as np

from etram_mmdet.simulation.body import Body


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
