"""Shapes of cars, buses, trucks and trams: extruded profiles, windows, doors, wheels and lamps."""

from __future__ import annotations

from itertools import pairwise
from math import pi

import numpy as np

from etram_mmdet.simulation.body import Body
from etram_mmdet.simulation.parts import (
    beam,
    box_xz,
    circle,
    disc_wheel,
    ground_shadow,
    halo,
    on_side,
)

GLASS = 0.07


def _extrude(body: Body, profile_xz, order, tones, half_m: float) -> None:
    """Add the faces between the profile's corners in the given order, then both sides.

    The corners are counter-clockwise in x, z. ``tones[i]`` is the reflectance of the face from
    corner i to the next; the last tone is that of the sides. The order matters when a profile is
    not convex: a bonnet comes before the windscreen that may hide it.
    """
    for i in order:
        x0, z0 = profile_xz[i]
        x1, z1 = profile_xz[(i + 1) % len(profile_xz)]
        body.add(
            [(x0, -half_m, z0), (x0, half_m, z0), (x1, half_m, z1), (x1, -half_m, z1)], tones[i]
        )
    for y in (-half_m, half_m):
        body.add(on_side(profile_xz, y), tones[-1])


def _both_sides(
    body: Body, outline_xz, reflectance: float, half_m: float, glow: float = 0.0
) -> None:
    for y in (-half_m - 0.005, half_m + 0.005):
        body.add(on_side(outline_xz, y), reflectance, glow=glow)


def _face(x: float, y: float, z: float, radius: float, facing: int) -> list:
    """A round lamp on the front (``facing`` 1) or the back (-1)."""
    angles = np.arange(8) * (2 * pi / 8 * facing)
    return [(x, y + radius * np.cos(a), z + radius * np.sin(a)) for a in angles]


def _wheels(body: Body, axles_m, radius: float, half_m: float, rim: float) -> None:
    for x in axles_m:
        for y in (-half_m - 0.01, half_m + 0.01):
            disc_wheel(body, x, y, radius, rim)


def _lamps_behind(body: Body, half_m: float, z: float, night: bool) -> None:
    """Add lamps and halos that show past the body's edge.

    The body is painted later and hides them from behind.
    """
    if night:
        for y in (-0.75 * half_m, 0.75 * half_m):
            body.add([(body.front_m + 0.02, y, z)], 0.0, 0.1, glow=900.0)
            halo(body, (body.front_m + 0.05, y, z), 0.45, night)
            body.add([(body.rear_m - 0.02, y, z + 0.1)], 0.0, 0.06, glow=150.0)


def _lamps_on_faces(body: Body, half_m: float, z: float, night: bool) -> None:
    for y in (-0.75 * half_m, 0.75 * half_m):
        body.add(_face(body.front_m + 0.01, y, z, 0.12, 1), 0.75, glow=900.0 * night)
        body.add(_face(body.rear_m - 0.01, y, z + 0.1, 0.1, -1), 0.2, glow=200.0 * night)


def _hull(length_m: float, half_m: float, lamp_m: float, night: bool) -> Body:
    """An empty vehicle with the parts below and ahead of its body: shadow, beams and lamps."""
    body = Body(-length_m / 2, length_m / 2)
    ground_shadow(body, body.rear_m, body.front_m, half_m + 0.1, night)
    beam(body, body.front_m, half_m * 0.8, night)
    _lamps_behind(body, half_m, lamp_m, night)
    return body


