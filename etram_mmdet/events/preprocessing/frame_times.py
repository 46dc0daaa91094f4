"""Choose the label times that become frames, and the end times of representations."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from etram_mmdet.events.choices import FrameRule
from etram_mmdet.events.limits import MAX_SPAN_US
from etram_mmdet.utils.errors import InputError

STEP_US = 50_000
JITTER_US = 2_000
_ALIGN_US = 100_000
_FIRST_EVENT_US = 100_000  # latest first event of a recording whose clock starts at 0
# Recordings start within their first second, or else have another zero (absolute time).
_CLOCK_START_US = 1_000_000


class Frames(NamedTuple):
    """Times of the frames and representations of a recording, int64 microseconds.

    Attributes:
        rule: rule by which the frames were chosen, ``rvt`` or ``all``.
        label_us: label times that are frames (F,).
        repr_us: end times of the representations (R,).
        repr_index: index of each frame's representation (F,).
    """

    rule: str
    label_us: np.ndarray
    repr_us: np.ndarray
    repr_index: np.ndarray


def start_us(t_first_us: int) -> int:
    """Start of a recording on its own clock, in microseconds.

    Recordings of eTraM and others begin at 0, which RVT takes for granted; their first event comes
    a moment later. Other clocks have another zero: such a recording begins with its first event.
    The grid of frames begins at :func:`clock_origin_us` instead, which follows RVT up to a second.

    Args:
        t_first_us: time of the first event, in microseconds.
    """
    return 0 if 0 <= t_first_us <= _FIRST_EVENT_US else t_first_us


def select_frames(
    label_us: np.ndarray,
    t_first_us: int,
    rule: FrameRule,
    window_us: int,
    label_period_us: int | None = None,
) -> Frames:
    """Choose the frames of a recording from its label times.

    A representation ends exactly at every frame. Between frames there are others, at most about
    every 50 ms (or every window, if that is shorter and the rule is ``all``). Before the first
    frame there is one at every usual step whose window lies fully within the recording.

    Args:
        label_us: sorted unique label times, int64 (L,) microseconds.
        t_first_us: time of the first event, in microseconds.
        rule: ``rvt`` for RVT's 10 Hz grid over labels at 30 or 60 Hz; ``all`` for every label time;
            ``auto`` for ``rvt`` if it applies, else ``all``.
        window_us: length of a representation's window, in microseconds.
        label_period_us: period of RVT's grid for other data sets (Gen1: 250,000), which has two
            representations per period. Default: the 10 Hz grid.

    Raises:
        InputError: when ``rvt`` does not apply, or labels and events have different clocks.
    """
    _check_same_clock(label_us, t_first_us)
    origin_us = clock_origin_us(t_first_us)
    obstacle = _obstacle_to_rvt(label_us - origin_us, label_period_us)
    if rule == "rvt" and obstacle:
        raise InputError(f"{obstacle}; use --frames all")
    if rule == "all" or obstacle:
        steps = _steps_between(label_us, window_us)
        before_us = _usual_step(label_us, steps, min(STEP_US, window_us))
        return _build("all", label_us, t_first_us, steps, window_us, before_us)
    frames_us, steps = _follow_grid(label_us - origin_us, label_period_us)
    # RVT steps back by 50 ms, whatever the window is.
    return _build("rvt", frames_us + origin_us, origin_us, steps, STEP_US, STEP_US)


def clock_origin_us(t_first_us: int) -> int:
    """Start of the grid of frames, in microseconds, as in RVT.

    It is 0 if the first event comes within the first second, else the time of the first event.

    Args:
        t_first_us: time of the first event, in microseconds.
    """
    return 0 if t_first_us <= _CLOCK_START_US else t_first_us


def _check_same_clock(label_us: np.ndarray, t_first_us: int) -> None:
    """Raise ``InputError`` for labels on another clock; they would need years of empty windows."""
    if max(t_first_us, label_us[-1]) - min(t_first_us, label_us[0]) > MAX_SPAN_US:
        raise InputError(
            f"labels from {label_us[0]} to {label_us[-1]} us are too far from the first event at "
            f"{t_first_us} us; use the same clock, in microseconds, for labels and events"
        )


def labels_per_s(label_us: np.ndarray) -> float | None:
    """Labels per second, from the median gap between label times; ``None`` for a single time.

    Args:
        label_us: sorted unique label times (L,), in microseconds.
    """
    return 1e6 / float(np.median(np.diff(label_us))) if len(label_us) > 1 else None


def _obstacle_to_rvt(label_us: np.ndarray, label_period_us: int | None) -> str:
    """Why RVT's rule does not apply; empty if it does."""
    rate_hz = labels_per_s(label_us) or 0.0
    if label_period_us is None and np.rint(rate_hz) not in (30, 60):
        return f"labels come at {rate_hz:.3g} Hz, RVT's frame rule needs 30 or 60 Hz"
    if label_us[-1] < _ALIGN_US:
        return "all labels lie in the first 100 ms, which RVT's frame rule skips"
    return ""


