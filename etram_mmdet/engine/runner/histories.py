"""Logged numbers of a training in bounded memory, which are also part of every checkpoint."""

from __future__ import annotations

import numpy as np
from mmengine.logging import HistoryBuffer
from mmengine.runner import LogProcessor

from etram_mmdet.engine.runner.lazy_history import LazyHistory

RECENT = 1000  # newest numbers, which are kept unchanged
_EARLIER = 1000  # sums that replace all numbers before
MOST = 2 * (RECENT + _EARLIER)  # numbers at which a history is thinned


def thin(histories: dict[str, HistoryBuffer], recent: int = RECENT) -> None:
    """Replace a history's early numbers by sums if it has grown beyond `MOST`, in place.

    A history holds each sum with the count of its numbers, so that the mean stays the same. A sum
    is of 2, 4, 8, ... numbers, as many as needed. That depends on the step alone: a resumed
    training has the histories of one that was never stopped.

    Args:
        histories: by name, mmengine's ``message_hub.log_scalars``.
        recent: newest numbers that are kept unchanged. Default: `RECENT`.
    """
    for name, history in histories.items():
        if _length(history) > MOST + recent - RECENT:
            values, counts = history.data
            histories[name] = HistoryBuffer(
                *_thinned(values, counts, len(values) - recent), history.max_length
            )


def _length(history: HistoryBuffer) -> int:
    return history.length if isinstance(history, LazyHistory) else len(history.data[0])


def _thinned(values: np.ndarray, counts: np.ndarray, early: int) -> tuple[np.ndarray, np.ndarray]:
    before = np.cumsum(counts[:early]) - counts[:early]
    width = 1
    while (before[-1] + counts[early - 1]) / width > _EARLIER:
        width *= 2
    first = np.flatnonzero(np.diff(before // width, prepend=-1))
    parts = ((np.add.reduceat(part[:early], first), part[early:]) for part in (values, counts))
    return tuple(map(np.concatenate, parts))


def longest_window(processor: LogProcessor) -> int:
    """Number of newest values that the log takes means over, at least `RECENT`.

    Args:
        processor: mmengine's LogProcessor of the run.
    """
    windows = [processor.window_size, *(each.get("window_size") for each in processor.custom_cfg)]
    return max(RECENT, *(window for window in windows if isinstance(window, int)))
