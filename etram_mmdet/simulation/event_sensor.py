"""The pixels of a simulated event camera.

An event is a crossing of a contrast threshold in log intensity, or noise.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from etram_mmdet.events.recording import Events

DARK_LUMINANCE = 2.0  # added before the logarithm: a pixel's signal without light
THRESHOLD = 0.28  # mean contrast (natural logarithm) that makes an event
THRESHOLD_SPREAD = 0.04  # standard deviation of a pixel's threshold, relative to the mean
NOISE_HZ = {"day": 0.1, "night": 0.3}  # background events per pixel and second
HOT_SHARE = 2e-4  # share of hot pixels; there is at least one
HOT_HZ = (100.0, 500.0)


def log_intensity(luminance: np.ndarray) -> np.ndarray:
    """The signal of a pixel: log of luminance plus a dark floor, float32 ``(H, W)``.

    Args:
        luminance: (H, W) image.
    """
    return np.log(luminance + np.float32(DARK_LUMINANCE))


@njit(cache=True)
def _cross(before, after, level, off, on, start_us, stop_us, t, x, y, p):
    """Write the events of one step, as many as fit, and return how many there are."""
    count = 0
    height, width = before.shape
    for row in range(height):
        for column in range(width):
            old, new = before[row, column], after[row, column]
            if old == new:
                continue
            rising = new > old
            step = on[row, column] if rising else -off[row, column]
            crossing = level[row, column] + step
            while (crossing <= new) if rising else (crossing >= new):
                if count < len(t):
                    share = min(max((crossing - old) / (new - old), 0.0), 1.0)
                    t[count] = start_us + np.int64(share * (stop_us - start_us))
                    x[count] = column
                    y[count] = row
                    p[count] = rising
                    level[row, column] = crossing
                count += 1
                crossing += step
    return count


class EventSensor:
    """Turns a series of luminance images into events.

    Args:
        first: float32 (H, W) image that the sensor has adapted to.
        night: whether the noise rate is that of the night.
        rng: generator of thresholds, hot pixels and noise.
    """

    def __init__(self, first: np.ndarray, night: bool, rng: np.random.Generator) -> None:
        self._rng = rng
        self._seen = log_intensity(first)
        self._level = self._seen.astype(np.float64)
        self.off, self.on = rng.normal(THRESHOLD, THRESHOLD * THRESHOLD_SPREAD, (2, *first.shape))
        self._noise_hz = NOISE_HZ["night" if night else "day"]
        self.hot = rng.choice(first.size, max(1, round(first.size * HOT_SHARE)), replace=False)
        self._hot_hz = rng.uniform(*HOT_HZ, len(self.hot))

    def step(self, luminance: np.ndarray, start_us: int, stop_us: int) -> Events:
        """Events of the change from the last image to ``luminance``, linear in log intensity."""
        seen = log_intensity(luminance)
        room = seen.size
        level = self._level.copy()
        while True:
            columns = Events(
                np.empty(room, np.int64), *np.empty((2, room), np.uint16), np.empty(room, np.uint8)
            )
            found = _cross(self._seen, seen, level, self.off, self.on, start_us, stop_us, *columns)
            if found <= room:
                break
            room = found
            level = self._level.copy()
        self._seen = seen
        self._level = level
        return Events(*(column[:found] for column in columns))

    def noise(self, start_us: int, stop_us: int) -> Events:
        """Background activity of every pixel and the many events of hot pixels, unsorted."""
        seconds = (stop_us - start_us) * 1e-6
        size = self._seen.size
        background = self._rng.integers(0, size, self._rng.poisson(self._noise_hz * size * seconds))
        pixel = np.concatenate(
            [background, np.repeat(self.hot, self._rng.poisson(self._hot_hz * seconds))]
        )
        y, x = np.divmod(pixel, self._seen.shape[1])
        t_us = self._rng.integers(start_us, stop_us, len(pixel))
        p = self._rng.integers(0, 2, len(pixel), dtype=np.uint8)
        return Events(t_us, x.astype(np.uint16), y.astype(np.uint16), p)
