"""Check whether labels and events fit together; report doubts with likely cause and remedy.

A wrong unit, clock, order or box format raises no error: the dataset would be made from wrong
moments or places.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from etram_mmdet.events.choices import FROM_START
from etram_mmdet.events.preprocessing.box_activity import AS_THEY_ARE, BoxActivity, Reading
from etram_mmdet.events.preprocessing.frame_times import Frames, labels_per_s
from etram_mmdet.events.recording import Recording
from etram_mmdet.utils.text import percent


class Limit(NamedTuple):
    """Limit of a check.

    Attributes:
        value: a recording beyond it is reported as a problem.
        reason: why the limit has this value.
    """

    value: float
    reason: str


# A recording beyond these limits is a problem. docs/data.md shows this table; a test compares.
LIMITS = {
    "most_labels_per_s": Limit(
        500, "no camera or tracker labels faster; times in ms that are read as us exceed it"
    ),
    "least_labels_per_s": Limit(
        0.2,
        "labels of a video come faster; times in ns that are read as us give fewer labels and rare "
        "events",
    ),
    "least_events_per_pixel_s": Limit(0.05, "the noise of an event camera alone makes more"),
    "most_early_s": Limit(0.2, "labels cannot lie before the camera's start"),
    "most_late_s": Limit(1.0, "a camera sends events, at least noise, until the end"),
    "most_outside_share": Limit(0.1, "a few labels may lie just outside a recording"),
    "least_covered_share": Limit(
        0.002, "labels in another unit cover a thousandth; fewer than ten labels are not checked"
    ),
    "least_kept_share": Limit(
        0.5, "RVT's rule should keep a label in nearly every labelled tenth of a second"
    ),
    "most_outside_boxes_share": Limit(0.2, "boxes lie on the sensor, apart from some at its edge"),
    "corner_boxes_share": Limit(
        0.95, "w above x and h above y in nearly all boxes means second corners instead of sizes"
    ),
    "least_cut_corner_boxes_share": Limit(
        0.2, "corners that are read as sizes reach beyond the sensor in most of the image"
    ),
    "better_reading": Limit(
        1.25,
        "right labels of 110 streets reached 1.10, random ones 1.13; wrong ones mostly exceed 1.3",
    ),
    "least_activity": Limit(
        0.5,
        "moving objects make events; the least active right boxes had 0.9 of the image's activity",
    ),
    "least_busier_share": Limit(
        0.65,
        "moving boxes hold more events per pixel than their surroundings: 97 % and more of right "
        "ones, 28 to 72 % of those of other recordings",
    ),
    "least_busier_share_mended": Limit(
        0.75, "boxes of other recordings reach 0.69 at their best shift, right ones 0.9"
    ),
    "most_rate_ratio": Limit(
        1.2, "recordings with more frames a second count more in AP and false alarms"
    ),
}
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


_CAUSES = (
    _Cause(
        "the labels count from the recording's start",
        f"--label-offset-us {FROM_START}",
        from_start=True,
    ),
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


def doubts_before_reading(
    recording: Recording,
    labels: np.ndarray,
    label_us: np.ndarray,
    box_format: str,
    place_of: Callable[[int], str],
) -> list[str]:
    """Doubts about labels before the recording is read, one sentence each.

    If label times are very odd, the whole recording is read for the time of its last event.

    Args:
        recording: the open recording.
        labels: boxes with finite numbers (``BBOX_DTYPE``, sensor pixels).
        label_us: all times that were labelled, sorted (L,), in microseconds.
        box_format: ``xywh``, ``cxcywh`` or ``xyxy``, as the labels were read.
        place_of: function that gives the place of a label time in its file, as text.
    """
    to_the_end = is_worth_a_look(label_us, recording.t_first_us)
    return [
        *doubts_about_times(times_of(recording, label_us, place_of, to_the_end=to_the_end)),
        *doubts_about_boxes(labels, recording.width, recording.height, box_format),
    ]


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
    if not to_the_end:
        return Times(
            label_us, recording.t_first_us, None, recording.clock_start_us, place_of=place_of
        )
    density = recording.num_events / (recording.width * recording.height)
    return Times(
        label_us,
        recording.t_first_us,
        recording.t_last_us,
        recording.clock_start_us,
        density,
        place_of,
    )


def is_worth_a_look(label_us: np.ndarray, t_first_us: int) -> bool:
    """Whether labels are so odd that the recording's last event must be known before it is used.

    Args:
        label_us: sorted unique label times (L,), in microseconds.
        t_first_us: time of the first event, in microseconds.
    """
    rate = labels_per_s(label_us)
    odd_rate = rate is not None and not _limit("least_labels_per_s") <= rate <= _limit(
        "most_labels_per_s"
    )
    return odd_rate or bool(np.diff(label_us, prepend=t_first_us).max(initial=0) > _LONG_GAP_US)


def _rounded(number: float) -> str:
    """A number with four digits, or all before the point, and no exponent."""
    return f"{float(f'{number:.4g}'):,.3f}".rstrip("0").rstrip(".")


def _limit(name: str) -> float:
    return LIMITS[name].value


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
    if rate > _limit("most_labels_per_s"):
        return [f"there are {rate:,.0f} labels a second"]
    if times.t_last_us is None or len(times.label_us) < _LEAST_LABEL_TIMES:
        return []
    faults = []
    seconds = max(times.t_last_us - times.t_first_us, 1) / 1e6
    density = np.inf if times.events_per_pixel is None else times.events_per_pixel / seconds
    if rate < _limit("least_labels_per_s") and density < _limit("least_events_per_pixel_s"):
        faults.append(
            f"there is one label every {1 / rate:,.0f} s and {density:.3g} events per pixel and "
            "second"
        )
    covered = (times.label_us[-1] - times.label_us[0]) / 1e6 / seconds
    if covered < _limit("least_covered_share"):
        faults.append(f"labels cover {100 * covered:.2g} % of a recording of {seconds:,.0f} s")
    return faults


def _distances_us(times: Times) -> tuple[np.ndarray, np.ndarray]:
    """Time of each label before the first event, and after the last one; negative if within."""
    early_us = times.t_first_us - times.label_us
    late_us = times.label_us - (times.label_us[-1] if times.t_last_us is None else times.t_last_us)
    return early_us, late_us


def _are_many_outside(times: Times) -> bool:
    is_outside = np.maximum(*_distances_us(times)) > WINDOW_US
    return is_outside.mean() > _limit("most_outside_share") and is_outside.sum() > 1


def _outside_faults(times: Times) -> list[str]:
    early_us, late_us = _distances_us(times)
    are_many = _are_many_outside(times)
    faults = []
    for distance_us, limit, where in (
        (early_us, _limit("most_early_s"), "before the first event"),
        (late_us, _limit("most_late_s"), "after the last event"),
    ):
        count = np.count_nonzero(distance_us > 0)
        if distance_us.max() > limit * 1e6 or (are_many and (distance_us > WINDOW_US).any()):
            most = distance_us.max() / 1e6
            place = (
                ""
                if count == len(distance_us)
                else f" ({times.place_of(times.label_us[distance_us.argmax()])})"
            )
            faults.append(
                f"{count} of {len(distance_us)} label times lie {where}, up to "
                f"{_rounded(most)} s{place}"
            )
    return faults


def doubts_about_frames(label_us: np.ndarray, frames: Frames) -> list[str]:
    """A sentence if the 10 Hz frame rule lost most labels, as it does if their times jitter.

    Args:
        label_us: all times that were labelled, sorted (L,), in microseconds.
        frames: the chosen frames.
    """
    if frames.rule != "rvt":
        return []
    seen = label_us[label_us >= frames.label_us[0]]
    expected = len(np.unique((seen - seen[0] + 50_000) // 100_000))
    if len(frames.label_us) >= _limit("least_kept_share") * expected:
        return []
    return [
        f"RVT's frame rule keeps only {len(frames.label_us)} of about {expected} labels at 10 Hz; "
        "likely cause: label times jitter by more than the 2 ms that it allows; use --frames all"
    ]


def doubts_about_boxes(boxes: np.ndarray, width: int, height: int, box_format: str) -> list[str]:
    """A sentence if boxes seem to hold two corners, or lie outside the sensor.

    Args:
        boxes: boxes (``BBOX_DTYPE``, sensor pixels) as they were read.
        width: columns of the sensor.
        height: rows of the sensor.
        box_format: ``xywh``, ``cxcywh`` or ``xyxy``, as the boxes were read.
    """
    if not len(boxes):
        return []
    x, y, w, h = (boxes[name] for name in "xywh")
    cut = (x + w > width) | (y + h > height)
    like_corners = ((w > x) & (h > y)).mean()
    if (
        box_format == "xywh"
        and like_corners >= _limit("corner_boxes_share")
        and cut.mean() > _limit("least_cut_corner_boxes_share")
    ):
        return [
            f"{percent(cut.mean(), 0)} of the boxes reach over the sensor of {width}x{height}, and "
            f"{percent(like_corners, 0)} have w > x and h > y; likely cause: boxes are stored as "
            "two corners; use --box-format xyxy"
        ]
    outside = ((x >= width) | (y >= height) | (x + w <= 0) | (y + h <= 0)).mean()
    if outside <= _limit("most_outside_boxes_share"):
        return []
    return [
        f"{percent(outside, 0)} of the boxes lie outside the sensor of {width}x{height}; likely "
        "cause: they were drawn on images of another size, or the sensor's size was guessed "
        "wrongly; give it with --sensor WIDTH HEIGHT"
    ]


def doubts_about_activity(activity: BoxActivity, box_format: str) -> list[str]:
    """A sentence if moving boxes hold too few events, or more events when read in another way.

    Args:
        activity: measured activity in the boxes.
        box_format: ``xywh``, ``cxcywh`` or ``xyxy``, as the boxes were read.
    """
    compared = activity.compare()
    if AS_THEY_ARE not in compared:
        return []
    least = _limit("better_reading")
    gains = {
        reading: other / max(own, 1e-9)
        for reading, (other, own) in compared.items()
        if other > least and not (reading.is_centre and box_format != "xywh")
    }
    best = max(gains, key=gains.get, default=AS_THEY_ARE)
    share = compared[AS_THEY_ARE][0]
    found = f"moving boxes hold {share:.2f} times as many events per pixel as the whole image"
    are_foreign = _is_below(activity, AS_THEY_ARE, "least_busier_share")
    is_mended = not (are_foreign and _is_below(activity, best, "least_busier_share_mended"))
    if best != AS_THEY_ARE and gains[best] > least and is_mended:
        other = compared[best][0]
        if best.is_centre:
            return [
                f"{found}, but {other:.2f} times if x and y are read as box centres; likely cause: "
                "x and y are centres; use --box-format cxcywh"
            ]
        if best.offset_us in activity.offsets_us:
            option = f"likely cause: {_CAUSES[0].text}; use {_CAUSES[0].options}"
        else:
            option = f"likely cause: their clock is off; use --label-offset-us {best.offset_us}"
        return [
            f"{found}, but {other:.2f} times if the labels are shifted by "
            f"{best.offset_us / 1e6:+.4g} s; {option}"
        ]
    if are_foreign:
        busier = percent(activity.busier_share(), 0)
        found = (
            f"only {busier} of the moving boxes hold more events per pixel than their surroundings"
        )
    elif share >= _limit("least_activity"):
        return []
    return [
        f"{found}; likely cause: labels of another recording, or another clock; shift the labels "
        "with --label-offset-us N"
    ]


def _is_below(activity: BoxActivity, reading: Reading, limit: str) -> bool:
    share = activity.busier_share(reading)
    return share is not None and share < _limit(limit)


def differing_rates(rates: Iterable[tuple[str, float | None]]) -> str:
    """A sentence if the frame rates of recordings differ too much; else empty.

    Args:
        rates: name and labelled frames per second of each recording; ``None`` if unknown.
    """
    known = sorted(((rate, name) for name, rate in rates if rate), key=lambda pair: pair[0])
    if not known or known[-1][0] <= _limit("most_rate_ratio") * known[0][0]:
        return ""
    named = defaultdict(list)
    for rate, name in known:
        named[f"{rate:.2g}"].append(name)
    listed = ", ".join(
        f"{rate} Hz in {len(names)} ({names[0]}{', ...' if names[1:] else ''})"
        for rate, names in named.items()
    )
    return (
        f"recordings have labelled frames at different rates: {listed}; those with more frames "
        "count more in AP and false alarms. Use label files of one rate, or --frames all if their "
        "labels have the same rate"
    )
