"""The loop that detects in windows as they end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from etram_mmdet.deploy.inferencer import Inferencer, Window
from etram_mmdet.deploy.live import NEWEST
from etram_mmdet.deploy.live.backlog import Backlog
from etram_mmdet.deploy.live.report import Report
from etram_mmdet.deploy.live.windower import Windower

_TIMEOUT_S = 0.05


class LiveWindow(NamedTuple):
    """A window with its boxes, and how late they are.

    Attributes:
        window: window with its detections.
        late_s: seconds from the end of the window to the boxes.
        skipped: windows that were skipped or dropped directly before it.
    """

    window: Window
    late_s: float
    skipped: int


def follow(
    backlog: Backlog,
    inferencer: Inferencer,
    hw: tuple[int, int],
    policy: str,
    report: Report,
    due_s: Callable[[int], float | None] = lambda end_us: None,
    must_stop: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[LiveWindow]:
    """Detect in the windows of one source.

    State across a skip: the recurrent state is carried on unchanged. The next window that the
    network sees follows, for the network, directly the last one that it saw, as if the windows
    between them did not exist. Nothing is reset or faded.

    Args:
        backlog: packets of the source.
        inferencer: the detector.
        hw: height and width of the sensor, in pixels.
        policy: ``in-order``: every window. ``newest``: the last complete window; older ones that
            wait are skipped.
        report: counts, changed in place.
        due_s: time on ``clock`` at which an event of a time in microseconds is due, as
            ``Replay.due_s``; ``None`` if there is no schedule. Lateness is then counted from the
            arrival of the first packet beyond a window. Default: no schedule.
        must_stop: whether to end before the next window. Default: never.
        clock: gives the time in seconds. Default: the system's.
    """
    representation = inferencer.representation(*hw)
    stream = inferencer.new_stream()
    windower = Windower(inferencer.window_us, inferencer.step_us)
    left_out = 0
    is_over = False
    while not is_over:
        is_over = not _fill(windower, backlog, policy == NEWEST)
        ends = windower.ends(is_over)
        if policy == NEWEST and len(ends) > 1:
            report.skipped += len(ends) - 1
            left_out += len(ends) - 1
            ends = ends[-1:]
        while ends:
            if must_stop():
                return
            if number := windower.jump_over(ends[0]):
                number = min(number, len(ends))
                report.skipped += number
                left_out += number
                ends = ends[number:]
                continue
            end_us = ends[0]
            ends = ends[1:]
            passed_s = due_s(end_us)
            if passed_s is None:
                passed_s = windower.passed_s(end_us)
            events = windower.cut(end_us)
            if events is None:
                report.dropped += 1
                left_out += 1
                continue
            image = representation(events, (end_us - inferencer.window_us, end_us))
            window = inferencer.window(end_us, image, stream.look(image))
            late_s = clock() - passed_s
            report.windows += 1
            report.boxes += len(window.boxes)
            report.late.add(late_s)
            yield LiveWindow(window, late_s, left_out)
            left_out = 0
        if must_stop():
            return


def _fill(windower: Windower, backlog: Backlog, all_that_wait: bool) -> bool:
    """Take packets from the backlog; False if none will come any more."""
    arrivals = backlog.take(_TIMEOUT_S, all_that_wait)
    for events, arrived_s, clock_us, gap_us in arrivals or ():
        if gap_us is not None:
            windower.add_gap(*gap_us, arrived_s)
        windower.add(events, arrived_s, clock_us)
    return arrivals is not None
