"""The recurrent state of a batch of lanes between two clips."""

from __future__ import annotations

from torch import Tensor

from etram_mmdet.models.data_preprocessors.event_data_preprocessor import to_device
from etram_mmdet.utils.errors import InputError

Lanes = tuple[int, ...]


class StreamState:
    """One row of state per lane; plain attributes, so that it never enters a ``state_dict``.

    Lanes that share a batch are kept together, each such group on its own, so that a batch may be trained in parts.
    ``get`` hands out the state of the group's last clip with the rows of new recordings zeroed, ``put`` keeps the state
    of this clip, cut off from its graph (truncated back-propagation through time).
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next clip of every lane starts from zero."""
        self._groups: dict[Lanes, tuple] = {}

    def get(self, lanes: Lanes, is_first: Tensor) -> tuple | None:
        """State for the next clip of ``lanes``; ``is_first`` (B,) bool marks those that start a recording,
        in host memory.

        Raises:
            InputError: when a lane has so far been in a batch with others, and not all lanes of this one start.
        """
        if bool(is_first.all()):
            return None
        if lanes not in self._groups:
            self._refuse_other_groups(lanes)
            return None
        states = self._groups[lanes]
        if not states or not bool(is_first.any()):
            return states
        starts = to_device(is_first.view(-1, 1, 1, 1), states[0][0].device)
        return tuple(tuple(rows.masked_fill(starts, 0) for rows in state) for state in states)

    def _refuse_other_groups(self, lanes: Lanes) -> None:
        for group in self._groups:
            if set(group) & set(lanes):
                raise InputError(
                    f"StreamState: a batch of lanes {list(lanes)} follows one of {list(group)}, yet not all of its "
                    "lanes start a recording; keep the batch size constant (drop_last, padded lanes) or reset the state"
                )

    def put(self, lanes: Lanes, states: tuple) -> None:
        self._groups = {group: kept for group, kept in self._groups.items() if not set(group) & set(lanes)}
        self._groups[lanes] = tuple(tuple(rows.detach() for rows in state) for state in states)