def car(rng: np.random.Generator, night: bool) -> Body:
    """A saloon, hatchback or van: 3.7-4.9 m long, 1.42-1.95 m high.

    Args:
        rng: generator of kind, size and paint.
        night: whether the lamps are on.
    """
    kind = rng.choice(["saloon", "hatchback", "van"], p=[0.4, 0.4, 0.2])
    length = {"saloon": 4.6, "hatchback": 4.0, "van": 4.8}[kind] * rng.uniform(0.95, 1.05)
    top = {"saloon": 1.43, "hatchback": 1.5, "van": 1.9}[kind] * rng.uniform(0.97, 1.04)
    tone = rng.choice(
        [0.05, 0.1, 0.16, 0.4, 0.55, 0.7, 0.85], p=[0.2, 0.12, 0.1, 0.13, 0.15, 0.15, 0.15]
    )
    half = 0.88
    rear = -length / 2
    front = length / 2
    belt = 0.62 * top
    bonnet = front - {"saloon": 1.15, "hatchback": 0.95, "van": 0.8}[kind]
    boot = rear + {"saloon": 0.75, "hatchback": 0.12, "van": 0.08}[kind]
    slope = {"saloon": 0.55, "hatchback": 0.4, "van": 0.12}[kind]
    roof_front = bonnet - 0.65
    roof_rear = boot + slope
    profile = [
        (rear + 0.1, 0.25), (front - 0.1, 0.25), (front, 0.6), (front - 0.1, belt - 0.12),
        (bonnet, belt + 0.03), (roof_front, top), (roof_rear, top), (boot, belt + 0.05),
        (rear, belt),
    ]  # fmt: skip
    body = _hull(length, half, 0.62, night)
    tones = [
        0.02,
        0.6 * tone,
        0.8 * tone,
        tone,
        GLASS,
        1.2 * tone,
        GLASS,
        1.1 * tone,
        0.85 * tone,
        tone,
    ]
    _extrude(body, profile, (1, 2, 8, 3, 7, 4, 6, 5), tones, half)
    pillar = (roof_front + roof_rear) / 2
    glass_front = [(pillar + 0.05, belt), (bonnet - 0.12, belt), (roof_front - 0.08, top - 0.09),
                   (pillar + 0.05, top - 0.09)]  # fmt: skip
    glass_rear = [(boot + 0.3, belt), (pillar - 0.05, belt), (pillar - 0.05, top - 0.09),
                  (roof_rear + 0.1, top - 0.09)]  # fmt: skip
    _both_sides(body, glass_front, GLASS, half)
    _both_sides(body, glass_rear, GLASS, half)
    _both_sides(body, box_xz(pillar - 0.02, 0.35, pillar + 0.02, belt), 0.7 * tone, half)
    _wheels(body, (rear + 0.8, front - 0.85), 0.32, half, rng.uniform(0.3, 0.6))
    _lamps_on_faces(body, half, 0.65, night)
    return body.freeze()


def _windows(
    body: Body, starts_m, width_m: float, z0: float, z1: float, half_m: float, night: bool
) -> None:
    """Add single panes, lit from inside at night.

    The pillars between them draw edges along the vehicle.
    """
    for x in starts_m:
        _both_sides(body, box_xz(x, z0, x + width_m, z1), GLASS, half_m, glow=45.0 * night)


def bus(rng: np.random.Generator, night: bool) -> Body:
    """A bus: a box of 10.5-12.2 m with a row of windows, doors on the right and a destination sign.

    Args:
        rng: generator of size and paint.
        night: whether the lamps are on.
    """
    length = rng.uniform(10.5, 12.2)
    half = 1.27
    top = rng.uniform(3.0, 3.15)
    tone = rng.choice([0.25, 0.5, 0.75])
    stripe = rng.choice([0.08, 0.9])
    body = _hull(length, half, 0.75, night)
    rear, front = body.rear_m, body.front_m
    profile = [(rear, 0.35), (front, 0.35), (front, 1.2), (front - 0.15, top), (rear, top)]
    _extrude(
        body, profile, (1, 2, 3, 4), [0.02, 0.8 * tone, GLASS, 1.15 * tone, 0.8 * tone, tone], half
    )
    starts = np.arange(rear + 0.5, front - 1.6, 1.5)
    _windows(body, starts, 1.35, 1.3, 2.5, half, night)
    _both_sides(body, box_xz(rear + 0.1, 0.75, front - 0.1, 0.95), stripe, half)
    _both_sides(body, box_xz(rear + 0.4, 2.62, front - 0.6, 2.7), 0.6 * tone, half)
    for x in (front - 1.5, 0.3, rear + 2.0):
        body.add(on_side(box_xz(x, 0.45, x + 1.1, 2.5), -half - 0.01), 0.1, glow=45.0 * night)
        body.add(on_side(box_xz(x + 0.5, 0.45, x + 0.6, 2.5), -half - 0.012), tone)
    _wheels(body, (rear + 2.8, front - 2.6), 0.5, half, 0.3)
    _lamps_on_faces(body, half, 0.75, night)
    return body.freeze()


