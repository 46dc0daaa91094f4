"""A road user as a list of parts: rigid ones, turning wheels and animated limbs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import cos, sin

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
    hubs: list = field(default_factory=list)
    counts: list = field(default_factory=list)
    radius_m: list = field(default_factory=list)
    reflectance: list = field(default_factory=list)
    opacity: list = field(default_factory=list)
    glow: list = field(default_factory=list)
    animate: Animation | None = None
    solid: np.ndarray | None = None

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
