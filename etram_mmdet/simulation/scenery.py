"""Lamp posts and trees along a street."""

from __future__ import annotations

from math import pi

import numpy as np

from etram_mmdet.simulation.body import Body
from etram_mmdet.simulation.rasterizer import Camera
from etram_mmdet.simulation.street import Street
from etram_mmdet.simulation.traffic import Actor, num_steps
from etram_mmdet.simulation.visibility import visible_span


def make_scenery(
    camera: Camera, street: Street, duration_s: float, rng: np.random.Generator
) -> list[Actor]:
    """Lamp posts and trees: they hide actors behind them, and their leaves move.

    Args:
        camera: the camera.
        street: the street.
        duration_s: length of the recording.
        rng: generator of the trees.
    """
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
