"""The numbers of one recording, read from its events and labels."""

from __future__ import annotations

import numpy as np

from etram_mmdet.analysis.dataset.box_events import BoxEvents
from etram_mmdet.analysis.dataset.census import RecordingCensus
from etram_mmdet.analysis.dataset.class_boxes import ClassBoxes, added_up, some_of
from etram_mmdet.events.class_mapping import ClassSet
from etram_mmdet.events.formats import Recording, open_recording
from etram_mmdet.events.preprocessing.examination import Examination
from etram_mmdet.events.preprocessing.labelled_frames import LabelledFrames, find_frames
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.events.preprocessing.sources import Source
from etram_mmdet.events.representations import Representation, build_representation


def census_of_source(
    source: Source, settings: PreprocessSettings, classes: ClassSet, read_events: bool
) -> RecordingCensus:
    """Reads the numbers of one recording and its labels.

    Args:
        source: recording and label file.
        settings: how they become frames.
        classes: meaning of the class ids in the label file.
        read_events: whether to read all events. If not, duration and event counts stay unknown.

    Raises:
        InputError: the recording or its labels cannot be read.
    """
    with open_recording(source.events, **settings.opening) as recording:
        found = find_frames(recording, source, settings)
        representation = build_representation(
            settings.representation, recording.height, recording.width
        )
        boxes = ClassBoxes.of(found.boxes, classes, source.labels, found.class_names)._replace(
            others=found.labels
        )
        counts = dict(dropped=found.dropped, doubts=tuple(found.doubts))
        if read_events:
            counts = _count_events(recording, found, settings, representation, boxes)
        return RecordingCensus(
            source.split,
            source.name,
            boxes.sizes(representation.scale),
            found.frames.label_us,
            size_px=(recording.width, recording.height),
            size_is_assumed=recording.size_is_assumed,
            left_out=boxes.left_out,
            downsample=representation.downsample,
            **counts,
        )


def _count_events(
    recording: Recording,
    found: LabelledFrames,
    settings: PreprocessSettings,
    representation: Representation,
    boxes: ClassBoxes,
) -> dict:
    """Reads the whole recording and counts its events.

    Windows come first, because they are read in time order; the rest of the recording follows.
    """
    examination = Examination(recording, found, settings)
    is_frame = np.isin(found.frames.repr_us, found.frames.label_us)
    looked_at = some_of(found.frames.label_us)
    box_events = []
    empty = in_frames = left_out = 0
    for end_us, counts in zip(found.frames.repr_us.tolist(), is_frame, strict=True):
        window = end_us - settings.window_us, end_us
        events = recording.read(*window)
        empty += counts and not len(events.t)
        examination.look(end_us, events)
        in_frames += len(events.t)
        left_out += representation.count_left_out(events)
        if end_us in looked_at:
            image = representation.off_on(representation(events, window)).sum(0)
            box_events.append(
                boxes.events_at(end_us, image, representation.scale, added_up(representation))
            )
    recording.read_rest()
    return dict(
        duration_s=(recording.t_last_us - recording.t_first_us) / 1e6,
        num_events=recording.num_events,
        frames_without_events=int(empty),
        events_in_frames=in_frames,
        events_left_out=left_out,
        dropped=recording.dropped | found.dropped,
        box_events=BoxEvents.joined(box_events),
        doubts=tuple(examination.doubts()),
    )
