"""Where the actors of a scene are in the frame of its camera."""

from __future__ import annotations

import numpy as np

from etram_mmdet.events.class_sets import ETRAM8
from etram_mmdet.simulation.rasterizer import Camera, project
from etram_mmdet.simulation.traffic import Actor, Route


def visible_span(camera: Camera, route: Route) -> tuple[float, float]:
    """First and last travel in metres at which an actor on a route is in the frame.

    Args:
        camera: the camera.
        route: the route.

    Returns:
        (0, 0) when the route is nowhere in the frame.
    """
    travel = np.arange(-90.0, 90.0, 0.5)
    inside = travel[in_frame(camera, route, travel)]
    return (float(inside[0]), float(inside[-1])) if len(inside) else (0.0, 0.0)


def in_frame(camera: Camera, route: Route, travel_m: np.ndarray) -> np.ndarray:
    """Whether the point half a metre above the route is in the frame: bool (n,).

    Args:
        camera: the camera.
        route: the route.
        travel_m: (n,) distances along the route.
    """
    points = np.stack([travel_m, np.zeros_like(travel_m), np.full_like(travel_m, 0.5)], axis=1)
    u, v, depth = project(camera.array, route.pose(0.0), points).T
    return (depth > 2) & (u > 0) & (u < camera.width) & (v > 0) & (v < camera.height)


def is_seen(camera: Camera, actors: list[Actor], name: str) -> bool:
    """Whether an actor of a class has its middle in the frame for a quarter of the recording.

    Args:
        camera: the camera.
        actors: road users and scenery.
        name: a class of ``etram8``.
    """
    return any(
        np.mean(in_frame(camera, actor.route, actor.travel_m)) >= 0.25
        for actor in actors
        if actor.class_id == ETRAM8.index(name)
    )
