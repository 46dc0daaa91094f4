"""What every event representation offers, and the registry of their names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import MISSING, dataclass, field, fields
from typing import ClassVar, get_args

import numpy as np
from numba import njit

from etram_mmdet.events.choices import Downsample, Edges
from etram_mmdet.events.limits import MAX_SIDE_PX
from etram_mmdet.events.recording import Events
from etram_mmdet.events.representations.checks import checked_events, checked_window
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.text import did_you_mean

REPRESENTATIONS: dict[str, type[Representation]] = {}


@dataclass(frozen=True)
class Representation(ABC):
    """Turns the events of one window on a sensor of ``height`` x ``width`` pixels into an image of ``shape`` (C, H, W).

    ``downsample`` halves the frame: ``"nearest"`` keeps the odd rows and columns only, which is what RVT's resizing
    does to its 1-megapixel recordings (three quarters of the events do not reach the result); ``"sum"`` lets the four
    pixels of a square fall together, so that every event counts. ``edges`` says what divides the time: the first and
    last *event* of the window, as in RVT, or the ``"window"`` itself.

    A subclass is registered under its name by being defined; it gives ``num_channels``, ``_fill`` and where it is not
    uint8 ``dtype`` (one byte per cell). Its fields are the keys that a config may set. ``_fill`` may be a compiled loop
    that trusts its input: it gets events that :func:`checked_events` let through, within their window.
    """

    height: int
    width: int
    downsample: Downsample = field(default="none", kw_only=True)
    edges: Edges = field(default="events", kw_only=True)

    dtype: ClassVar[type] = np.uint8
    short_name: ClassVar[str]  # of the folder on disk
    always_named: ClassVar[dict[str, str]] = {}  # fields and what the folder's name calls them
    # Fields that settings name even at their default, and what earlier versions meant by leaving them out.
    always_stated: ClassVar[dict[str, str]] = {}

    def __init_subclass__(cls, **kwargs) -> None:
        super().__init_subclass__(**kwargs)
        REPRESENTATIONS[cls.__name__] = cls

    def __post_init__(self) -> None:
        for name, choices in (("downsample", Downsample), ("edges", Edges)):
            if getattr(self, name) not in get_args(choices):
                raise InputError(
                    f"{type(self).__name__}: {name}={getattr(self, name)!r}, expected one of "
                    f"{', '.join(get_args(choices))}"
                )
        at_least_one = {"height": self.height, "width": self.width, **self._at_least_one()}
        for name, value in at_least_one.items():
            if not value >= 1:
                raise InputError(f"{type(self).__name__}: {name}={value}, expected at least 1")
        if max(self.height, self.width) > MAX_SIDE_PX:
            raise InputError(
                f"{type(self).__name__}: a sensor of {self.width}x{self.height} pixels, expected "
                f"sides of at most {MAX_SIDE_PX}"
            )

    def _at_least_one(self) -> dict[str, float]:
        """Parameters to be checked."""
        return {"bins": self.bins} if hasattr(self, "bins") else {}

    @property
    @abstractmethod
    def num_channels(self) -> int: ...

    @abstractmethod
    def _fill(self, events: Events, t0_us: int, t1_us: int, out: np.ndarray) -> None:
        """Overwrite ``out`` with the image of at least one event of the sensor; time runs from t0_us to t1_us."""

    @property
    def scale(self) -> int:
        """Sensor pixels per pixel of the image."""
        return 1 if self.downsample == "none" else 2

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the result."""
        return self.num_channels, self.height // self.scale, self.width // self.scale

    @property
    def options(self) -> dict:
        """The parameters that differ from their defaults, and those of ``always_stated``."""
        return {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.default is not MISSING and (getattr(self, f.name) != f.default or f.name in self.always_stated)
        }

    @property
    def config(self) -> dict:
        """What :func:`build_representation` makes it from."""
        return {"type": type(self).__name__, **self.options}

    def __call__(
        self, events: Events, window_us: tuple[int, int] | None = None, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Build the image of the events of one window.

        Args:
            events: of this sensor. Integers of any size; polarity -1 or False means off. Events out
                of order are sorted by time.
            window_us: first and last microsecond of the window. ``edges="window"`` needs it.
            out: array of ``shape`` and ``dtype`` to write into; default: a new one.

        Raises:
            InputError: events outside the sensor or the window, other polarities, columns of unequal
                length, no window where one is needed, or an ``out`` of another shape or type.
        """
        out = np.empty(self.shape, self.dtype) if out is None else self._checked_out(out)
        events = checked_events(events, self.height, self.width)
        if len(events.t) == 0:
            out.fill(0)
            return out
        self._fill(events, *self._edges_us(events, window_us), out)
        return out

    def _edges_us(self, events: Events, window_us: tuple[int, int] | None) -> tuple[int, int]:
        """The times that ``edges`` asks for, of events that lie within the window."""
        of_events = int(events.t[0]), int(events.t[-1])
        if window_us is None:
            if self.edges == "window":
                raise InputError(f"{type(self).__name__}: edges='window' needs window_us, the window's two ends in us")
            return of_events
        of_window = checked_window(window_us)
        if of_events[0] < of_window[0] or of_events[1] > of_window[1]:
            raise InputError(
                f"events from {of_events[0]} to {of_events[1]} us reach beyond their window from {of_window[0]} to "
                f"{of_window[1]} us; cut them to the window"
            )
        return of_events if self.edges == "events" else of_window

    def _checked_out(self, out: np.ndarray) -> np.ndarray:
        if not isinstance(out, np.ndarray) or out.shape != self.shape or out.dtype != self.dtype:
            found = f"{getattr(out, 'dtype', type(out).__name__)} {getattr(out, 'shape', '')}"
            raise InputError(f"out is {found}, expected {np.dtype(self.dtype)} {self.shape}")
        return out

    def off_on(self, image: np.ndarray) -> np.ndarray:
        """How ``image`` (C, H, W) is shown: float32 (2, H, W), off and on, from 0; 1 is what one event leaves.

        ``image`` may be cut, padded and of any number type. Unless a subclass says otherwise, what is negative in it is
        off and what is positive is on, summed over the channels.
        """
        image = image.astype(np.float32)
        return np.stack([np.maximum(-image, 0).sum(0), np.maximum(image, 0).sum(0)])

    def count_left_out(self, events: Events) -> int:
        """How many of these events of the sensor do not reach the image, because of ``downsample``."""
        return 0 if self.downsample == "none" else len(events.t) - len(self._downsampled(events).t)

    def _downsampled(self, events: Events) -> Events:
        """Events with the coordinates of the image, those that it leaves out taken away."""
        if self.downsample == "none":
            return events
        t, x, y, p = events
        if self.downsample == "nearest":
            kept = (x & y & 1).astype(bool)
            t, x, y, p = t[kept], x[kept], y[kept], p[kept]
        x, y = x >> 1, y >> 1
        # The last column of an odd frame has no partner and no place.
        inside = (x < self.width // 2) & (y < self.height // 2)
        return Events(t, x, y, p) if inside.all() else Events(t[inside], x[inside], y[inside], p[inside])


@njit(cache=True, nogil=True)
def bin_of(t_us, t0_us, span_us, bins):
    """Time bin in float32 throughout, as torch divides int64 tensors: a wider type moves events on bin edges."""
    normalized = np.float32(t_us - t0_us) / np.float32(span_us)
    return min(int(np.floor(normalized * np.float32(bins))), bins - 1)


@njit(cache=True, nogil=True)
def first_after_bin(t, start, t0_us, span_us, bins, time_bin):
    """First index at or after ``start`` whose bin is later than ``time_bin`` (bins grow with the index)."""
    low, high = start, len(t)
    while low < high:
        middle = (low + high) // 2
        if bin_of(t[middle], t0_us, span_us, bins) > time_bin:
            high = middle
        else:
            low = middle + 1
    return low


def build_representation(cfg: dict, height: int, width: int) -> Representation:
    """Build ``dict(type=NAME, **options)`` for a sensor; raises ``InputError`` on unknown names and options."""
    options = dict(cfg)
    name = options.pop("type", None)
    cls = REPRESENTATIONS.get(name)
    if cls is None:
        raise InputError(f"representation {name!r} is unknown; {did_you_mean(str(name), REPRESENTATIONS, 0.5)}")
    known = [f.name for f in fields(cls) if f.name not in ("height", "width")]
    for option in options:
        if option not in known:
            raise InputError(f"representation {name}: unknown option {option!r}; {did_you_mean(option, known, 0.5)}")
    return cls(height, width, **options)


def stated_options(cfg: dict, *, is_old: bool = False) -> dict:
    """``cfg`` with every option of ``always_stated``.

    Args:
        cfg: of a representation, as :func:`build_representation` takes it; unknown types stay as they are.
        is_old: whether what ``cfg`` leaves out means what it meant in earlier versions; default: what
            it means now.
    """
    name = cfg.get("type")
    cls = REPRESENTATIONS.get(name) if isinstance(name, str) else None
    old = cls.always_stated if cls else {}
    return {**(old if is_old else {name: getattr(cls, name) for name in old}), **cfg}


def channels_of(cfg: dict) -> int:
    """Channels of the images that ``cfg`` describes."""
    return build_representation(cfg, 2, 2).num_channels
