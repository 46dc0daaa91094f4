"""Doubts about the times of labels: too many or few, or far from the events.

A likely cause is another unit or start of the clock, if the times fit when they are read so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from etram_mmdet.events.choices import FROM_START
from etram_mmdet.events.preprocessing.frame_times import labels_per_s
from etram_mmdet.events.preprocessing.plausibility.limits import limit_of
from etram_mmdet.events.recording import Recording

_LEAST_LABEL_TIMES = 10  # with fewer, rate and covered time are not checked
WINDOW_US = 50_000  # a label so far outside may see no event at all
_LONG_GAP_US = 60_000_000  # gap from which the recording's last event is looked for


class _Cause(NamedTuple):
    """Another way to read the times of a recording.

    Attributes:
        text: the likely cause, for the message.
        options: command-line options that correct it.
        label_factor: factor for the label times. Default: 1.
        event_factor: factor for the event times. Default: 1.
        from_start: whether labels count from the recording's start. Default: False.
    """

    text: str
    options: str
    label_factor: float = 1.0
    event_factor: float = 1.0
    from_start: bool = False


LABELS_FROM_START = _Cause(
    "the labels count from the recording's start",
    f"--label-offset-us {FROM_START}",
    from_start=True,
)
_CAUSES = (
    LABELS_FROM_START,
    _Cause("label times are in milliseconds", "--label-time-unit ms", 1e3),
    _Cause("label times are in nanoseconds", "--label-time-unit ns", 1e-3),
    _Cause("event times are in milliseconds", "--event-time-unit ms", 1.0, 1e3),
    _Cause("event times are in nanoseconds", "--event-time-unit ns", 1.0, 1e-3),
    _Cause("all times are in milliseconds", "--event-time-unit ms --label-time-unit ms", 1e3, 1e3),
    _Cause("all times are in nanoseconds", "--event-time-unit ns --label-time-unit ns", 1e-3, 1e-3),
)


class Times(NamedTuple):
    """Times of the labels and events of a recording.

    Attributes:
        label_us: sorted unique label times (L,), in microseconds.
        t_first_us: time of the first event.
        t_last_us: time of the last event; ``None`` if it was not looked for.
        clock_start_us: as ``Recording.clock_start_us``.
        events_per_pixel: events in the whole recording divided by pixels; ``None`` if not counted.
        place_of: function that gives the place of a label time in its file, as text.
    """

    label_us: np.ndarray
    t_first_us: int
    t_last_us: int | None
    clock_start_us: int
    events_per_pixel: float | None = None
    place_of: Callable[[int], str] = "t = {} us".format


def doubts_about_times(times: Times) -> list[str]:
    """Doubts about the label times: one sentence with its likely cause, or none.

    Args:
        times: times of the labels and events.
    """
    faults = _time_faults(times)
    if not faults:
        return []
    # A wrong unit is wrong for all labels. So neither a few labels show it, nor a few odd ones
    # among many right ones.
    is_unit = len(times.label_us) >= _LEAST_LABEL_TIMES and (
        _rate_faults(times) or _are_many_outside(times)
    )
    causes = _CAUSES if is_unit else _CAUSES[:1]
    fits = (cause for cause in causes if not _time_faults(_read_otherwise(times, cause)))
    cause = next(fits, None)
    if cause:
        advice = f"likely cause: {cause.text}; use {cause.options}"
    elif _rate_faults(times):
        advice = "give the units of labels and events with --event-time-unit and --label-time-unit"
    else:
        advice = (
            "likely cause: labels of another recording; drop them with --drop-labels-outside, or "
            "shift all labels with --label-offset-us N"
        )
    return [f"{', '.join(faults)}; {advice}"]


def times_of(
    recording: Recording, label_us: np.ndarray, place_of: Callable[[int], str], *, to_the_end: bool
) -> Times:
    """Collect the times of the labels and events of a recording.

    Args:
        recording: the open recording.
        label_us: sorted unique label times (L,), in microseconds.
        place_of: function that gives the place of a label time in its file, as text.
        to_the_end: whether to find the last event, which reads the whole file unless it was read
            before.
    """
    t_last_us = events_per_pixel = None
    if to_the_end:
        t_last_us = recording.t_last_us
        events_per_pixel = recording.num_events / (recording.width * recording.height)
    return Times(
        label_us,
        recording.t_first_us,
        t_last_us,
        recording.clock_start_us,
        events_per_pixel,
        place_of,
    )


def is_worth_a_look(label_us: np.ndarray, t_first_us: int) -> bool:
    """Whether labels are so odd that the recording's last event must be known before it is used.

    Args:
        label_us: sorted unique label times (L,), in microseconds.
        t_first_us: time of the first event, in microseconds.
    """
    rate = labels_per_s(label_us)
    odd_rate = rate is not None and not limit_of("least_labels_per_s") <= rate <= limit_of(
        "most_labels_per_s"
    )
    return odd_rate or bool(np.diff(label_us, prepend=t_first_us).max(initial=0) > _LONG_GAP_US)


def _rounded(number: float) -> str:
    """A number with four digits, or all before the point, and no exponent."""
    return f"{float(f'{number:.4g}'):,.3f}".rstrip("0").rstrip(".")


def _read_otherwise(times: Times, cause: _Cause) -> Times:
    first, start = (int(t * cause.event_factor) for t in (times.t_first_us, times.clock_start_us))
    last = None if times.t_last_us is None else int(times.t_last_us * cause.event_factor)
    label_us = (times.label_us * cause.label_factor).astype(np.int64) + (
        start if cause.from_start else 0
    )
    return Times(np.unique(label_us), first, last, start, times.events_per_pixel)


def _time_faults(times: Times) -> list[str]:
    if not len(times.label_us):
        return []
    return [*_rate_faults(times), *_outside_faults(times)]


def _rate_faults(times: Times) -> list[str]:
    rate = labels_per_s(times.label_us)
    if rate is None:
        return []
    if rate > limit_of("most_labels_per_s"):
        return [f"there are {rate:,.0f} labels a second"]
    if times.t_last_us is None or len(times.label_us) < _LEAST_LABEL_TIMES:
        return []
    faults = []
    seconds = max(times.t_last_us - times.t_first_us, 1) / 1e6
    density = np.inf if times.events_per_pixel is None else times.events_per_pixel / seconds
    if rate < limit_of("least_labels_per_s") and density < limit_of("least_events_per_pixel_s"):
        faults.append(
            f"there is one label every {1 / rate:,.0f} s and {density:.3g} events per pixel and "
            "second"
        )
    covered = (times.label_us[-1] - times.label_us[0]) / 1e6 / seconds
    if covered < limit_of("least_covered_share"):
        faults.append(f"labels cover {100 * covered:.2g} % of a recording of {seconds:,.0f} s")
    return faults


def _distances_us(times: Times) -> tuple[np.ndarray, np.ndarray]:
    """Time of each label before the first event, and after the last one; negative if within."""
    early_us = times.t_first_us - times.label_us
    late_us = times.label_us - (times.label_us[-1] if times.t_last_us is None else times.t_last_us)
    return early_us, late_us


def _are_many_outside(times: Times) -> bool:
    is_outside = np.maximum(*_distances_us(times)) > WINDOW_US
    return is_outside.mean() > limit_of("most_outside_share") and is_outside.sum() > 1


def _outside_faults(times: Times) -> list[str]:
    early_us, late_us = _distances_us(times)
    return [
        *_distance_fault(times, early_us, limit_of("most_early_s"), "before the first event"),
        *_distance_fault(times, late_us, limit_of("most_late_s"), "after the last event"),
    ]


def _distance_fault(
    times: Times, distance_us: np.ndarray, most_s: float, where: str
) -> Iterator[str]:
    """A clause if labels lie too far outside the events in one direction, or too many outside."""
    farthest_us = distance_us.max()
    is_far = farthest_us > most_s * 1e6
    if not is_far and not (farthest_us > WINDOW_US and _are_many_outside(times)):
        return
    count = np.count_nonzero(distance_us > 0)
    is_every = count == len(distance_us)
    place = "" if is_every else f" ({times.place_of(times.label_us[distance_us.argmax()])})"
    yield (
        f"{count} of {len(distance_us)} label times lie {where}, up to "
        f"{_rounded(farthest_us / 1e6)} s{place}"
    )
