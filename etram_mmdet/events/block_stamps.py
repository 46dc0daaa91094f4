"""The usable time stamps of a recording, block by block."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from etram_mmdet.events.time_stamps import (
    find_contradicted,
    find_few_far_away,
    find_steps,
    raise_to_running_maximum,
)


class BlockStamps:
    """Time stamps of a recording in time order, without damaged ones, read block by block.

    A stamp is damaged if the others contradict it (see :mod:`etram_mmdet.events.time_stamps`).

    Blocks must be asked for in order the first time; later any order is allowed. Two blocks are
    kept in memory, since neighbouring windows share a block and a window often crosses from one
    block into the next. The block after them is kept too if stamps jump.

    Args:
        read: function that gives the stamps of a block in file order, as a new int64 array in
            microseconds.
        num_blocks: number of blocks in the recording. A block may be empty.

    Attributes:
        last_us: last stamp of each block visited so far, in microseconds.
        num_events: events in the blocks visited so far.
        num_kept: events with a usable stamp in these blocks.
        num_corrected: events in these blocks whose stamp was raised to keep the order.
    """

    def __init__(self, read: Callable[[int], np.ndarray], num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self.last_us: list[int] = []
        self.num_events = 0
        self.num_corrected = 0
        self._num_kept: list[int] = []  # kept events up to the end of each block
        self._with_bad_stamps: set[int] = set()  # numbers of blocks
        self._raw = lru_cache(maxsize=1)(read)
        self._of_block = lru_cache(maxsize=2)(self._believed_of)

    @property
    def num_kept(self) -> int:
        return self._num_kept[-1] if self._num_kept else 0

    def __getitem__(self, block: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Usable stamps of a block, and a mask of the events that have one.

        The mask covers all events of the block in file order; it is ``None`` if every stamp is
        usable.
        """
        return self._of_block(block)

    def release(self) -> None:
        """Free the memory of the kept blocks."""
        self._of_block.cache_clear()
        self._raw.cache_clear()

    def visit_all(self) -> None:
        """Read the stamps of all blocks not visited yet, so that all counts are complete."""
        for block in range(len(self.last_us), self.num_blocks):
            self[block]

    def first_block_reaching(self, t_us: int) -> int:
        """Number of the first block whose last stamp is ``t_us`` or later.

        Reads further blocks as needed.
        """
        while len(self.last_us) < self.num_blocks and (not self.last_us or self.last_us[-1] < t_us):
            self[len(self.last_us)]
        return int(np.searchsorted(self.last_us, t_us, side="left"))

    def _believed_of(self, block: int) -> tuple[np.ndarray, np.ndarray | None]:
        stamps_us = self._raw(block)
        self._raw.cache_clear()  # the stamps are changed below
        last_us = self.last_us[block - 1] if block else 0
        num_before = self._num_kept[block - 1] if block else 0
        is_new = block == len(self.last_us)
        num_events = len(stamps_us)
        kept = None
        if is_new or block in self._with_bad_stamps:
            kept = self._find_believed(block, stamps_us, last_us, num_before)
            stamps_us = stamps_us if kept is None else stamps_us[kept]
        corrected = raise_to_running_maximum(stamps_us, last_us)
        if is_new:
            self.last_us.append(int(stamps_us[-1]) if len(stamps_us) else last_us)
            self._num_kept.append(num_before + len(stamps_us))
            self.num_events += num_events
            self.num_corrected += corrected
            if kept is not None:
                self._with_bad_stamps.add(block)
        return stamps_us, kept

    def _find_believed(
        self, block: int, stamps_us: np.ndarray, last_us: int, num_before: int
    ) -> np.ndarray | None:
        """Mask of the events of a block whose stamps are usable, or ``None`` if all are."""
        steps_back, steps_forward = find_steps(stamps_us, last_us)
        if not steps_back and not steps_forward:
            return None
        # The next block may hold the stamps that contradict a jump.
        after_us, reaches_end = self._after(block)
        is_contradicted = steps_back or find_steps(after_us, stamps_us.max())[0]
        if not is_contradicted and num_before and not reaches_end:
            return None
        both_us = np.concatenate([stamps_us, after_us])
        is_bad = (
            find_contradicted(both_us, last_us) if is_contradicted else np.zeros(len(both_us), bool)
        )
        is_bad[~is_bad] = find_few_far_away(
            both_us[~is_bad], last_us, num_before, reaches_end=reaches_end
        )
        is_bad = is_bad[: len(stamps_us)]
        return ~is_bad if is_bad.any() else None

    def _after(self, block: int) -> tuple[np.ndarray, bool]:
        """Stamps of the next block that is not empty, and whether it is the last block."""
        after_us = np.empty(0, np.int64)
        while not len(after_us) and block + 1 < self.num_blocks:
            block += 1
            after_us = self._raw(block)
        return after_us, block + 1 == self.num_blocks
