"""The numbers of a data set, recording by recording; what nobody knows is None."""

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


class BoxSizes(NamedTuple):
    """How large n boxes are, wherever they lie: class numbers ``labels`` (n,), ``widths_px`` and ``heights_px`` (n,).

    In network pixels, from the whole numbers and halves of label files, hence float64.
    """

    labels: np.ndarray
    widths_px: np.ndarray
    heights_px: np.ndarray

    @property
    def areas_px2(self) -> np.ndarray:
        return self.widths_px * self.heights_px

    def of_class(self, label: int) -> BoxSizes:
        return BoxSizes(*(column[self.labels == label] for column in self))

    @classmethod
    def joined(cls, parts: Iterable[BoxSizes]) -> BoxSizes:
        empty = cls(np.empty(0, np.int64), np.empty(0), np.empty(0))
        return cls(*map(np.concatenate, zip(empty, *parts, strict=True)))

    def size_mix(self) -> np.ndarray:
        """Shares of small, medium and large boxes after COCO; NaN without boxes."""
        bins = np.digitize(self.areas_px2, (SMALL_PX2, MEDIUM_PX2))
        return np.bincount(bins, minlength=3) / (len(bins) or np.nan)


@dataclass(frozen=True, eq=False)
class RecordingCensus:
    """One recording; ``dropped`` counts what was left out, by rule, ``label_us`` (F,) are the frames in use."""

    split: str
    name: str
    boxes: BoxSizes
    label_us: np.ndarray
    size_px: tuple[int, int] | None = None  # width, height of the sensor
    size_is_assumed: bool | None = None
    duration_s: float | None = None
    num_events: int | None = None
    frames_without_events: int | None = None
    events_in_frames: int | None = None  # of all windows, each counted as often as it is seen
    events_left_out: int | None = None  # of these, because of downsample
    dropped: dict[str, int] | None = None
    frame_shape: tuple[int, int, int] | None = (
        None  # channels, height, width of preprocessed frames
    )
    box_events: BoxEvents | None = None
    left_out: dict[str, int] = field(
        default_factory=dict
    )  # boxes of classes that the class set leaves out, by name
    downsample: str | None = None  # how frames became smaller than the sensor
    doubts: tuple[
        str, ...
    ] = ()  # whether labels and events fit together, see `events.preprocessing.plausibility`

    @property
    def light(self) -> str | None:
        return day_or_night(self.name)

    @property
    def events_out_of_frame(self) -> int | None:
        return (self.dropped or {}).get("events_out_of_frame")

    @property
    def events_per_s(self) -> float | None:
        return (
            self.num_events / self.duration_s
            if self.num_events is not None and self.duration_s
            else None
        )

    @property
    def labelled_span_s(self) -> float:
        """From the first labelled frame to the last."""
        return float(self.label_us[-1] - self.label_us[0]) / 1e6 if len(self.label_us) else 0.0


@dataclass(frozen=True, eq=False)
class Census:
    """All recordings of ``data_root``; ``problems``: a sentence for each that cannot or should not be used."""

    data_root: Path
    class_set: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    recordings: list[RecordingCensus]
    problems: list[str] = field(default_factory=list)

    @property
    def splits(self) -> list[str]:
        """Those that have recordings."""
        return [split for split in SPLITS if self.of(split)]

    def colours(self) -> list[tuple[float, ...]]:
        """One for each class, as matplotlib wants them."""
        return [tuple(value / 255 for value in rgb) for rgb in self.palette]

    def of(self, split: str | None = None) -> list[RecordingCensus]:
        return [r for r in self.recordings if split in (None, r.split)]

    def boxes(self, split: str | None = None) -> BoxSizes:
        return BoxSizes.joined(r.boxes for r in self.of(split))

    def total(self, key: str, split: str | None = None) -> float | None:
        """Sum over recordings of one of their numbers; None where it is unknown of one of them."""
        values = [getattr(r, key) for r in self.of(split)]
        return None if None in values else sum(values)

    def events_per_s(self, split: str | None = None) -> float | None:
        events = self.total("num_events", split)
        seconds = self.total("duration_s", split)
        return events / seconds if events is not None and seconds else None

    def labels_per_s(self, split: str | None = None) -> float | None:
        """Labelled frames per second while labels last."""
        steps = sum(max(len(r.label_us) - 1, 0) for r in self.of(split))
        return steps / self.total("labelled_span_s", split) if steps else None

    def lights(self, split: str | None = None) -> dict[str, int | None]:
        """Recordings by day and by night; ``None`` where no name of a recording tells."""
        counts = Counter(r.light for r in self.of(split) if r.light)
        return {light: counts[light] if counts else None for light in ("day", "night")}

    def box_events(self, split: str | None = None) -> BoxEvents | None:
        """Of all recordings whose frames were looked at."""
        parts = [r.box_events for r in self.of(split) if r.box_events is not None]
        return BoxEvents.joined(parts) if parts else None

    def left_out(self) -> dict[str, int]:
        """Boxes of classes that the class set leaves out, by the names or ids in the label files."""
        counts = sum((Counter(r.left_out) for r in self.recordings), Counter())
        for rule, count in [item for r in self.recordings for item in (r.dropped or {}).items()]:
            if rule.startswith(BY_CLASS[0]):  # when the recording was read, or preprocessed
                counts[rule.removeprefix(BY_CLASS[0])] += count
        return dict(counts)

    def dropped(self, split: str | None = None) -> dict[str, int] | None:
        """Everything left out, by rule; None where it is unknown of a recording."""
        counts = [r.dropped for r in self.of(split)]
        return None if None in counts else dict(sum(map(Counter, counts), Counter()))

    def dropped_boxes(self, split: str) -> dict[str, int] | None:
        """Boxes left out by a rule about boxes, by rule; thinning out frames and a choice of classes are none."""
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
        """Share of ``dropped_boxes`` in all boxes that were labelled."""
        dropped = self.dropped_boxes(split)
        if dropped is None:
            return None
        labelled = (
            sum(dropped.values())
            + self.dropped(split).get(UNUSED, 0)
            + len(self.boxes(split).labels)
        )
        return sum(dropped.values()) / labelled if labelled else None
