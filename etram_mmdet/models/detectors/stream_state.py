"""The recurrent state of a batch of lanes, kept between two clips."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.transfer import to_device

Lanes = tuple[int, ...]
States = tuple[tuple[Tensor, ...], ...]  # of each stage: tensors (B, C, H, W), one row per lane


class StreamState:
    """Recurrent state of a batch, one row per lane, in plain attributes outside the ``state_dict``.

    Lanes that share a batch form a group, and each group is kept on its own, so that a batch may be
    trained in parts. ``get`` returns the group's state after its last clip, with zeros for lanes
    that start a recording. ``put`` keeps the state of this clip, cut off from its graph (truncated
    back-propagation through time).

    A checkpoint holds the state lane by lane (``rows``, ``restore``), so that a resumed run may
    group its lanes differently.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next clip of every lane starts from zero."""
        self._groups: dict[Lanes, States] = {}
        self._alone: set[int] = set()

    def get(self, lanes: Lanes, is_first: Tensor) -> States | None:
        """State for the next clip of ``lanes``.

        Args:
            lanes: numbers of the batch's lanes.
            is_first: (B,) bool mask of lanes that start a recording, in host memory.

        Returns:
            The state, or ``None`` if all lanes start a recording.

        Raises:
            InputError: a lane was in a batch with lanes that are missing in this one, or this batch
                has a new lane that does not start a recording.
        """
        if bool(is_first.all()):
            return None
        states = self._groups[lanes] if lanes in self._groups else self._joined(lanes, is_first)
        if not states or not bool(is_first.any()):
            return states
        starts = to_device(is_first.view(-1, 1, 1, 1), states[0][0].device)
        return tuple(tuple(rows.masked_fill(starts, 0) for rows in state) for state in states)

    def _joined(self, lanes: Lanes, is_first: Tensor) -> States | None:
        """Rows of several groups in the order of ``lanes``; ``None`` if there is no group.

        Lanes that start a recording get zeros.
        """
        groups = [group for group in self._groups if set(group) & set(lanes)]
        known = {lane for group in groups for lane in group}
        goes_on = {
            lane for lane, starts in zip(lanes, is_first.tolist(), strict=True) if not starts
        }
        if not groups:
            return None
        if not goes_on <= known <= set(lanes):
            raise InputError(
                f"StreamState: the batch has lanes {list(lanes)} after a batch of lanes "
                f"{list(groups[0])}, but some of its lanes continue a recording; keep the batch "
                "size constant (drop_last, padded lanes) or reset the state"
            )
        of_lane = {
            lane: states for group in groups for lane, states in _split(group, self._groups[group])
        }
        some = next(iter(of_lane.values()))
        blank = tuple(tuple(torch.zeros_like(row) for row in stage) for stage in some)
        parts = [of_lane.get(lane, blank) for lane in lanes]
        return tuple(
            tuple(map(torch.cat, zip(*stages, strict=True))) for stages in zip(*parts, strict=True)
        )

    def put(self, lanes: Lanes, states: States, alone: Iterable[int] = ()) -> None:
        """Keep the state of this clip.

        Lanes in ``alone`` hold clips that are not continued, so no checkpoint needs their state.
        """
        self._groups = {
            group: kept for group, kept in self._groups.items() if not set(group) & set(lanes)
        }
        self._groups[lanes] = tuple(tuple(rows.detach() for rows in state) for state in states)
        self._alone = (self._alone - set(lanes)) | set(alone)

    def rows(self) -> dict[int, States]:
        """State of every lane that goes on, as copies (1, C, H, W) in host memory."""
        return {
            lane: tuple(tuple(row.cpu().clone() for row in stage) for stage in states)
            for group, kept in self._groups.items()
            for lane, states in _split(group, kept)
            if states and lane not in self._alone
        }

    def restore(self, rows: Mapping[int, States], device: torch.device | str) -> None:
        """Replace the whole state by ``rows``, which :meth:`rows` returned, on ``device``."""
        self.reset()
        for lane, states in rows.items():
            self._groups[(lane,)] = tuple(
                tuple(row.to(device) for row in stage) for stage in states
            )


def _split(lanes: Lanes, states: States) -> list[tuple[int, States]]:
    """Each lane of a group with its row (1, C, H, W) of each tensor."""
    return [
        (lane, tuple(tuple(rows[i : i + 1] for rows in stage) for stage in states))
        for i, lane in enumerate(lanes)
    ]
