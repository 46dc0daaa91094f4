"""Shapes of people and cycles, built of parts that turn, swing and pedal.

Coordinates are in metres: x forward, y left, z up, ground at 0. Heights and radii are in metres,
angles in radians.
"""

from __future__ import annotations

from functools import partial
from math import cos, pi, sin

import numpy as np

from etram_mmdet.simulation.body import Body
from etram_mmdet.simulation.parts import beam, circle, ground_shadow, halo, leg, reach, spoked_wheel


def _clothes(rng: np.random.Generator) -> tuple[float, float, float]:
    """Reflectance of jacket, trousers and skin or hair.

    People wear dark or light, seldom the road's own grey.
    """
    jacket, trousers = rng.choice(
        [0.05, 0.09, 0.14, 0.45, 0.65, 0.8], 2, p=[0.2, 0.2, 0.15, 0.15, 0.15, 0.15]
    )
    return float(jacket), float(trousers) * 0.8, float(rng.choice([0.08, 0.3, 0.45]))


def _limbs(body: Body, upper_m: float, lower_m: float, reflectance: float) -> None:
    """Announce two arms or legs, each with its two rods of these radii."""
    for _ in range(2):
        body.part(2, upper_m, reflectance)
        body.part(2, lower_m, reflectance)


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
    _limbs(body, 0.075 * size, 0.06 * size, trousers)
    body.part(2, 0.17 * size, jacket)
    _limbs(body, 0.05 * size, 0.042 * size, jacket * 0.85)
    body.part(1, 0.115 * size, head)
    has_bag = rng.random() < 0.35
    if has_bag:
        body.part(1, 0.15 * size, 0.12 + 0.5 * (jacket < 0.2))
    body.animate = partial(_walking, start_rad=start, tall_m=tall, has_bag=has_bag)
    return body.freeze()


def _walking(
    travel_m: float,
    speed_m_s: float,
    _time_s: float,
    start_rad: float,
    tall_m: float,
    has_bag: bool,
) -> list:
    """Points of legs, body, arms, head and bag of a pedestrian."""
    phase = start_rad + travel_m * 2 * pi / (0.8 * tall_m)
    swing = min(1.0, speed_m_s / 0.7)
    legs = []
    arms = []
    for side in (-1, 1):
        lift = swing * (0.12 + 0.75 * max(0.0, cos(phase)))
        legs += leg((0.0, 0.09 * side, 0.0), 0.43 * swing * sin(phase), lift, 0.43)
        arms += leg((0.0, 0.2 * side, 0.55), -0.5 * swing * sin(phase), -0.1 - 0.35 * swing, 0.29)
        phase += pi
    top = [(0.0, 0.0, 0.13), (0.03, 0.0, 0.46), *arms, (0.05, 0.0, 0.78)]
    points = legs + top + ([(-0.2, 0.0, 0.4)] if has_bag else [])
    # The lower foot stays on the ground, so the body bobs.
    ground = min(z for _, _, z in legs) - 0.05
    size = tall_m / 1.75
    return [(x * size, y * size, (z - ground) * size) for x, y, z in points]


_CRANK = (-0.05, 0.0, 0.32)
_SEAT = (-0.2, 0.0, 0.85)
_BAR = (0.4, 0.0, 0.98)
_BICYCLE_FRAME = (
    (_CRANK, _SEAT),
    (_SEAT, _BAR),
    (_CRANK, _BAR),
    (_CRANK, (-0.53, 0.0, 0.35)),
    (_BAR, (0.53, 0.0, 0.35)),
)


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
    for ends in _BICYCLE_FRAME:
        body.add(ends, frame, 0.025)
    body.add([(0.5, 0.0, 0.8)], 0.5, 0.05, glow=350.0 * night)
    halo(body, (0.5, 0.0, 0.8), 0.25, night)
    _limbs(body, 0.075, 0.06, trousers)
    body.part(2, 0.155, jacket)
    body.part(2, 0.05, jacket * 0.85)
    body.part(2, 0.045, jacket * 0.85)
    body.part(1, 0.125, head)
    body.animate = partial(_pedalling, start_rad=start)
    return body.freeze()


def _pedalling(travel_m: float, _speed_m_s: float, _time_s: float, start_rad: float) -> list:
    """Points of legs, body, the arms as one, and head of a cyclist."""
    angle = start_rad + travel_m * 2 * pi / 4.2
    points = []
    for side in (-1, 1):
        foot = (_CRANK[0] + 0.17 * sin(angle), 0.1 * side, _CRANK[2] + 0.17 * cos(angle))
        points += reach((_SEAT[0], 0.1 * side, _SEAT[2] + 0.08), foot, 0.44)
        angle += pi
    points += [(-0.14, 0.0, 0.98), (0.1, 0.0, 1.36)]
    return points + reach((0.12, 0.0, 1.38), _BAR, 0.32, -1.0) + [(0.2, 0.0, 1.65)]


