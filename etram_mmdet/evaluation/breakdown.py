"""Where an AP comes from: sizes, light, recordings, false alarms, and how far it would vary with other recordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from etram_mmdet.evaluation.average_precision import Interval, PrecisionTable, interval, mean_ap, resamples
from etram_mmdet.evaluation.matching import Matches, match
from etram_mmdet.evaluation.results import FrameResult
from etram_mmdet.events.labels import day_or_night

SIDES_PX = (0, 8, 16, 32, 96, np.inf)  # square roots of areas in sensor pixels; from 32 on COCO's
FALSE_ALARMS_PER_MIN = (1, 10, 60)
IOU_50 = 0


@dataclass(frozen=True)
class Part:
    """AP over some of the recordings; ``None`` where they hold no box."""

    frames: int
    boxes: int
    ap: float | None
    ap50: float | None


@dataclass(frozen=True, eq=False)
class Breakdown:
    """Parts of the mean AP over K classes; NaN where there is no ground truth.

    ``ap_by_size`` and ``boxes_by_size`` (K, S) over the ranges between `SIDES_PX`, ``recall`` (K, R) at
    `FALSE_ALARMS_PER_MIN` of the class (IoU .5), over ``minutes`` of labelled frames. ``interval``: see there.
    """

    classes: tuple[str, ...]
    ap_by_size: np.ndarray
    boxes_by_size: np.ndarray
    recall: np.ndarray
    minutes: float
    by_light: dict[str, Part]
    by_recording: dict[str, Part]
    interval: Interval | None

    def metrics(self) -> dict[str, float]:
        """What has one number, without what has no ground truth."""
        sizes = zip(size_names(), map(nan_mean, self.ap_by_size.T), strict=True)
        recalls = zip(FALSE_ALARMS_PER_MIN, map(nan_mean, self.recall.T), strict=True)
        found = {f"AP_{name}_sensor_px": ap for name, ap in sizes}
        found |= {f"AP_{light}": part.ap for light, part in self.by_light.items()}
        found |= {f"recall_at_{rate}_fp_per_min": recall for rate, recall in recalls}
        if self.interval is not None:
            found |= dict(AP_low=self.interval.low, AP_high=self.interval.high)
        return {key: float(value) for key, value in found.items() if value is not None}


def break_down(frames: Sequence[FrameResult], classes: Sequence[str]) -> Breakdown:
    matches = match(frames)
    names = sorted({frame.recording for frame in frames})
    recording_of_frame = np.array([names.index(frame.recording) for frame in frames])
    table = PrecisionTable(matches, len(classes), recording_of_frame)
    lights = [day_or_night(name) for name in names]
    of_light = {light: np.array([each == light for each in lights]) for light in ("day", "night") if light in lights}
    of_name = dict(zip(names, np.eye(len(names), dtype=bool), strict=True))
    frames_of_recording = np.bincount(recording_of_frame)
    minutes = labelled_minutes(frames)
    return Breakdown(
        tuple(classes),
        *_by_size(frames, len(classes), recording_of_frame),
        recall=recall_at_false_alarms(matches, len(classes), minutes),
        minutes=minutes,
        by_light=_parts(table, of_light, frames_of_recording),
        by_recording=_parts(table, of_name, frames_of_recording),
        interval=interval(table.average_precision(resamples(len(names)))) if len(names) > 1 else None,
    )


def size_names() -> list[str]:
    """Ranges of the side, such as 8-16, the last one open."""
    ranges = pairwise(SIDES_PX)
    return [f"{low}-{high}" if high < np.inf else f"{low}+" for low, high in ranges]


def nan_mean(values: np.ndarray) -> float | None:
    """``None`` where all are NaN."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else None


def labelled_minutes(frames: Sequence[FrameResult]) -> float:
    """Time that labelled frames stand for: in each recording their number times the usual distance between two.

    A single frame counts as one of the others would; NaN where no recording has two.
    """
    times: dict[str, list[int]] = {}
    for frame in frames:
        times.setdefault(frame.recording, []).append(frame.t_us)
    steps_us = {name: float(np.median(np.diff(np.sort(each)))) for name, each in times.items() if len(each) > 1}
    usual_us = float(np.median(list(steps_us.values()))) if steps_us else np.nan
    return sum(len(each) * steps_us.get(name, usual_us) for name, each in times.items()) / 60e6


def recall_at_false_alarms(matches: Matches, num_classes: int, minutes: float) -> np.ndarray:
    """Share of the boxes of each class found at IoU .5 where its false alarms are limited: (K, R).

    NaN without boxes. Detections of equal score are taken together or not at all, as a threshold would.
    """
    recall = np.full((num_classes, len(FALSE_ALARMS_PER_MIN)), np.nan)
    for k in range(num_classes):
        rows = matches.detections.labels == k
        boxes = (matches.counts & (matches.truth.labels == k)).sum()
        if not boxes or np.isnan(minutes):
            continue
        hit = matches.is_hit[IOU_50, rows]
        scores = matches.scores[rows]
        is_end = np.append(scores[1:] != scores[:-1], True)[: len(scores)]
        alarms_per_min = np.cumsum(matches.is_alarm[IOU_50, rows])[is_end] / minutes
        hits = np.cumsum(hit)[is_end]
        for r, most in enumerate(FALSE_ALARMS_PER_MIN):
            recall[k, r] = hits[alarms_per_min <= most].max(initial=0) / boxes
    return recall


def _by_size(
    frames: Sequence[FrameResult], num_classes: int, recording_of_frame: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    ap = []
    boxes = []
    for low, high in pairwise(SIDES_PX):
        matches = match(frames, is_ignored=lambda areas, low=low, high=high: (areas < low**2) | (areas >= high**2))
        table = PrecisionTable(matches, num_classes, recording_of_frame)
        ap.append(table.average_precision()[..., 0].mean(1))
        boxes.append(table.boxes.sum(1))
    return np.stack(ap, 1), np.stack(boxes, 1)


def _parts(table: PrecisionTable, parts: dict[str, np.ndarray], frames: np.ndarray) -> dict[str, Part]:
    """``parts``: which recordings (R,) are in each; ``frames``: number of frames of each recording (R,)."""
    if not parts:
        return {}
    precision = table.average_precision(np.stack(list(parts.values()), 1))  # (K, T, parts)
    boxes = table.boxes.sum(0)
    return {
        name: Part(
            int(frames[is_in].sum()),
            int(boxes[is_in].sum()),
            mean_ap(precision[..., i]),
            mean_ap(precision[:, : IOU_50 + 1, i]),
        )
        for i, (name, is_in) in enumerate(parts.items())
    }