def _tenth_of_a_second_us(label_us: np.ndarray) -> int:
    """Three or six median gaps between labels at 30 or 60 Hz.

    So the grid follows a label clock that drifts.
    """
    gap_us = np.median(np.diff(label_us))
    return int((6 if np.rint(1e6 / gap_us) == 60 else 3) * gap_us)


def _follow_grid(label_us: np.ndarray, period_us: int | None) -> tuple[np.ndarray, list[int]]:
    """Label times on the grid, and the number of representation steps between them.

    A label time is on the grid if it lies close to a multiple of the period after the last one.
    """
    base_us = period_us or _tenth_of_a_second_us(label_us)
    first = int(np.searchsorted(label_us, _ALIGN_US, side="left"))
    frames_us = [int(label_us[first])]
    steps = []
    for time_us in label_us[first + 1 :].tolist():
        distance_us = time_us - frames_us[-1]
        count = round(distance_us / base_us)
        # Count 0: a second stamp within the jitter of the last one. RVT stops here with an
        # assertion.
        if count > 0 and abs(distance_us - count * base_us) <= JITTER_US:
            frames_us.append(time_us)
            steps.append(2 * count)
    return np.array(frames_us, np.int64), steps


def _steps_between(frames_us: np.ndarray, window_us: int) -> list[int]:
    """Number of steps between frames, of about 50 ms or a shorter window.

    No event is lost between the windows.
    """
    return np.maximum(-(-(np.diff(frames_us) - JITTER_US) // min(STEP_US, window_us)), 1).tolist()


def _usual_step(frames_us: np.ndarray, steps: list[int], longest_us: int) -> int:
    """Median step between representations, at most ``longest_us``: 33 ms for labels at 30 Hz."""
    if not steps:
        return longest_us
    return min(int(np.median(np.repeat(np.diff(frames_us) / steps, steps))), longest_us)


def _build(
    rule: str,
    frames_us: np.ndarray,
    start_us: int,
    steps: list[int],
    window_us: int,
    before_us: int,
) -> Frames:
    """Representation times before, between and at the frames.

    The windows of those before the first frame begin after ``start_us``.
    """
    first_us = int(frames_us[0])
    before = np.arange(first_us - before_us, start_us + window_us, -before_us, dtype=np.int64)[::-1]
    pieces = [before]
    for count, a_us, b_us in zip(steps, frames_us[:-1], frames_us[1:], strict=True):
        # Truncated as in RVT, hence steps of 49,999 to 50,001 us.
        pieces.append(np.linspace(a_us, b_us, count + 1).astype(np.int64)[:-1])
    repr_us = np.concatenate([*pieces, frames_us[-1:]])
    return Frames(rule, frames_us, repr_us, np.searchsorted(repr_us, frames_us, side="left"))
