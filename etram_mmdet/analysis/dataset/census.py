"""The numbers of a data set, recording by recording. Unknown numbers are None."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from etram_mmdet.analysis.dataset.box_events import BoxEvents
from etram_mmdet.events.choices import SPLITS
from etram_mmdet.events.labels import day_or_night
from etram_mmdet.events.preprocessing.label_classes import BY_CLASS
from etram_mmdet.utils.sizes import MEDIUM_PX2, SMALL_PX2

UNUSED = "boxes_in_unused_frames"
UNUSED_FRAMES = "label_frames_not_used"


class BoxSizes(NamedTuple):
    """Sizes of n boxes, without their places.

    They are network pixels. Label files hold whole numbers and halves, so float64 is exact.

    Attributes:
        labels: (n,) class numbers.
        widths_px: (n,) widths, in network pixels.
        heights_px: (n,) heights, in network pixels.
    """

    labels: np.ndarray
    widths_px: np.ndarray
    heights_px: np.ndarray

    @property
    def areas_px2(self) -> np.ndarray:
        """Areas (n,) in network pixels squared."""
        return self.widths_px * self.heights_px

    def of_class(self, label: int) -> BoxSizes:
        """Returns the sizes of the boxes of class number ``label``."""
        return BoxSizes(*(column[self.labels == label] for column in self))

    @classmethod
    def joined(cls, parts: Iterable[BoxSizes]) -> BoxSizes:
        """Returns the sizes of all boxes in ``parts`` together."""
        empty = cls(np.empty(0, np.int64), np.empty(0), np.empty(0))
        return cls(*map(np.concatenate, zip(empty, *parts, strict=True)))

    def size_mix(self) -> np.ndarray:
        """Shares (3,) of small, medium and large boxes by COCO's areas; NaN without boxes."""
        bins = np.digitize(self.areas_px2, (SMALL_PX2, MEDIUM_PX2))
        return np.bincount(bins, minlength=3) / (len(bins) or np.nan)


@dataclass(frozen=True, eq=False)
class RecordingCensus:
    """The numbers of one recording. ``None`` means unknown.

    Attributes:
        split: ``train``, ``val`` or ``test``.
        name: name of the recording.
        boxes: sizes of the boxes in use.
        label_us: (F,) times of the labelled frames in use, in microseconds.
        size_px: width and height of the sensor, in pixels.
        size_is_assumed: whether the size is a default because the file does not say it.
        duration_s: seconds from the first event to the last.
        num_events: events in the recording.
        frames_without_events: labelled frames without a single event.
        events_in_frames: events of all windows; an event counts once for each window that holds it.
        events_left_out: how many of ``events_in_frames`` downsampling leaves out.
        dropped: number of boxes and events left out, by rule.
        frame_shape: channels, height and width of preprocessed frames.
        box_events: events in the boxes of some frames.
        left_out: boxes of classes that the class set leaves out, by name or id.
        downsample: how frames become smaller than the sensor, such as ``sum`` or ``nearest``.
        doubts: sentences about labels and events that may not fit together, see
            `events.preprocessing.plausibility`.
    """

    split: str
    name: str
    boxes: BoxSizes
    label_us: np.ndarray
    size_px: tuple[int, int] | None = None
    size_is_assumed: bool | None = None
    duration_s: float | None = None
    num_events: int | None = None
    frames_without_events: int | None = None
    events_in_frames: int | None = None
    events_left_out: int | None = None
    dropped: dict[str, int] | None = None
    frame_shape: tuple[int, int, int] | None = None
    box_events: BoxEvents | None = None
    left_out: dict[str, int] = field(default_factory=dict)
    downsample: str | None = None
    doubts: tuple[str, ...] = ()

    @property
    def light(self) -> str | None:
        """``"day"`` or ``"night"``; ``None`` if the recording's name does not say it."""
        return day_or_night(self.name)

    @property
    def events_out_of_frame(self) -> int | None:
        """Dropped events whose pixel lies outside the sensor; ``None`` if unknown."""
        return (self.dropped or {}).get("events_out_of_frame")

    @property
    def events_per_s(self) -> float | None:
        """Mean event rate of the whole recording, in events per second; ``None`` if unknown."""
        return (
            self.num_events / self.duration_s
            if self.num_events is not None and self.duration_s
            else None
        )

    @property
    def labelled_span_s(self) -> float:
        """Seconds from the first labelled frame to the last."""
        return float(self.label_us[-1] - self.label_us[0]) / 1e6 if len(self.label_us) else 0.0


