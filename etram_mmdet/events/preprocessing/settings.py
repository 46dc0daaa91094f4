"""What decides how recordings become frames."""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import get_args

from etram_mmdet.events.choices import (
    FROM_START,
    RVT_REPRESENTATION,
    BoxFormat,
    Codec,
    FrameRule,
    LabelTimeUnit,
    Preset,
    TimeUnit,
)
from etram_mmdet.events.class_sets import plain_class_set
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.text import did_you_mean

_CHOICES = dict(
    preset=Preset,
    frames=FrameRule,
    codec=Codec,
    event_time_unit=TimeUnit,
    label_time_unit=LabelTimeUnit,
    box_format=BoxFormat,
)


@dataclass(frozen=True)
class PreprocessSettings:
    """Everything that decides what a sequence folder holds; ``etram`` keeps all class ids, ``gen4`` ids 0 to 2.

    ``representation`` is a config as :func:`build_representation` takes it, ``window_us`` the time that one image sees,
    ``sensor_px`` (width, height) for recordings that do not say, ``codec`` how Blosc compresses images: ``lz4`` is read
    about twice as fast as ``zstd`` and takes more room. The defaults are the reference's.

    The next six say how files are read that follow another convention: what their times count, what has to be added to
    label times (``"start"``: ``Recording.clock_start_us``), what a box's numbers mean (see ``load_boxes``), whether
    labels before the first or after the last event are left out, and whether events are sorted by time, which takes
    them all into memory.

    ``class_set`` says what the ids and names in label files mean, as :func:`get_class_set` takes it; without one, ids 0
    to 7 are kept without names. ``drop_unknown_classes``: whether boxes of classes that it does not know are dropped,
    and those of class -1 ignored in evaluation, instead of refusing the recording.

    The last three are for label files in other formats (see ``label_formats``): frames a second of labels that count
    frames and have no map of times beside them, whether boxes are scaled from the labelled frames to the sensor, and
    whether boxes are added between the key frames of tracks.
    """

    preset: Preset = "etram"
    frames: FrameRule = "auto"
    window_us: int = 50_000
    sensor_px: tuple[int, int] | None = None
    representation: dict = field(default_factory=RVT_REPRESENTATION.copy)
    codec: Codec = "zstd"
    event_time_unit: TimeUnit = "us"
    label_time_unit: LabelTimeUnit = "us"
    label_offset_us: int | str = 0
    box_format: BoxFormat = "xywh"
    drop_labels_outside: bool = False
    sort_events: bool = False
    class_set: str | dict | None = None
    drop_unknown_classes: bool = False
    label_fps: float | None = None
    resize_labels: bool = False
    interpolate_labels: bool = False

    def __post_init__(self) -> None:
        from etram_mmdet.events.representations import build_representation  # numba; defaults do without

        for name, choices in _CHOICES.items():
            if getattr(self, name) not in get_args(choices):
                raise InputError(f"{name} must be one of {', '.join(get_args(choices))}: got {getattr(self, name)!r}")
        if self.label_offset_us != FROM_START and not isinstance(self.label_offset_us, int):
            raise InputError(
                f"label_offset_us must be a number of microseconds or 'start': got {self.label_offset_us!r}"
            )
        if self.window_us < 1:
            raise InputError(f"window_us must be at least 1: got {self.window_us}")
        if self.label_fps is not None and not 0 < self.label_fps < float("inf"):
            raise InputError(f"label_fps must be a number of frames a second above 0: got {self.label_fps}")
        if self.sensor_px is not None and min(self.sensor_px) < 1:
            raise InputError(f"sensor_px must be a width and a height of at least 1: got {tuple(self.sensor_px)}")
        if self.class_set is not None:  # a file as what it holds; a shipped set by its name
            object.__setattr__(self, "class_set", plain_class_set(self.class_set))
        # Without options that are defaults, so that two ways of saying the same are equal.
        object.__setattr__(self, "representation", build_representation(self.representation, 2, 2).config)

    @property
    def opening(self) -> dict:
        """What ``open_recording`` is told beside the path."""
        return dict(sensor_px=self.sensor_px, time_unit=self.event_time_unit, sort=self.sort_events)

    @property
    def max_class_id(self) -> int | None:
        """Boxes with larger class ids are dropped before anything else."""
        return 2 if self.preset == "gen4" else None


READING_KEYS = (
    "event_time_unit",
    "label_time_unit",
    "label_offset_us",
    "box_format",
    "drop_labels_outside",
    "sort_events",
    "drop_unknown_classes",
    "label_fps",
    "resize_labels",
    "interpolate_labels",
)


def checked_reading(reading: dict) -> dict:
    """``reading`` itself, whose keys are settings of how files are read; raises ``InputError`` for another key."""
    for key in reading:
        if key not in READING_KEYS:
            raise InputError(f"reading: unknown key {key!r}; {did_you_mean(key, READING_KEYS)}")
    return reading


def representation_from_words(words: Sequence[str], downsample: str) -> dict:
    """The config of a representation that a command line gives as ``TYPE KEY=VALUE ...``.

    Raises:
        InputError: for a word after the first that is not ``KEY=VALUE``.
    """
    name, *options = words
    config = {"type": name, "downsample": downsample}
    for option in options:
        key, is_given, value = option.partition("=")
        if not is_given:
            raise InputError(f"--representation: {option!r} is not KEY=VALUE")
        config[key] = _parse_value(value)
    return config


def _parse_value(text: str) -> object:
    """A number, True, False or None if the text is one, else the text."""
    try:
        return literal_eval(text)
    except (ValueError, SyntaxError):
        return text
