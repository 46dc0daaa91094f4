"""Sets of events for the representations, on a frame of 24x40 pixels."""

from __future__ import annotations

import numpy as np

from tests.reference.formula import integers

HEIGHT, WIDTH = 24, 40


def event_sets() -> dict[str, np.ndarray]:
    """int64 (4, n) = x, y, polarity, time, in order of time."""
    sets = dict(
        uniform=_random("uniform", 5000, 1_000_000, 50_000),
        hot_pixel=_random("hot_pixel", 1500, 0, 50_000),
        empty=np.zeros((4, 0), np.int64),
        one=np.array([[7], [5], [1], [123_456]]),
        same_t=np.array([[1, 1, 2], [3, 3, 3], [0, 1, 1], [9, 9, 9]]),
        grid_t=_random("grid_t", 2990, 0, 0),
        long_span=np.array(
            [[3] * 10, range(10), [1] * 10, [0, *_just_before_a_bin(60_000_000), 60_000_000]]
        ),
        odd_span=_random("odd_span", 2500, 12_345_678, 9973),
    )
    sets["hot_pixel"][:3, 100:1000] = [[21], [13], [1]]  # more than 255 of them in a bin
    sets["hot_pixel"][3, 100:1000] = sets["hot_pixel"][3, 100]
    sets["grid_t"][3] = _without_the_middle(2990) + 70
    return sets


def _random(name: str, count: int, start_us: int, span_us: int) -> np.ndarray:
    highs = (WIDTH, HEIGHT, 2, span_us + 1)
    columns = [integers(f"{name} {k}", count, 0, high) for k, high in enumerate(highs)]
    columns[3] = np.sort(columns[3]) + start_us
    return np.stack(columns)


def _without_the_middle(span_us: int) -> np.ndarray:
    """Every microsecond of a span, also the nine where a tenth of it ends.

    The middle is left out. A bin of the mixed-density stack ends there, and the last bit of a
    logarithm would decide.
    """
    return np.delete(np.arange(span_us + 1), span_us // 2)


def _just_before_a_bin(span_us: int) -> list[int]:
    """One microsecond before a tenth of the span ends, which float32 cannot tell from its end."""
    return [tenth * span_us // 10 - 1 for tenth in range(1, 10) if tenth != 5]


def maps_to_halve() -> dict[str, np.ndarray]:
    """(1, C, H, W) of the two types that representations have."""
    unsigned = integers("halved uint8", (1, 3, 12, 10), 0, 256).astype(np.uint8)
    signed = integers("halved int8", (1, 2, 8, 14), -128, 128).astype(np.int8)
    return dict(uint8=unsigned, int8=signed)
