"""How large the attention groups of a backbone are, and how much of a frame is padding."""

from __future__ import annotations

import math

TOLERATED_PADDING = 0.1  # of a frame's area


def partition_of(hw: tuple[int, int]) -> tuple[int, int]:
    """RVT's rule: (rows, columns) of an attention group are the frame's height and width over 64, rounded up."""
    return tuple(-(-side // 64) for side in hw)


def padded_hw(hw: tuple[int, int], divisor: tuple[int, int]) -> tuple[int, int]:
    """A frame's height and width, each rounded up to a multiple."""
    return tuple(-(-side // each) * each for side, each in zip(hw, divisor, strict=True))


def better_partition(hw: tuple[int, int], partition: tuple[int, int], stride: int) -> tuple[int, int] | None:
    """An attention group that pads less, where padding costs more than `TOLERATED_PADDING`; ``None`` where none does.

    Args:
        hw: height and width of a frame, in pixels.
        partition: the group in use, in cells of the deepest map.
        stride: of the deepest map, in pixels.
    """
    now = math.prod(padded_hw(hw, [stride * cells for cells in partition]))
    if now <= (1 + TOLERATED_PADDING) * math.prod(hw):
        return None
    best = tuple(
        min(
            range(max(1, rule // 2), 2 * rule + 1),
            key=lambda cells, side=side, rule=rule: (-(-side // (stride * cells)) * cells, abs(cells - rule), -cells),
        )
        for side, rule in zip(hw, partition_of(hw), strict=True)
    )
    return best if math.prod(padded_hw(hw, [stride * cells for cells in best])) < now else None
