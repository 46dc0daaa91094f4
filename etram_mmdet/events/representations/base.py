"""Base class of event representations, and the registry of their names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import MISSING, dataclass, field, fields
from numbers import Integral, Real
from typing import ClassVar, get_args

import numpy as np
from numba import njit

from etram_mmdet.events.choices import Edges
from etram_mmdet.events.columns import Events
from etram_mmdet.events.limits import MAX_SIDE_PX
from etram_mmdet.events.representations.checks import checked_events, checked_window
from etram_mmdet.events.representations.downsampling import (
    count_left_out,
    downsampled,
    parse_downsample,
    word_of,
)
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.text import did_you_mean

REPRESENTATIONS: dict[str, type[Representation]] = {}
_SIZES = ("height", "width", "bins")  # options that are sides of an image


@dataclass(frozen=True)
class Representation(ABC):
    """Turns the events of one window into an image of ``shape`` (C, H, W).

    Defining a subclass registers it under its class name. It gives ``num_channels``, ``_fill``, and
    ``dtype`` unless it is uint8 (one byte per cell). Its fields are the keys that a config may set.
    ``_fill`` may be a compiled loop that trusts its input: it gets events within their window that
    passed :func:`checked_events`.

    Args:
        height: rows of the sensor, in pixels.
        width: columns of the sensor, in pixels.
        downsample: how the image becomes smaller than the sensor: ``"none"``, or ``"nearest"`` or
            ``"sum"`` with a whole factor, such as ``"sum8"``. Without a number the factor is 2; a
            number alone means a sum. ``"nearest"`` keeps the events of one pixel of each square (of
            2x2 pixels that of the odd row and column), as RVT's resizing of 1-megapixel recordings
            does, so three quarters of the events do not reach the image. ``"sum"`` adds the pixels
            of a square, so that every event counts. Default: ``"none"``.
        edges: time that is divided into bins: ``"events"`` from the first to the last event, as in
            RVT, or ``"window"`` the whole window. Default: ``"events"``.
    """

    height: int
    width: int
    downsample: str | int = field(default="none", kw_only=True)
    edges: Edges = field(default="events", kw_only=True)

    dtype: ClassVar[type] = np.uint8
    short_name: ClassVar[str]  # of the folder on disk
    always_named: ClassVar[dict[str, str]] = {}  # fields, and their names in the folder's name
    # Fields that settings name even at their default, and the value that earlier versions meant by
    # leaving them out.
    always_stated: ClassVar[dict[str, str]] = {}

    def __init_subclass__(cls, **kwargs) -> None:
        super().__init_subclass__(**kwargs)
        REPRESENTATIONS[cls.__name__] = cls

    def __post_init__(self) -> None:
        if self.edges not in get_args(Edges):
            raise InputError(
                f"{type(self).__name__}: edges={self.edges!r}, expected one of "
                f"{', '.join(get_args(Edges))}"
            )
        try:
            # One spelling for each meaning, so that equal settings compare equal.
            object.__setattr__(self, "downsample", word_of(*parse_downsample(self.downsample)))
        except ValueError as error:
            raise InputError(f"{type(self).__name__}: {error}") from error
        at_least_one = {"height": self.height, "width": self.width, **self._at_least_one()}
        for name, value in at_least_one.items():
            kind = Integral if name in _SIZES else Real
            if not isinstance(value, kind) or isinstance(value, bool) or not value >= 1:
                word = "a whole number of at least 1" if name in _SIZES else "at least 1"
                raise InputError(f"{type(self).__name__}: {name}={value!r}, expected {word}")
        if max(self.height, self.width) > MAX_SIDE_PX:
            raise InputError(
                f"{type(self).__name__}: a sensor of {self.width}x{self.height} pixels, expected "
                f"sides of at most {MAX_SIDE_PX}"
            )

    def _at_least_one(self) -> dict[str, float]:
        """Parameters that must be at least 1, by name."""
        return {"bins": self.bins} if hasattr(self, "bins") else {}

    @property
    @abstractmethod
    def num_channels(self) -> int: ...

    @abstractmethod
    def _fill(self, events: Events, t0_us: int, t1_us: int, out: np.ndarray) -> None:
        """Write the image of one or more events to ``out``; time bins span t0_us to t1_us."""

    @property
    def scale(self) -> int:
        """Sensor pixels per pixel of the image, along one side."""
        return parse_downsample(self.downsample)[1]

    @property
    def way(self) -> str:
        """Kind of downsampling: ``none``, ``nearest`` or ``sum``."""
        return parse_downsample(self.downsample)[0]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of the image.

        Raises:
            InputError: when the downsampling leaves no pixel.
        """
        height, width = self.height // self.scale, self.width // self.scale
        if not (height and width):
            raise InputError(
                f"downsample={self.downsample!r} leaves no pixel of a sensor of "
                f"{self.width}x{self.height}; choose a smaller factor"
            )
        return self.num_channels, height, width

    @property
    def options(self) -> dict:
        """Parameters that differ from their defaults, and those of ``always_stated``."""
        return {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.default is not MISSING
            and (getattr(self, f.name) != f.default or f.name in self.always_stated)
        }

    @property
    def config(self) -> dict:
        """The dict from which :func:`build_representation` makes this representation again."""
        return {"type": type(self).__name__, **self.options}

    def __call__(
        self,
        events: Events,
        window_us: tuple[int, int] | None = None,
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        """Build the image of the events of one window.

        Args:
            events: events on this sensor, as ``Events`` or as a structured array with the fields t,
                x, y and p in any order. Integers may have any size; polarity -1 or False means off.
                Events that are out of order are sorted by time.
            window_us: first and last microsecond of the window. Needed for ``edges="window"``.
                Default: the first and last event.
            out: array of ``shape`` and ``dtype`` to write into. Default: a new one.

        Raises:
            InputError: when events lie outside the sensor or the window, polarities are other
                numbers, columns differ in length, a window is needed but not given, or ``out`` has
                another shape or type.
        """
        out = np.empty(self.shape, self.dtype) if out is None else self._checked_out(out)
        events = checked_events(events, self.height, self.width)
        if len(events.t) == 0:
            out.fill(0)
            return out
        self._fill(events, *self._edges_us(events, window_us), out)
        return out

    def _edges_us(self, events: Events, window_us: tuple[int, int] | None) -> tuple[int, int]:
        """First and last time for the bins, chosen by ``edges``.

        Checks that the events lie in the window.
        """
        of_events = int(events.t[0]), int(events.t[-1])
        if window_us is None:
            if self.edges == "window":
                raise InputError(
                    f"{type(self).__name__}: edges='window' needs the argument window_us, the "
                    "first and last microsecond of the window"
                )
            return of_events
        of_window = checked_window(window_us)
        if of_events[0] < of_window[0] or of_events[1] > of_window[1]:
            raise InputError(
                f"events from {of_events[0]} to {of_events[1]} us reach beyond their window from "
                f"{of_window[0]} to {of_window[1]} us; cut them to the window"
            )
        return of_events if self.edges == "events" else of_window

    def _checked_out(self, out: np.ndarray) -> np.ndarray:
        if not isinstance(out, np.ndarray) or out.shape != self.shape or out.dtype != self.dtype:
            found = f"{getattr(out, 'dtype', type(out).__name__)} {getattr(out, 'shape', '')}"
            raise InputError(f"out is {found}, expected {np.dtype(self.dtype)} {self.shape}")
        return out

    def off_on(self, image: np.ndarray) -> np.ndarray:
        """The off and on channel to display for ``image`` (C, H, W): float32 (2, H, W) from 0.

        One event contributes 1. ``image`` may be cut, padded and of any number type. By default
        negative values of the image are off and positive ones on, summed over the channels; a
        subclass may change this.
        """
        image = image.astype(np.float32)
        return np.stack([np.maximum(-image, 0).sum(0), np.maximum(image, 0).sum(0)])

    def count_left_out(self, events: Events) -> int:
        """Number of ``events`` that do not reach the image because of ``downsample``."""
        return int(
            count_left_out(events.x, events.y, self.scale, self.way == "nearest", *self.shape[1:])
        )

    def _downsampled(self, events: Events) -> Events:
        """Events in image coordinates, without those that do not reach the image."""
        return downsampled(events, self.scale, self.way == "nearest", *self.shape[1:])


@njit(cache=True, nogil=True)
def bin_of(t_us, t0_us, span_us, bins):
    """Time bin of an event, 0 to ``bins - 1``.

    Every step is float32, as torch divides int64 tensors: a wider type moves events on bin edges.

    Args:
        t_us: time of the event, in microseconds.
        t0_us: start of the first bin, in microseconds.
        span_us: length of all bins together, in microseconds.
        bins: number of bins.
    """
    normalized = np.float32(t_us - t0_us) / np.float32(span_us)
    return min(int(np.floor(normalized * np.float32(bins))), bins - 1)


@njit(cache=True, nogil=True)
def first_after_bin(t, start, t0_us, span_us, bins, time_bin):
    """First index at or after ``start`` whose event lies in a later bin than ``time_bin``.

    Args:
        t: times of the events in order, in microseconds.
        start: index at which the search begins.
        t0_us: start of the first bin, in microseconds.
        span_us: length of all bins together, in microseconds.
        bins: number of bins.
        time_bin: bin number; bins grow with the index.
    """
    low, high = start, len(t)
    while low < high:
        middle = (low + high) // 2
        if bin_of(t[middle], t0_us, span_us, bins) > time_bin:
            high = middle
        else:
            low = middle + 1
    return low


def build_representation(cfg: dict, height: int, width: int) -> Representation:
    """Build the representation of a config for a sensor.

    Args:
        cfg: ``dict(type=NAME, **options)``.
        height: rows of the sensor, in pixels.
        width: columns of the sensor, in pixels.

    Raises:
        InputError: when the name, an option, or the value of an option is unknown.
    """
    options = dict(cfg)
    name = options.pop("type", None)
    cls = REPRESENTATIONS.get(name) if isinstance(name, str) else None
    if cls is None:
        raise InputError(
            f"representation {name!r} is unknown; {did_you_mean(str(name), REPRESENTATIONS, 0.5)}"
        )
    known = [f.name for f in fields(cls) if f.name not in ("height", "width")]
    for option in options:
        if option not in known:
            raise InputError(
                f"representation {name}: unknown option {option!r}; "
                f"{did_you_mean(option, known, 0.5)}"
            )
    return cls(height, width, **options)


def stated_options(cfg: dict, *, is_old: bool = False) -> dict:
    """Copy of ``cfg`` that states every option of ``always_stated``.

    Args:
        cfg: config of a representation, as :func:`build_representation` takes it; unknown types
            are copied unchanged.
        is_old: whether a missing option gets the default of earlier versions. Default: False,
            today's default.
    """
    name = cfg.get("type")
    cls = REPRESENTATIONS.get(name) if isinstance(name, str) else None
    old = cls.always_stated if cls else {}
    return {**(old if is_old else {name: getattr(cls, name) for name in old}), **cfg}


def channels_of(cfg: dict) -> int:
    """Number of channels of the images that a config describes.

    Args:
        cfg: config of a representation, as :func:`build_representation` takes it.
    """
    return build_representation(cfg, 2, 2).num_channels
