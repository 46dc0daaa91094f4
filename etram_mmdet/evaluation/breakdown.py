"""Where an AP comes from: sizes, light, recordings, false alarms, and how far it would vary with other recordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from etram_mmdet.evaluation.average_precision import Interval, PrecisionTable, interval, mean_ap
from etram_mmdet.evaluation.matching import Matches, match
from etram_mmdet.evaluation.operating_points import SCORE_THR
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

    Attributes:
        ap_by_size: (K, S) over the ranges between `SIDES_PX`.
        boxes_by_size: (K, S).
        recall: (K, R) of each class where so many of its detections match nothing: `FALSE_ALARMS_PER_MIN`, IoU .5.
        recall_of_all: (R,) of all classes where so many detections of any class match nothing.
        alarms_per_min: (K,) detections that match nothing, from a score of `SCORE_THR` on, IoU .5.
        minutes: of stream that the frames stand for.
        empty_frames: number of frames without a box.
        interval: of the mean AP, see there.
    """

    classes: tuple[str, ...]
    ap_by_size: np.ndarray
    boxes_by_size: np.ndarray
    recall: np.ndarray
    recall_of_all: np.ndarray
    alarms_per_min: np.ndarray
    minutes: float
    empty_frames: int
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
        of_all = zip(FALSE_ALARMS_PER_MIN, self.recall_of_all, strict=True)
        found |= {f"recall_of_all_at_{rate}_fp_per_min": recall for rate, recall in of_all if not np.isnan(recall)}
        found["fp_per_min"] = self.alarms_per_min.sum()
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
    minutes = stream_minutes(frames)
    recall, recall_of_all = recall_at_false_alarms(matches, len(classes), minutes)
    alarms = matches.detections.labels[matches.is_alarm[IOU_50] & (matches.scores >= np.float32(SCORE_THR))]
    return Breakdown(
        tuple(classes),
        *_by_size(frames, len(classes), recording_of_frame),
        recall=recall,
        recall_of_all=recall_of_all,
        alarms_per_min=np.bincount(alarms, minlength=len(classes)) / minutes,
        minutes=minutes,
        empty_frames=sum(not len(frame.truth) for frame in frames),
        by_light=_parts(table, of_light, frames_of_recording),
        by_recording=_parts(table, of_name, frames_of_recording),
        interval=interval(table),
    )


def size_names() -> list[str]:
    """Ranges of the side, such as 8-16, the last one open."""
    ranges = pairwise(SIDES_PX)
    return [f"{low}-{high}" if high < np.inf else f"{low}+" for low, high in ranges]


def nan_mean(values: np.ndarray) -> float | None:
    """``None`` where all are NaN."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else None


def stream_minutes(frames: Sequence[FrameResult]) -> float:
    """Time of stream that evaluated frames stand for: each is one window of it, and windows are a step apart.

    Labels are rarer than windows, so counting by the distance of labels would leave out what is seen in between.
    """
    return sum(frame.step_us for frame in frames) / 60e6


def is_measurable(minutes: float) -> np.ndarray:
    """Which of `FALSE_ALARMS_PER_MIN` allow one false alarm at all in so many minutes: (R,) bool."""
    return np.array(FALSE_ALARMS_PER_MIN) * minutes >= 1


def recall_at_false_alarms(matches: Matches, num_classes: int, minutes: float) -> tuple[np.ndarray, np.ndarray]:
    """Share of the boxes found at IoU .5 where false alarms are limited: of each class (K, R), and of all (R,).

    NaN without boxes, and where the minutes are too few to measure the rate. What classes without boxes are seen in
    counts among the false alarms of all.
    """
    classes = [matches.detections.labels == k for k in range(num_classes)]
    boxes = np.bincount(matches.truth.labels[matches.counts], minlength=num_classes)
    recall = [_recall(matches, rows, count, minutes) for rows, count in zip(classes, boxes, strict=True)]
    return np.stack(recall), _recall(matches, slice(None), boxes.sum(), minutes)


def _recall(matches: Matches, rows: np.ndarray | slice, boxes: int, minutes: float) -> np.ndarray:
    """Of some detections (R,); those of equal score are taken together or not at all, as a threshold would."""
    scores = matches.scores[rows]
    is_end = np.append(scores[1:] != scores[:-1], True)[: len(scores)]
    alarms_per_min = np.cumsum(matches.is_alarm[IOU_50, rows])[is_end] / minutes
    hits = np.cumsum(matches.is_hit[IOU_50, rows])[is_end]
    found = [hits[alarms_per_min <= most].max(initial=0) for most in FALSE_ALARMS_PER_MIN]
    return np.where(is_measurable(minutes), found, np.nan) / (boxes or np.nan)


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
