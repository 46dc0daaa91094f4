"""Comparison of a recording with the data that its detector was trained on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from etram_mmdet.deploy.inferencer import Inferencer, Window
from etram_mmdet.events.domain import events_per_px, outside, sides_of
from etram_mmdet.events.formats import Recording

_EVERY = 10  # every tenth window is examined; little changes between two of them


class DomainWatch:
    """Collects event rates and box sizes of a recording while it is followed.

    Afterwards :meth:`sentences` says in what they lie outside the range of the training data. If
    the checkpoint does not store that range, nothing is compared.

    Args:
        inferencer: detector that finds the windows' boxes.
        recording: the recording that is followed.
    """

    def __init__(self, inferencer: Inferencer, recording: Recording) -> None:
        self._trained_on = inferencer.description.trained_on
        self._representation = inferencer.representation(recording.height, recording.width)
        self._events: list[float] = []
        self._sides_px = [np.empty(0)]

    def watched(self, windows: Iterable[Window]) -> Iterator[Window]:
        """Yield the same windows, and collect from them.

        Args:
            windows: windows of the recording, from :meth:`EventInferencer.windows`.
        """
        for number, window in enumerate(windows):
            if self._trained_on and number % _EVERY == 0:
                self._events.append(events_per_px(self._representation, window.image))
            corners = window.found.bboxes_xyxy
            self._sides_px.append(sides_of(corners[:, 2:] - corners[:, :2]))
            yield window

    def sentences(self) -> list[str]:
        """Warnings, one for each property that lies outside the range of the training data.

        See :func:`etram_mmdet.events.domain.outside`.
        """
        return outside(self._trained_on, np.concatenate(self._sides_px), np.array(self._events))
