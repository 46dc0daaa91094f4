"""Raw maps of a head and boxes for them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tests.reference.formula import integers, steps

HW = (128, 192)
# By stride, the logarithm of size / stride for predictions of about 32 px and of about 6 px.
LARGE = {8: 1.375, 16: 0.6875, 32: 0.0}
SMALL = {4: 0.5, 8: -0.25, 16: -0.9375}


@dataclass(frozen=True)
class SimOTACase:
    """``boxes`` of each frame: how many, and of which kind.

    ``salt`` makes other numbers. It was chosen so that no answer is decided by rounding:
    make_reference.py refuses one with which two costs or an IoU sum lie too close to each other.
    """

    name: str
    num_classes: int
    log_sizes: dict[int, float]
    boxes: tuple[tuple[int, str], ...]
    salt: int = 0

    @property
    def strides(self) -> tuple[int, ...]:
        return tuple(self.log_sizes)

    def raw(self) -> list[np.ndarray]:
        """Of every level (B, 5 + classes, H, W): x, y, log w, log h, objectness, classes."""
        return [self._level(stride, log_size) for stride, log_size in self.log_sizes.items()]

    def _level(self, stride: int, log_size: float) -> np.ndarray:
        shape = (len(self.boxes), 5 + self.num_classes, HW[0] // stride, HW[1] // stride)
        maps = steps(f"{self.name} {self.salt} stride {stride}", shape, 1.0)
        maps[:, :2] += np.float32(0.5)
        maps[:, 2:4] = maps[:, 2:4] * np.float32(0.5) + np.float32(log_size)
        maps[:, 4:] = 2 * maps[:, 4:] - 1
        return maps

    def labels_cxcywh(self) -> np.ndarray:
        """Boxes (B, N, 5): class, centre and size, padded with zeros.

        Centres and sizes are multiples of a quarter.
        """
        labels = np.zeros((len(self.boxes), max(count for count, _ in self.boxes), 5), np.float32)
        for frame, (count, kind) in enumerate(self.boxes):
            name = f"{self.name} {self.salt} boxes {frame}"
            labels[frame, :count, 0] = integers(f"{name} class", count, 0, self.num_classes)
            labels[frame, :count, 1:] = _PLACES[kind](name, count) / 4
        return labels


def _between(name: str, count: int, low: list[int], high: list[int]) -> np.ndarray:
    columns = zip(range(4), low, high, strict=True)
    return np.stack([integers(f"{name} {k}", count, *ends) for k, *ends in columns], 1)


def _anywhere(name: str, count: int) -> np.ndarray:
    return _between(name, count, [20, 20, 60, 60], [4 * HW[1] - 20, 4 * HW[0] - 20, 220, 220])


def _crowd(name: str, count: int) -> np.ndarray:
    """Every box overlaps many others."""
    return _between(name, count, [280, 200, 80, 80], [480, 340, 180, 180])


def _borders(name: str, count: int) -> np.ndarray:
    """Centres within 3 px of the left or right border, boxes cut off there."""
    places = _between(name, count, [4, 4, 8, 40], [12, 4 * HW[0] - 4, 24, 200])
    places[1::2, 0] = 4 * HW[1] - places[1::2, 0]
    return places


def _tiny(name: str, count: int) -> np.ndarray:
    """Sides of 2 to 10 px."""
    return _between(name, count, [20, 20, 8, 8], [4 * HW[1] - 20, 4 * HW[0] - 20, 40, 40])


_PLACES = {"anywhere": _anywhere, "crowd": _crowd, "borders": _borders, "tiny": _tiny}

SIMOTA_CASES = (
    SimOTACase("mixed", 3, LARGE, ((9, "anywhere"), (0, "anywhere"), (6, "borders")), salt=1),
    SimOTACase("crowd", 8, LARGE, ((16, "crowd"), (4, "anywhere"), (10, "crowd"))),
    SimOTACase("tiny", 3, SMALL, ((9, "tiny"), (6, "anywhere"), (1, "tiny"))),
    SimOTACase("nothing", 3, LARGE, ((0, "anywhere"), (0, "anywhere"))),
)