def truck(rng: np.random.Generator, night: bool) -> Body:
    """A truck: a lower cab, a gap and a higher cargo box, 7-9.5 m long.

    Args:
        rng: generator of size and paint.
        night: whether the lamps are on.
    """
    length = rng.uniform(7.0, 9.5)
    half = 1.25
    top = rng.uniform(3.2, 3.7)
    cab = rng.choice([0.1, 0.3, 0.55, 0.8])
    box = rng.choice([0.12, 0.45, 0.7, 0.9])
    body = _hull(length, half, 0.8, night)
    rear, front = body.rear_m, body.front_m
    cab_rear = front - 1.9
    box_front = front - 2.15
    cab_top = rng.uniform(2.4, 2.75)
    # Seen from behind, the cargo box hides the cab's roof. Seen from the front, the cab hides the
    # cargo box.
    profile_cab = [
        (cab_rear, 0.45),
        (front, 0.45),
        (front, 1.45),
        (front - 0.25, cab_top),
        (cab_rear, cab_top),
    ]
    profile_box = [(rear, 1.0), (box_front, 1.0), (box_front, top), (rear, top)]
    _extrude(body, profile_cab, (3, 4), [0, 0, 0, 1.15 * cab, 0.6 * cab, cab], half)
    _extrude(body, profile_box, (1, 2, 3), [0, 0.8 * box, 1.15 * box, 0.75 * box, box], half)
    _both_sides(body, box_xz(rear + 0.1, 0.6, box_front, 1.0), 0.06, half)
    _extrude(body, profile_cab, (1, 2), [0, 0.9 * cab, GLASS, 0, 0, cab], half)
    _both_sides(body, [(cab_rear + 0.45, 1.5), (front - 0.1, 1.5), (front - 0.3, cab_top - 0.2),
                       (cab_rear + 0.45, cab_top - 0.2)], GLASS, half)  # fmt: skip
    for x in np.linspace(rear, box_front, 5)[1:-1]:
        _both_sides(body, box_xz(x - 0.04, 1.05, x + 0.04, top - 0.05), 0.75 * box, half)
    if rng.random() < 0.6:
        _both_sides(body, box_xz(rear + 1.2, 1.9, rear + 3.6, 2.6), 0.15 + 0.6 * (box < 0.4), half)
    _wheels(body, (rear + 1.3, rear + 2.4, front - 1.2), 0.5, half, 0.25)
    _lamps_on_faces(body, half, 0.8, night)
    return body.freeze()


def tram(rng: np.random.Generator, night: bool) -> Body:
    """A tram: three sections with dark bellows between, slanted noses, hidden wheels, 22-27 m long.

    Args:
        rng: generator of size and paint.
        night: whether the lamps are on.
    """
    length = rng.uniform(22.0, 27.0)
    half = 1.25
    top = 3.35
    tone = rng.choice([0.3, 0.65, 0.8])
    skirt = rng.choice([0.1, 0.45, 0.9])
    body = _hull(length, half, 0.9, night)
    rear, front = body.rear_m, body.front_m
    profile = [
        (rear, 0.3),
        (front, 0.3),
        (front - 0.1, 1.1),
        (front - 0.9, top),
        (rear + 0.9, top),
        (rear + 0.1, 1.1),
    ]
    tones = [0.02, 0.8 * skirt, GLASS, 1.1 * tone, GLASS, 0.8 * skirt, tone]
    _extrude(body, profile, (1, 2, 3, 4, 5), tones, half)
    _both_sides(body, box_xz(rear + 0.1, 0.3, front - 0.1, 1.0), skirt, half)
    joints = np.linspace(rear, front, 4)
    for left, right in pairwise(joints):
        starts = np.arange(left + 1.1, right - 2.0, 1.75)
        _windows(body, starts, 1.55, 1.35, 2.55, half, night)
        door = (left + right) / 2 - 0.7
        _both_sides(body, box_xz(door, 0.4, door + 1.4, 2.6), 0.12, half + 0.005, glow=55.0 * night)
        _both_sides(body, box_xz(door + 0.65, 0.4, door + 0.75, 2.6), tone, half + 0.01)
    for x in joints[1:-1]:
        _both_sides(body, box_xz(x - 0.35, 0.3, x + 0.35, top), 0.05, half + 0.015)
    _both_sides(body, box_xz(rear + 3, top, rear + 6, top + 0.3), 0.2, half - 0.4)
    body.add(
        [(0.5, 0.0, top), (-0.6, 0.0, top + 0.8), (-0.6, 0.0, top + 0.8), (0.1, 0.0, top + 1.5)],
        0.1,
        0.04,
    )
    for x in (rear + 2.2, 0.0, front - 2.2):
        for y in (-half - 0.02, half + 0.02):
            body.add(circle(x, y, 0.3, 0.28, 1 if y > 0 else -1), 0.03)
    _lamps_on_faces(body, half, 0.9, night)
    return body.freeze()
