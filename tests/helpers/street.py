"""Things that move before a sensor of 64x48 pixels, and their boxes: right by construction."""

from __future__ import annotations

import numpy as np

from tests.helpers.raw import HEIGHT, WIDTH, make_boxes

_BOX_WH = 12, 8
_STEP_US = 1000  # all times are whole milliseconds, so that other units hold them exactly


def make_street(
    seconds: float = 3.0,
    objects: int = 2,
    moving: int | None = None,
    noise: float = 0.3,
    seed: int = 0,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Events and boxes (30 Hz) of ``objects`` rectangles; the first ``moving`` of them move.

    Default of ``moving``: all. Only what moves makes events; ``noise`` is the share of the events
    that lie anywhere. One rectangle makes 5,000 events a second.
    """
    rng = np.random.default_rng(seed)
    moving = objects if moving is None else moving
    starts = rng.uniform(0, 2, (objects, 2))
    speeds = np.where(np.arange(objects) < moving, rng.uniform(0.4, 0.8, objects), 0.0)[:, None] * [
        1,
        0.7,
    ]

    def corners(which: np.ndarray, t_us: np.ndarray) -> np.ndarray:
        """Top left of each rectangle, which runs to and fro between the borders."""
        place = 1 - np.abs((starts[which] + speeds[which] * t_us[:, None] / 1e6) % 2 - 1)
        return np.rint(place * (WIDTH - _BOX_WH[0] - 1, HEIGHT - _BOX_WH[1] - 1))

    num = int(5000 * seconds * max(moving, 1) / (1 - noise))
    t = np.sort(rng.integers(0, int(seconds * 1e6), num)) // _STEP_US * _STEP_US
    xy = rng.integers(0, (WIDTH, HEIGHT), (num, 2))
    is_signal = (rng.random(num) >= noise) & (moving > 0)
    of = rng.integers(0, max(moving, 1), num)
    xy[is_signal] = corners(of[is_signal], t[is_signal]) + rng.integers(
        0, _BOX_WH, (is_signal.sum(), 2)
    )
    events = dict(
        t=t,
        x=xy[:, 0].astype(np.uint16),
        y=xy[:, 1].astype(np.uint16),
        p=rng.integers(0, 2, num, np.int16),
    )
    label_us = np.arange(1, int(seconds * 30)) * 1_000_000 // 30 // _STEP_US * _STEP_US
    which, times = np.tile(np.arange(objects), len(label_us)), np.repeat(label_us, objects)
    x, y = corners(which, times).T
    return events, make_boxes(times, x=x, y=y, w=_BOX_WH[0], h=_BOX_WH[1], class_id=1)
