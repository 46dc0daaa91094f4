"""The recurrent state of a batch of lanes between two clips."""

from __future__ import annotations

from torch import Tensor

from etram_mmdet.events.errors import InputError


class StreamState:
    """One row of state per lane; plain attributes, so that it never enters a ``state_dict``.

    ``get`` hands out the state of the last clip with the rows of new recordings zeroed, ``put`` keeps the state of
    this clip, cut off from its graph (truncated back-propagation through time).
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next clip of every lane starts from zero."""
        self._states: tuple | None = None

    def get(self, is_first: Tensor) -> tuple | None:
        """State for the next clip; ``is_first`` (B,) bool marks the lanes that start a recording.

        Raises:
            InputError: when the batch has another number of lanes than the last one and not all of them start.
        """
        if not self._states or bool(is_first.all()):
            return None
        lanes = len(self._states[0][0])
        if lanes != len(is_first):
            raise InputError(
                f"StreamState: a batch of {len(is_first)} lanes follows one of {lanes}, yet not all of its lanes start "
                "a recording; keep the batch size constant (drop_last, padded lanes) or reset the state"
            )
        starts = is_first.view(-1, 1, 1, 1)
        return tuple(tuple(rows.masked_fill(starts, 0) for rows in state) for state in self._states)

    def put(self, states: tuple) -> None:
        self._states = tuple(tuple(rows.detach() for rows in state) for state in states)
