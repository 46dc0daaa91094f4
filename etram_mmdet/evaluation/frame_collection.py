"""Evaluated frames that arrive in batches from several processes, each once and in order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from etram_mmdet.evaluation.frame_columns import FrameColumns
from etram_mmdet.evaluation.results import FrameResult, place_of
from etram_mmdet.utils.errors import InputError

_WAITING = 1024  # frames


class CollectedFrames:
    """Frames in the order in which they arrive, kept as columns.

    Only the last few are objects of their own.
    """

    def __init__(self) -> None:
        self._waiting: list[FrameResult] = []
        self._parts: list[FrameColumns] = []

    def append(self, frame: FrameResult) -> None:
        """Add a frame.

        Args:
            frame: frame with truth and detections.
        """
        self._waiting.append(frame)
        if len(self._waiting) == _WAITING:
            self._parts.append(FrameColumns.of(self._waiting))
            self._waiting = []

    def columns(self) -> FrameColumns:
        """All frames so far."""
        return FrameColumns.joined([*self._parts, FrameColumns.of(self._waiting)])

    def clear(self) -> None:
        """Forget all frames."""
        self._waiting.clear()
        self._parts.clear()


def merge(parts: Sequence[FrameColumns]) -> FrameColumns:
    """Collect frames of all workers, each once, sorted by (recording, t_us).

    So no metric depends on how the work was distributed. A frame may come twice with equal boxes,
    since shards are padded to equal length.

    Args:
        parts: frames of each worker, in any order.

    Raises:
        InputError: a frame comes twice with different boxes.
    """
    columns = FrameColumns.joined(parts)
    order = np.lexsort((columns.t_us, columns.recordings))
    keys = np.stack([columns.recordings, columns.t_us], 1)[order]
    is_first = np.append(True, (keys[1:] != keys[:-1]).any(1))[: len(order)]
    first = np.maximum.accumulate(np.where(is_first, np.arange(len(order)), 0))
    _check_alike(columns.taken(order[first[~is_first]]), columns.taken(order[~is_first]))
    return columns.taken(order[is_first])


def _check_alike(ones: FrameColumns, others: FrameColumns) -> None:
    """Raise ``InputError`` if two frames of the same recording and time differ."""
    for one, other in zip(ones.each(), others.each(), strict=True):
        if one != other:
            raise InputError(
                f"{place_of(*one.key)} reached the metric twice with different boxes "
                f"({len(one.found)} and {len(other.found)} detections): two lanes or ranks read "
                "the same stream. Expected each labelled frame once: let the sampler mark repeated "
                "frames with is_padding=True"
            )
