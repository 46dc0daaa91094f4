"""Size of a backbone's attention groups, and the padding of frames that follows from it."""

from __future__ import annotations

import math

TOLERATED_PADDING = 0.1  # of a frame's area


def partition_of(hw: tuple[int, int]) -> tuple[int, int]:
    """RVT's rule for (rows, columns) of an attention group: height and width over 64, rounded up.

    Args:
        hw: height and width of a frame, in pixels.
    """
    return tuple(-(-side // 64) for side in hw)


def padded_hw(hw: tuple[int, int], divisor: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a frame, each rounded up to a multiple of its divisor.

    Args:
        hw: height and width of the frame, in pixels.
        divisor: divisors of height and width, in pixels.
    """
    return tuple(-(-side // each) * each for side, each in zip(hw, divisor, strict=True))


def better_partition(
    hw: tuple[int, int], partition: tuple[int, int], stride: int
) -> tuple[int, int] | None:
    """Look for an attention group that pads less than the one in use.

    Args:
        hw: height and width of a frame, in pixels.
        partition: (rows, columns) of the group in use, in cells of the deepest map.
        stride: of the deepest map, in pixels.

    Returns:
        The better group; ``None`` if there is none, or if padding costs at most
        `TOLERATED_PADDING`.
    """
    now = math.prod(padded_hw(hw, [stride * cells for cells in partition]))
    if now <= (1 + TOLERATED_PADDING) * math.prod(hw):
        return None
    best = tuple(
        min(
            range(max(1, rule // 2), 2 * rule + 1),
            key=lambda cells, side=side, rule=rule: (
                -(-side // (stride * cells)) * cells,
                abs(cells - rule),
                -cells,
            ),
        )
        for side, rule in zip(hw, partition_of(hw), strict=True)
    )
    return best if math.prod(padded_hw(hw, [stride * cells for cells in best])) < now else None
