"""How late boxes are, and what was skipped, dropped or lost."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

_FIRST_S = 1e-4
_RATIO = 1.01  # of neighbouring bins, so quantiles are right within 1 %
_BINS = 2000  # up to 12 hours


class Lateness:
    """Quantiles of times in fixed memory, right within 1 %."""

    def __init__(self) -> None:
        self.max_s = 0.0
        self._counts = np.zeros(_BINS, np.int64)

    def add(self, late_s: float) -> None:
        """Count a time.

        Args:
            late_s: seconds; times below 0.1 ms count as that.
        """
        self.max_s = max(self.max_s, late_s)
        place = math.log(max(late_s, _FIRST_S) / _FIRST_S) / math.log(_RATIO)
        self._counts[min(round(place), _BINS - 1)] += 1

    def quantile_s(self, share: float) -> float:
        """Time that a share of all times does not exceed, in seconds; 0 if there is none.

        Args:
            share: from 0 to 1.
        """
        total = np.cumsum(self._counts)
        if not total[-1]:
            return 0.0
        place = np.searchsorted(total, max(share * total[-1], 1))
        return min(_FIRST_S * _RATIO ** int(place), self.max_s)

    def __str__(self) -> str:
        parts = (f"p{share} {self.quantile_s(share / 100) * 1e3:.0f} ms" for share in (50, 95, 99))
        return ", ".join([*parts, f"max {self.max_s * 1e3:.0f} ms"])


@dataclass
class Report:
    """Counts of a run.

    Attributes:
        windows: windows that the network saw.
        boxes: boxes in them.
        skipped: complete windows that the newest-window policy left out, and empty ones in a jump
            of the source's time.
        dropped: windows left out because events of them were lost.
        late: time from the end of a window to its boxes.
    """

    windows: int = 0
    boxes: int = 0
    skipped: int = 0
    dropped: int = 0
    late: Lateness = field(default_factory=Lateness)

    def __str__(self) -> str:
        return (
            f"{self.windows} windows, {self.boxes} boxes, {self.skipped} windows skipped, "
            f"{self.dropped} windows dropped, late {self.late}"
        )
