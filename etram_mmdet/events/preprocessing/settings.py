"""Settings that decide how recordings become frames."""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Sequence
from dataclasses import dataclass
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
from etram_mmdet.events.preprocessing.presets import PRESETS, PresetRules
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
    """All settings that decide the content of a sequence folder; the defaults are those of RVT.

    Args:
        preset: RVT's rules for one dataset: ``etram``, ``gen4`` or ``gen1``. Default: ``etram``.
        frames: rule that chooses the frames, see ``select_frames``. Default: ``auto``.
        window_us: time that one image covers, in microseconds. Default: 50,000.
        sensor_px: width and height of the sensor, for recordings that do not state them. Default:
            those of the preset.
        representation: config, as :func:`build_representation` takes it. Default: that of the
            preset.
        codec: Blosc's compression of images. ``lz4`` is read about twice as fast as ``zstd`` and
            takes more room. Default: ``zstd``.
        event_time_unit: unit of the event times. Default: ``us``.
        label_time_unit: unit of the label times. Default: ``us``.
        label_offset_us: microseconds to add to label times; ``"start"`` adds
            ``Recording.clock_start_us``. Default: 0.
        box_format: meaning of a box's numbers, see ``load_boxes``. Default: ``xywh``.
        drop_labels_outside: whether labels before the first or after the last event are left out.
            Default: False.
        sort_events: whether events are sorted by time, which needs all of them in memory. Default:
            False.
        event_columns: names of the columns of events, see ``open_recording``. Default: detected.
        class_set: meaning of ids and names in label files, as :func:`get_class_set` takes it.
            Default: ids 0 to 7 are kept without names.
        drop_unknown_classes: whether boxes of unknown classes are dropped and those of class -1
            ignored in evaluation, instead of refusing the recording. Default: False.
        label_fps: frames per second of labels in other formats that count frames and have no map of
            times beside them. Default: none.
        resize_labels: whether boxes in other formats are scaled from the labelled frames to the
            sensor. Default: False.
        interpolate_labels: whether boxes are added between the key frames of tracks, in other
            formats. Default: False.

    Raises:
        InputError: when a setting has an impossible value.
    """

    preset: Preset = "etram"
    frames: FrameRule = "auto"
    window_us: int = 50_000
    sensor_px: tuple[int, int] | None = None
    representation: dict | None = None
    codec: Codec = "zstd"
    event_time_unit: TimeUnit = "us"
    label_time_unit: LabelTimeUnit = "us"
    label_offset_us: int | str = 0
    box_format: BoxFormat = "xywh"
    drop_labels_outside: bool = False
    sort_events: bool = False
    event_columns: str | None = None
    class_set: str | dict | None = None
    drop_unknown_classes: bool = False
    label_fps: float | None = None
    resize_labels: bool = False
    interpolate_labels: bool = False

    def __post_init__(self) -> None:
        from etram_mmdet.events.representations import (
            build_representation,
        )  # numba; defaults do without

        for name, choices in _CHOICES.items():
            if getattr(self, name) not in get_args(choices):
                raise InputError(
                    f"{name} must be one of {', '.join(get_args(choices))}: got "
                    f"{getattr(self, name)!r}"
                )
        if self.label_offset_us != FROM_START and not isinstance(self.label_offset_us, int):
            raise InputError(
                "label_offset_us must be a number of microseconds or 'start': got "
                f"{self.label_offset_us!r}"
            )
        if self.window_us < 1:
            raise InputError(f"window_us must be at least 1: got {self.window_us}")
        if self.label_fps is not None and not 0 < self.label_fps < float("inf"):
            raise InputError(
                f"label_fps must be a number of frames a second above 0: got {self.label_fps}"
            )
        if self.sensor_px is not None and min(self.sensor_px) < 1:
            raise InputError(
                f"sensor_px must be a width and a height of at least 1: got {tuple(self.sensor_px)}"
            )
        if self.class_set is not None:  # a file becomes its content; a built-in set its name
            object.__setattr__(self, "class_set", plain_class_set(self.class_set))
        # Options at their default are left out, so that equal settings compare equal.
        wanted = self.representation or {**RVT_REPRESENTATION, "downsample": self.rules.downsample}
        object.__setattr__(self, "representation", build_representation(wanted, 2, 2).config)

    @property
    def opening(self) -> dict:
        """Arguments of ``open_recording`` besides the path."""
        return dict(
            sensor_px=self.sensor_px or self.rules.sensor_px,
            time_unit=self.event_time_unit,
            sort=self.sort_events,
            columns=self.event_columns,
        )

    @property
    def rules(self) -> PresetRules:
        """Rules of the preset's dataset."""
        return PRESETS[self.preset]

    @property
    def box_rules(self) -> dict:
        """Rules for dropped boxes, as arguments of ``small_boxes`` and ``filter_boxes``."""
        names = ("max_class_id", "min_side_px", "min_diagonal_px")
        return {name: getattr(self.rules, name) for name in names}


READING_KEYS = (
    "event_time_unit",
    "label_time_unit",
    "label_offset_us",
    "box_format",
    "drop_labels_outside",
    "sort_events",
    "drop_unknown_classes",
    "event_columns",
    "label_fps",
    "resize_labels",
    "interpolate_labels",
)


def checked_reading(reading: dict) -> dict:
    """Return ``reading`` unchanged if all its keys are settings for reading files.

    Args:
        reading: settings by name, keys as in `READING_KEYS`.

    Raises:
        InputError: when it has another key.
    """
    for key in reading:
        if key not in READING_KEYS:
            raise InputError(f"reading: unknown key {key!r}; {did_you_mean(key, READING_KEYS)}")
    return reading


def representation_from_words(words: Sequence[str], downsample: str) -> dict:
    """Config of a representation from the words ``TYPE KEY=VALUE ...`` of a command line.

    Args:
        words: the words.
        downsample: value of ``--downsample``; a word ``downsample=...`` replaces it.

    Raises:
        InputError: when a word after the first is not ``KEY=VALUE``.
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
    """The text as a number, True, False or None if it is one, else the text."""
    try:
        return literal_eval(text)
    except (ValueError, SyntaxError):
        return text
