"""One recording whose frames are built from its events when they are asked for."""

from __future__ import annotations

import os

import numpy as np

from etram_mmdet.datasets.sequence import Sequence
from etram_mmdet.events.class_sets import ClassSet
from etram_mmdet.events.formats import Recording, open_recording
from etram_mmdet.events.labelled_frames import find_frames
from etram_mmdet.events.representations import build_representation
from etram_mmdet.events.settings import Settings
from etram_mmdet.events.sources import Source


class RecordingSequence(Sequence):
    """The same frames and boxes as a preprocessed folder, from the recording itself.

    ``transform(events, frame)``, where given to ``read``, may change the events of a frame before they become an image.
    The recording is opened once per process; ``release`` lets go of the events that it keeps for the next window.
    """

    def __init__(self, source: Source, settings: Settings, class_set: ClassSet) -> None:
        self.source, self.settings, self.window_us = source, settings, settings.window_us
        self._recording: tuple[int, Recording] | None = None
        with open_recording(source.events, settings.sensor_px) as recording:
            boxes, frames, self.dropped = find_frames(recording, source, settings)
            self.representation = build_representation(settings.representation, recording.height, recording.width)
        super().__init__(
            source.name,
            self.representation.shape,
            np.dtype(self.representation.dtype),
            self.representation.scale,
            t_us=frames.repr_us,
            labelled=frames.repr_index,
            boxes=boxes,
            first_row=np.searchsorted(boxes["t"], frames.label_us, side="left"),
            class_set=class_set,
            label_file=source.labels,
        )

    def read(self, start: int, stop: int, transform=None) -> np.ndarray:
        if self._recording is None or self._recording[0] != os.getpid():  # a handle must not cross a fork
            self._recording = os.getpid(), open_recording(self.source.events, self.settings.sensor_px)
        frames = np.empty((stop - start, *self.representation.shape), self.dtype)
        for frame, out in zip(range(start, stop), frames, strict=True):
            window = int(self.t_us[frame]) - self.window_us, int(self.t_us[frame])
            events = self._recording[1].read(*window)
            if transform is not None:
                events = transform(events, frame)
            self.representation(events, window, out=out)
        return frames

    def release(self) -> None:
        if self._recording is not None:
            self._recording[1].release()

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_recording": None}
