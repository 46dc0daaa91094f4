"""Check that labels and events of a recording fit together, while it is read for its frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from etram_mmdet.events.columns import Events
from etram_mmdet.events.preprocessing.labelled_frames import LabelledFrames
from etram_mmdet.events.preprocessing.plausibility.box_activity import BoxActivity
from etram_mmdet.events.preprocessing.plausibility.boxes import (
    doubts_about_activity,
    doubts_about_boxes,
)
from etram_mmdet.events.preprocessing.plausibility.frames import doubts_about_frames
from etram_mmdet.events.preprocessing.plausibility.limits import LIMITS
from etram_mmdet.events.preprocessing.plausibility.times import doubts_about_times, times_of
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.events.recording import Recording
from etram_mmdet.utils.errors import InputError


class Examination:
    """Looks at the events of a recording while its windows are read, and reports doubts at the end.

    Args:
        recording: an open recording.
        found: its labels and frames.
        settings: settings with which the labels were read.
    """

    def __init__(
        self, recording: Recording, found: LabelledFrames, settings: PreprocessSettings
    ) -> None:
        self._recording = recording
        self._found = found
        self._settings = settings
        start_us = recording.clock_start_us
        offsets_us = (start_us,) if start_us > LIMITS["most_early_s"].value * 1e6 else ()
        hw = recording.height, recording.width
        self._activity = BoxActivity(found.labels, found.frames.label_us, hw, offsets_us=offsets_us)

    def look(self, end_us: int, events: Events) -> None:
        """Add the events of a window, if its frame is examined."""
        if end_us in self._activity.frame_us:
            active = np.zeros((self._recording.height, self._recording.width), bool)
            active[events.y, events.x] = True
            self._activity.look(end_us, active)

    def doubts(self) -> list[str]:
        """One sentence for each doubt about the labels; call it after the last window."""
        recording = self._recording
        found = self._found
        of_times = doubts_about_times(
            times_of(recording, found.label_us, found.place_of, to_the_end=True)
        )
        if of_times:  # with wrong times the other checks mean nothing
            return of_times
        return [
            *doubts_about_frames(found.label_us, found.frames),
            *doubts_about_boxes(
                found.labels, recording.width, recording.height, self._settings.box_format
            ),
            *doubts_about_activity(self._activity, self._settings.box_format),
        ]


def check_plausible(label_file: Path, doubts: list[str]) -> None:
    """Raise ``InputError`` if there are doubts about the labels of a recording.

    Args:
        label_file: the label file, for the message.
        doubts: one sentence for each doubt.
    """
    if doubts:
        raise InputError(
            f"{label_file}: {'. Also, '.join(doubts)}. If the labels are correct, keep them with "
            "--keep-implausible"
        )