# Rods of a motorbike and its rider: ends, radius, and reflectance or what has it.
_MOTORBIKE = (
    ((-0.7, 0.0, 0.32), (0.0, 0.0, 0.45), 0.09, 0.3),
    ((-0.15, 0.0, 0.42), (0.22, 0.0, 0.45), 0.2, 0.25),
    ((-0.95, 0.0, 0.85), (-0.2, 0.0, 0.76), 0.1, "paint"),
    ((-0.05, 0.0, 0.82), (0.35, 0.0, 0.86), 0.17, "paint"),
    ((0.7, 0.0, 0.32), (0.45, 0.0, 1.0), 0.05, 0.4),
    ((-0.3, 0.12, 0.9), (0.12, 0.18, 0.72), 0.1, "trousers"),
    ((0.12, 0.18, 0.72), (-0.12, 0.16, 0.35), 0.08, "trousers"),
    ((-0.28, 0.0, 0.98), (-0.02, 0.0, 1.35), 0.19, "jacket"),
    ((0.02, 0.0, 1.38), (0.12, 0.22, 1.1), 0.065, "jacket"),
    ((0.12, 0.22, 1.1), (0.46, 0.2, 1.08), 0.055, "jacket"),
)


def motorbike(rng: np.random.Generator, night: bool) -> Body:
    """A motorbike: thick wheels close under a solid tank and seat, and a rider who sits still.

    Args:
        rng: generator of clothes and paint.
        night: whether the lamps are on.
    """
    jacket, trousers, _ = _clothes(rng)
    tones = dict(jacket=jacket, trousers=trousers, paint=rng.choice([0.06, 0.12, 0.5, 0.7]))
    helmet = rng.choice([0.1, 0.75])
    body = Body(-1.1, 1.1)
    ground_shadow(body, -1.0, 1.0, 0.25, night)
    beam(body, 1.1, 0.2, night)
    for x in (-0.7, 0.7):
        spoked_wheel(body, x, 0.0, 0.32, 3, 0.07)
    for start, end, radius, tone in _MOTORBIKE:
        body.add([start, end], tones.get(tone, tone), radius)
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
    _add_chair(body, powered)
    for y in (0.11, -0.11):
        body.add([(-0.12, y, 0.55), (0.34, y, 0.57)], trousers, 0.085)
        body.add([(0.34, y, 0.57), (0.46, y, 0.14)], trousers, 0.065)
    body.add([(0.4, 0.0, 0.1), (0.58, 0.0, 0.13)], 0.1, 0.05)
    body.add([(-0.14, 0.0, 0.62), (-0.16, 0.0, 0.98)], jacket, 0.175)
    body.add([(-0.1, 0.0, 1.28)], head, 0.12)
    _limbs(body, 0.055, 0.045, jacket * 0.8)
    body.animate = partial(_pushing, start_rad=start, powered=powered)
    return body.freeze()


def _add_chair(body: Body, powered: bool) -> None:
    for y in (0.3, -0.3):
        spoked_wheel(body, -0.08, y, 0.31, 6, 0.028)
        body.add(circle(0.38, y * 0.8, 0.09, 0.06, -1, 8), 0.05, 0.03)
    body.add([(-0.22, 0.0, 0.5), (-0.3, 0.0, 0.98)], 0.08, 0.05)
    body.add([(-0.3, 0.0, 0.98), (-0.45, 0.0, 0.96)], 0.08, 0.03)
    body.add([(-0.2, 0.0, 0.45), (0.28, 0.0, 0.45)], 0.1, 0.06)
    if powered:
        body.add([(-0.25, 0.0, 0.3), (0.15, 0.0, 0.3)], 0.15, 0.13)


def _pushing(
    travel_m: float, _speed_m_s: float, _time_s: float, start_rad: float, powered: bool
) -> list:
    """Points of both arms of a person in a wheelchair."""
    push = 0.0 if powered else 0.22 * sin(start_rad + travel_m * 2 * pi / 1.1)
    points = []
    for y in (0.25, -0.25):
        points += reach((-0.14, y, 1.05), (0.02 + push, y, 0.66 - abs(push) * 0.3), 0.28, -1.0)
    return points
