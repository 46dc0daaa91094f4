"""Time surface: how long ago each pixel had its last event."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numba import njit

from etram_mmdet.events.choices import Edges
from etram_mmdet.events.columns import Events
from etram_mmdet.events.representations.base import Representation

_EVENTS_SHOWN_AT_NO_AGE = 4  # more would show every age alike


@dataclass(frozen=True)
class TimeSurface(Representation):
    """Age of the last event per polarity and pixel, as exp(-age / decay): uint8 (2, H, W).

    Values are scaled to 1..255; 0 means no event. The surface of active events of Lagorce et al.
    (HOTS, TPAMI 2017) at the window's end. It shows the direction of motion in two channels.

    Args:
        height: rows of the sensor, in pixels.
        width: columns of the sensor, in pixels.
        decay_us: decay time in microseconds. Default: a third of the time between the edges.
        downsample: see :class:`Representation`. Default: ``"none"``.
        edges: ``"window"`` (default): age counts from the window's end. ``"events"``: age counts
            from the last event, whenever that was. Versions before this default did so, and
            networks that were trained with them need it.
    """

    decay_us: int | None = None
    edges: Edges = field(default="window", kw_only=True)

    short_name: ClassVar[str] = "time_surface"
    always_stated: ClassVar[dict[str, str]] = {"edges": "events"}

    def _at_least_one(self) -> dict[str, float]:
        return {"decay_us": 1 if self.decay_us is None else self.decay_us}

    @property
    def num_channels(self) -> int:
        return 2

    def off_on(self, image: np.ndarray) -> np.ndarray:
        return image.astype(np.float32) * (_EVENTS_SHOWN_AT_NO_AGE / 255)

    def _fill(self, events: Events, t0_us: int, t1_us: int, out: np.ndarray) -> None:
        decay_us = self.decay_us or max(t1_us - t0_us, 1) / 3
        _write(*self._downsampled(events), t1_us, float(decay_us), out)


@njit(cache=True, nogil=True)
def _write(t, x, y, p, t1_us, decay_us, out):
    out[:] = 0
    for i in range(len(t)):
        value = np.rint(255 * np.exp((t[i] - t1_us) / decay_us))
        out[p[i], y[i], x[i]] = max(value, 1)  # 0 is left to pixels without an event
