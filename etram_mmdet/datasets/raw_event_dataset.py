"""Clips straight from recordings, without a preprocessing step."""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from mmdet.registry import DATASETS, TRANSFORMS
from mmengine.logging import print_log

from etram_mmdet.datasets.clips import ClipRequest
from etram_mmdet.datasets.etram_dataset import ETraMDataset
from etram_mmdet.datasets.recording_frames import RecordingFrames
from etram_mmdet.datasets.transforms.own_numbers import OwnNumbers
from etram_mmdet.events.class_mapping import ClassSet
from etram_mmdet.events.formats import Recording, open_recording
from etram_mmdet.events.preprocessing.examination import check_plausible
from etram_mmdet.events.preprocessing.frame_times import start_us
from etram_mmdet.events.preprocessing.labelled_frames import find_frames, refuse_quiet
from etram_mmdet.events.preprocessing.settings import PreprocessSettings, checked_reading
from etram_mmdet.events.preprocessing.sources import Source, find_sources
from etram_mmdet.events.recording import Events
from etram_mmdet.events.representations import build_representation
from etram_mmdet.utils.errors import InputError

# Recordings whose events are kept between windows: up to two blocks (26 MB) each.
_KEEP_EVENTS_OF = 8


@DATASETS.register_module()
class RawEventDataset(ETraMDataset):
    """An :class:`ETraMDataset` that reads recordings and label files without preprocessing.

    ``data_root`` holds them in the folders that tools/preprocess.py reads. Frames are built in the
    loading processes and equal the preprocessed ones bit for bit.

    A recording is left out, with a WARNING, for two reasons: its labels do not seem to fit it
    (judged without its events), or its first block (about a million events) leads to more than 1 %
    damaged events in the whole recording. Damage that is found later is reported in a WARNING. Only
    tools/preprocess.py and tools/inspect_data.py examine whether the events inside the boxes fit
    the labels.

    Args:
        *args: arguments of :class:`ETraMDataset`.
        preset: rules of RVT for a data set: ``etram``, ``gen4`` or ``gen1``. Default:
            ``etram``.
        frames: times of the frames. ``rvt``: labels at 30 or 60 Hz thinned to 10 Hz. ``all``:
            every label time. ``auto``: ``rvt`` if it applies. Default: ``auto``.
        label_files: which labels of eTraM's download to read: ``beside`` (three classes, beside
            the recordings) or ``eight_class``. ``auto`` prefers the eight classes. Default:
            ``auto``.
        sensor_px: width and height of the sensor, for recordings that do not store it. Default:
            those of ``preset``.
        reading: how files of another convention are read; the same settings as the options of
            tools/preprocess.py. Keys: ``event_time_unit``, ``label_time_unit``,
            ``label_offset_us``, ``box_format``, ``drop_labels_outside``,
            ``drop_unknown_classes``, ``label_fps``, ``resize_labels``, ``interpolate_labels``,
            ``sort_events``, ``event_columns`` and ``keep_implausible``. Default: none of them.
        event_pipeline: transforms of the events of one frame. Each gets ``dict(events, height,
            width, window_us, clip_rng, frame_rng)``. ``clip_rng`` draws the same for all frames
            of a stream's pass, ``frame_rng`` differently for each frame. Each transform has its
            own two (:class:`OwnNumbers`). Default: none.
        **kwargs: keyword arguments of :class:`ETraMDataset`.
    """

    def __init__(
        self,
        *args,
        preset: str = "etram",
        frames: str = "auto",
        label_files: str = "auto",
        sensor_px: tuple[int, int] | None = None,
        reading: dict | None = None,
        event_pipeline: list[dict] = (),
        **kwargs,
    ) -> None:
        self.preset = preset
        self.frames = frames
        self.label_files = label_files
        self.sensor_px = sensor_px
        self.reading = dict(reading or {})
        self.event_pipeline = OwnNumbers(
            [TRANSFORMS.build(transform) for transform in event_pipeline]
        )
        self._recently_read: OrderedDict[str, RecordingSequence] = OrderedDict()
        super().__init__(*args, **kwargs)

    def _each_sequence(self, data_root: Path, classes: ClassSet) -> Iterator[RecordingFrames]:
        reading = dict(self.reading)
        keep_implausible = reading.pop("keep_implausible", False)
        settings = PreprocessSettings(
            self.preset,
            self.frames,
            self.window_us,
            self.sensor_px,
            self.representation,
            class_set=self.class_set,
            **checked_reading(reading),
        )
        sources, problems = find_sources(data_root, self.label_files)
        dropped: Counter[str] = Counter()
        for source in (s for s in sources if s.split == self.split):
            try:
                sequence = RecordingSequence(source, settings, classes, keep_implausible)
            except InputError as error:
                problems.append(str(error))
                continue
            dropped += Counter(sequence.dropped)
            yield sequence
        for problem in problems:
            print_log(f"recording left out: {problem}", "current", logging.WARNING)
        if dropped:
            listed = ", ".join(f"{rule} {count}" for rule, count in sorted(dropped.items()))
            print_log(
                f"{self.folder}: boxes left out, by rule: {listed}", "current", logging.WARNING
            )

    def read_frames(self, sequence: RecordingSequence, request: ClipRequest) -> np.ndarray:
        self._recently_read[sequence.name] = sequence
        self._recently_read.move_to_end(sequence.name)
        if len(self._recently_read) > _KEEP_EVENTS_OF:
            self._recently_read.popitem(last=False)[1].release()
        if not self.event_pipeline.transforms:
            return sequence.read(request.start, request.stop)

        def transform(events: Events, frame: int) -> Events:
            results = dict(
                events=events,
                height=sequence.representation.height,
                width=sequence.representation.width,
                window_us=(int(sequence.t_us[frame]) - self.window_us, int(sequence.t_us[frame])),
                seeds=dict(
                    clip_rng=request.seed, frame_rng=(*request.seed, request.recording, frame)
                ),
            )
            return self.event_pipeline(results)["events"]

        return sequence.read(request.start, request.stop, transform)


