"""What decides how recordings become frames."""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import get_args

from etram_mmdet.events.choices import RVT_REPRESENTATION, Codec, FrameRule, Preset
from etram_mmdet.utils.errors import InputError


@dataclass(frozen=True)
class PreprocessSettings:
    """Everything that decides what a sequence folder holds; ``etram`` keeps all class ids, ``gen4`` ids 0 to 2.

    ``representation`` is a config as :func:`build_representation` takes it, ``window_us`` the time that one image sees,
    ``sensor_px`` (width, height) for recordings that do not say, ``codec`` how Blosc compresses images: ``lz4`` is read
    about twice as fast as ``zstd`` and takes more room. The defaults are the reference's.
    """

    preset: Preset = "etram"
    frames: FrameRule = "auto"
    window_us: int = 50_000
    sensor_px: tuple[int, int] | None = None
    representation: dict = field(default_factory=RVT_REPRESENTATION.copy)
    codec: Codec = "zstd"

    def __post_init__(self) -> None:
        from etram_mmdet.events.representations import build_representation  # numba; defaults do without

        for name, choices in (("preset", Preset), ("frames", FrameRule), ("codec", Codec)):
            if getattr(self, name) not in get_args(choices):
                raise InputError(f"{name} must be one of {', '.join(get_args(choices))}: got {getattr(self, name)!r}")
        if self.window_us < 1:
            raise InputError(f"window_us must be at least 1: got {self.window_us}")
        if self.sensor_px is not None and min(self.sensor_px) < 1:
            raise InputError(f"sensor_px must be a width and a height of at least 1: got {tuple(self.sensor_px)}")
        # Without options that are defaults, so that two ways of saying the same are equal.
        object.__setattr__(self, "representation", build_representation(self.representation, 2, 2).config)

    @property
    def max_class_id(self) -> int | None:
        """Boxes with larger class ids are dropped before anything else."""
        return 2 if self.preset == "gen4" else None


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
