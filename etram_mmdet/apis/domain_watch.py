"""Whether a stream looks like what its detector was trained on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from etram_mmdet.deploy.inferencer import Inferencer, Window
from etram_mmdet.events.domain import events_per_px, outside, sides_of
from etram_mmdet.events.formats import Recording

_EVERY = 10  # windows; between two of them little changes


class DomainWatch:
    """Looks at the windows of a recording on their way.

    Args:
        inferencer: whose windows they are.
        recording: where they come from.
    """

    def __init__(self, inferencer: Inferencer, recording: Recording) -> None:
        self._trained_on = inferencer.description.trained_on
        self._representation = inferencer.representation(recording.height, recording.width)
        self._events: list[float] = []
        self._sides_px = [np.empty(0)]

    def watched(self, windows: Iterable[Window]) -> Iterator[Window]:
        """The same windows."""
        for number, window in enumerate(windows):
            if self._trained_on and number % _EVERY == 0:
                self._events.append(events_per_px(self._representation, window.image))
            corners = window.found.bboxes_xyxy
            self._sides_px.append(sides_of(corners[:, 2:] - corners[:, :2]))
            yield window

    def sentences(self) -> list[str]:
        """One for everything in which what was seen, or found, lies outside the training."""
        return outside(self._trained_on, np.concatenate(self._sides_px), np.array(self._events))
