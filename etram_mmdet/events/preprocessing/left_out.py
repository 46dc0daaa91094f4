"""How many events the smaller frame of a representation has no place for."""

from __future__ import annotations

import numpy as np

from etram_mmdet.events.recording import Events
from etram_mmdet.events.representations import Representation

SHRUNK = "events_left_out_by_downsample"


class LeftOutEvents:
    """Counts them while windows are read in order, each event once however windows overlap.

    Args:
        representation: what the windows become.
    """

    def __init__(self, representation: Representation) -> None:
        self._representation = representation
        self._until_us = np.iinfo(np.int64).min
        self._count = 0

    def look(self, end_us: int, events: Events) -> None:
        """Take in the events of the window that ends at ``end_us`` (exclusive)."""
        first = int(np.searchsorted(events.t, self._until_us))
        self._count += self._representation.left_out(Events(*(column[first:] for column in events)))
        self._until_us = end_us

    @property
    def dropped(self) -> dict[str, int]:
        """The count by its rule; empty where there are none."""
        return {SHRUNK: self._count} if self._count else {}
