"""Base class of recordings whose blocks hold the same number of events."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path

import numpy as np

from etram_mmdet.events.recording import Recording


class IndexedRecording(Recording):
    """A recording in which every block but the last holds the same number of events.

    A subclass implements ``_stamps_between`` and ``_pixels_between`` for the events ``start`` to
    ``stop`` (exclusive).

    Args:
        path: the file.
        width: columns of the sensor.
        height: rows of the sensor.
        length: number of events in the file.
        events_per_block: number of events in a block.
    """

    def __init__(
        self, path: Path, width: int, height: int, length: int, events_per_block: int
    ) -> None:
        self._length = length
        self._events_per_block = events_per_block
        super().__init__(path, width, height, num_blocks=-(-length // events_per_block))

    @abstractmethod
    def _stamps_between(self, start: int, stop: int) -> np.ndarray:
        """See ``_raw_stamps``."""

    @abstractmethod
    def _pixels_between(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See ``_raw_pixels``."""

    def _raw_stamps(self, block: int) -> np.ndarray:
        return self._stamps_between(*self._span(block))

    def _raw_pixels(self, block: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self._pixels_between(*self._span(block))

    def _span(self, block: int) -> tuple[int, int]:
        start = block * self._events_per_block
        return start, min(start + self._events_per_block, self._length)