class RecordingSequence(RecordingFrames):
    """Frames and boxes of one recording, built from its events; a preprocessed folder has the same.

    The recording is surveyed once per process. ``release`` frees the events that it keeps for the
    next window. ``read`` takes a function ``transform(events, frame)`` that may change the events
    of a frame before they become an image.

    Args:
        source: paths of the events and the labels.
        settings: how recordings become frames.
        class_set: meaning of the class ids in the label file.
        keep_implausible: use the recording even where its labels do not seem to fit it.
            Default: no.

    Raises:
        InputError: when a file cannot be read, or the labels do not seem to fit the recording.
    """

    def __init__(
        self,
        source: Source,
        settings: PreprocessSettings,
        class_set: ClassSet,
        keep_implausible: bool = False,
    ) -> None:
        self.source = source
        self.settings = settings
        self.window_us = settings.window_us
        self._recording: Recording | None = None
        self._is_damage_told = False
        with open_recording(source.events, **settings.opening) as recording:
            found = find_frames(recording, source, settings)
            if not keep_implausible:
                check_plausible(source.labels, found.doubts)
            refuse_quiet(recording, source, found)
            boxes = found.boxes
            frames = found.frames
            self.dropped = found.dropped
            self.representation = build_representation(
                settings.representation, recording.height, recording.width
            )
            begins_us = start_us(recording.t_first_us)
            sensor_px = recording.width, recording.height
            # Damage in the part that was read so far; the rule counts the whole recording.
            if recording.damage:
                recording.read_rest()
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
            ignored=found.ignored,
            start_us=begins_us,
            id_names=found.class_names,
            sensor_px=sensor_px,
        )

    def read(self, start: int, stop: int, transform=None) -> np.ndarray:
        """Frames ``start`` to ``stop`` (exclusive): (n, C, H, W)."""
        if self._recording is None:
            self._recording = open_recording(self.source.events, **self.settings.opening)
        frames = np.empty((stop - start, *self.representation.shape), self.dtype)
        for frame, out in zip(range(start, stop), frames, strict=True):
            window = int(self.t_us[frame]) - self.window_us, int(self.t_us[frame])
            events = self._recording.read(*window)
            if transform is not None:
                events = transform(events, frame)
            self.representation(events, window, out=out)
        self._warn_of_damage(self._recording)
        return frames

    def _warn_of_damage(self, recording: Recording) -> None:
        if not self._is_damage_told and (damage := recording.damage):
            self._is_damage_told = True
            print_log(
                f"{recording.path}: {damage}. The recording is used all the same",
                "current",
                logging.WARNING,
            )

    def release(self) -> None:
        """Free the events that are kept for the next window."""
        if self._recording is not None:
            self._recording.release()

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_recording": None}