@dataclass(frozen=True, eq=False)
class Census:
    """The numbers of all recordings of a data folder.

    Attributes:
        data_root: the data folder.
        class_set: name of the class set.
        classes: names of the C classes.
        palette: C colours, each red, green and blue from 0 to 255.
        recordings: one entry for each usable recording.
        problems: a sentence for each recording that cannot or should not be used. Default: none.
    """

    data_root: Path
    class_set: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    recordings: list[RecordingCensus]
    problems: list[str] = field(default_factory=list)

    @property
    def splits(self) -> list[str]:
        """Splits that have recordings."""
        return [split for split in SPLITS if self.of(split)]

    def colours(self) -> list[tuple[float, ...]]:
        """Returns the colour of each class as matplotlib takes it, with values from 0 to 1."""
        return [tuple(value / 255 for value in rgb) for rgb in self.palette]

    def of(self, split: str | None = None) -> list[RecordingCensus]:
        """Returns the recordings of a split.

        Args:
            split: the split. Default: all splits.
        """
        return [r for r in self.recordings if split in (None, r.split)]

    def boxes(self, split: str | None = None) -> BoxSizes:
        """Returns the sizes of all boxes.

        Args:
            split: the split. Default: all splits.
        """
        return BoxSizes.joined(r.boxes for r in self.of(split))

    def total(self, key: str, split: str | None = None) -> float | None:
        """Sums an attribute of recordings; ``None`` if one of them does not know it.

        Args:
            key: name of the attribute of :class:`RecordingCensus`.
            split: the split. Default: all splits.
        """
        values = [getattr(r, key) for r in self.of(split)]
        return None if None in values else sum(values)

    def events_per_s(self, split: str | None = None) -> float | None:
        """Returns the mean event rate of all recordings, in events per second; ``None`` if unknown.

        Args:
            split: the split. Default: all splits.
        """
        events = self.total("num_events", split)
        seconds = self.total("duration_s", split)
        return events / seconds if events is not None and seconds else None

    def labels_per_s(self, split: str | None = None) -> float | None:
        """Returns labelled frames per second, between the first and last label of each recording.

        Args:
            split: the split. Default: all splits.
        """
        steps = sum(max(len(r.label_us) - 1, 0) for r in self.of(split))
        return steps / self.total("labelled_span_s", split) if steps else None

    def lights(self, split: str | None = None) -> dict[str, int | None]:
        """Counts recordings by day and by night; both are ``None`` if no name says it.

        Args:
            split: the split. Default: all splits.
        """
        counts = Counter(r.light for r in self.of(split) if r.light)
        return {light: counts[light] if counts else None for light in ("day", "night")}

    def box_events(self, split: str | None = None) -> BoxEvents | None:
        """Returns the events in boxes of all recordings whose frames were read; ``None`` if none.

        Args:
            split: the split. Default: all splits.
        """
        parts = [r.box_events for r in self.of(split) if r.box_events is not None]
        return BoxEvents.joined(parts) if parts else None

    def left_out(self) -> dict[str, int]:
        """Counts the boxes of classes that the class set leaves out, by name or id."""
        counts = sum((Counter(r.left_out) for r in self.recordings), Counter())
        for rule, count in [item for r in self.recordings for item in (r.dropped or {}).items()]:
            # Counted when the recording was read, or when it was preprocessed.
            if rule.startswith(BY_CLASS[0]):
                counts[rule.removeprefix(BY_CLASS[0])] += count
        return dict(counts)

    def dropped(self, split: str | None = None) -> dict[str, int] | None:
        """Counts everything left out, by rule; ``None`` if one recording does not know it.

        Args:
            split: the split. Default: all splits.
        """
        counts = [r.dropped for r in self.of(split)]
        return None if None in counts else dict(sum(map(Counter, counts), Counter()))

    def dropped_boxes(self, split: str) -> dict[str, int] | None:
        """Counts boxes left out by a rule about boxes, by rule; ``None`` if unknown.

        Boxes in unused frames and boxes of classes that are left out on purpose are not counted.

        Args:
            split: the split.
        """
        dropped = self.dropped(split)
        if dropped is None:
            return None
        asked_for = (UNUSED, *BY_CLASS)
        return {
            rule: n
            for rule, n in dropped.items()
            if rule.startswith("boxes_") and not rule.startswith(asked_for)
        }

    def dropped_share(self, split: str) -> float | None:
        """Returns the share of ``dropped_boxes`` in all labelled boxes; ``None`` if unknown.

        Args:
            split: the split.
        """
        dropped = self.dropped_boxes(split)
        if dropped is None:
            return None
        labelled = (
            sum(dropped.values())
            + self.dropped(split).get(UNUSED, 0)
            + len(self.boxes(split).labels)
        )
        return sum(dropped.values()) / labelled if labelled else None
