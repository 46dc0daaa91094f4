"""The recurrent state of a batch of lanes between two clips."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from etram_mmdet.models.data_preprocessors.event_data_preprocessor import to_device
from etram_mmdet.utils.errors import InputError

Lanes = tuple[int, ...]
States = tuple[tuple[Tensor, ...], ...]  # of each stage: tensors (B, C, H, W), one row per lane


class StreamState:
    """One row of state per lane; plain attributes, so that it never enters a ``state_dict``.

    Lanes that share a batch are kept together, each such group on its own, so that a batch may be trained in parts.
    ``get`` hands out the state of the group's last clip with the rows of new recordings zeroed, ``put`` keeps the state
    of this clip, cut off from its graph (truncated back-propagation through time).

    A checkpoint holds the state lane by lane (``rows``, ``restore``), so that a resumed run may group its lanes anew.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next clip of every lane starts from zero."""
        self._groups: dict[Lanes, States] = {}
        self._alone: set[int] = set()

    def get(self, lanes: Lanes, is_first: Tensor) -> States | None:
        """State for the next clip of ``lanes``; ``is_first`` (B,) bool marks those that start a recording,
        in host memory.

        Raises:
            InputError: when a lane has so far been in a batch with lanes that are not in this one, or when this one
                has a lane more that does not start.
        """
        if bool(is_first.all()):
            return None
        states = self._groups[lanes] if lanes in self._groups else self._joined(lanes, is_first)
        if not states or not bool(is_first.any()):
            return states
        starts = to_device(is_first.view(-1, 1, 1, 1), states[0][0].device)
        return tuple(tuple(rows.masked_fill(starts, 0) for rows in state) for state in states)

    def _joined(self, lanes: Lanes, is_first: Tensor) -> States | None:
        """Rows of whole groups in the order of ``lanes``, zeros for lanes that start; ``None`` without any group."""
        groups = [group for group in self._groups if set(group) & set(lanes)]
        known = {lane for group in groups for lane in group}
        goes_on = {lane for lane, starts in zip(lanes, is_first.tolist(), strict=True) if not starts}
        if not groups:
            return None
        if not goes_on <= known <= set(lanes):
            raise InputError(
                f"StreamState: a batch of lanes {list(lanes)} follows one of {list(groups[0])}, yet not all of its "
                "lanes start a recording; keep the batch size constant (drop_last, padded lanes) or reset the state"
            )
        of_lane = {lane: states for group in groups for lane, states in _split(group, self._groups[group])}
        some = next(iter(of_lane.values()))
        blank = tuple(tuple(torch.zeros_like(row) for row in stage) for stage in some)
        parts = [of_lane.get(lane, blank) for lane in lanes]
        return tuple(tuple(map(torch.cat, zip(*stages, strict=True))) for stages in zip(*parts, strict=True))

    def put(self, lanes: Lanes, states: States, alone: Iterable[int] = ()) -> None:
        """Keep the state of this clip; the clips of lanes in ``alone`` are not continued, so no checkpoint needs it."""
        self._groups = {group: kept for group, kept in self._groups.items() if not set(group) & set(lanes)}
        self._groups[lanes] = tuple(tuple(rows.detach() for rows in state) for state in states)
        self._alone = (self._alone - set(lanes)) | set(alone)

    def rows(self) -> dict[int, States]:
        """State of every lane that goes on, as tensors (1, C, H, W) in host memory of their own."""
        return {
            lane: tuple(tuple(row.cpu().clone() for row in stage) for stage in states)
            for group, kept in self._groups.items()
            for lane, states in _split(group, kept)
            if states and lane not in self._alone
        }

    def restore(self, rows: Mapping[int, States], device: torch.device | str) -> None:
        """Go on from what :meth:`rows` gave, and forget everything else."""
        self.reset()
        for lane, states in rows.items():
            self._groups[(lane,)] = tuple(tuple(row.to(device) for row in stage) for stage in states)


def _split(lanes: Lanes, states: States) -> list[tuple[int, States]]:
    """Each lane of a group with its row, which keeps the dimension of rows."""
    return [(lane, tuple(tuple(rows[i : i + 1] for rows in stage) for stage in states)) for i, lane in enumerate(lanes)]
