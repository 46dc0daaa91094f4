"""Breakdown of an AP: by box size, light and recording, with false alarms and an interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np

from etram_mmdet.evaluation.average_precision import (
    Interval,
    PrecisionTable,
    interval,
    mean_ap,
    nan_mean,
)
from etram_mmdet.evaluation.frame_columns import FrameColumns
from etram_mmdet.evaluation.matching import Matches, match_pairs
from etram_mmdet.evaluation.operating_points import SCORE_THR
from etram_mmdet.evaluation.pairs import BoxTable, Overlaps, Pairs
from etram_mmdet.evaluation.results import FrameResult
from etram_mmdet.events.labels import day_or_night

# square roots of box areas in sensor pixels; the borders 32 and 96 are those of COCO
SIDES_PX = (0, 8, 16, 32, 96, np.inf)
FALSE_ALARMS_PER_MIN = (1, 10, 60)
IOU_50 = 0


@dataclass(frozen=True)
class Part:
    """AP over some of the recordings.

    Attributes:
        frames: number of evaluated frames.
        boxes: number of ground-truth boxes.
        ap: mean AP over IoU .50 to .95; ``None`` without boxes.
        ap50: mean AP at IoU .5; ``None`` without boxes.
    """

    frames: int
    boxes: int
    ap: float | None
    ap50: float | None


@dataclass(frozen=True, eq=False)
class Breakdown:
    """Breakdown of the mean AP over K classes; NaN where there is no ground truth.

    Attributes:
        classes: names of the K classes.
        ap_by_size: (K, S) AP over the S ranges of the box side between `SIDES_PX`.
        boxes_by_size: (K, S) number of boxes.
        recall: (K, R) recall of each class at IoU .5, with at most `FALSE_ALARMS_PER_MIN` false
            alarms of that class per minute.
        recall_of_all: (R,) recall over all classes, with at most so many false alarms of all
            classes together.
        alarms_per_min: (K,) false alarms per minute of stream: detections that match no box at IoU
            .5, with scores of at least `SCORE_THR`.
        minutes: duration of the evaluated stream, see :func:`stream_minutes`.
        empty_frames: number of frames without a box.
        by_light: AP by day and by night, by name.
        by_recording: AP of each recording, by name.
        interval: confidence interval of the mean AP, see :func:`interval`.
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
        """Single numbers of the breakdown by name, without those that have no ground truth."""
        sizes = zip(size_names(), map(nan_mean, self.ap_by_size.T), strict=True)
        recalls = zip(FALSE_ALARMS_PER_MIN, map(nan_mean, self.recall.T), strict=True)
        found = {f"AP_{name}_sensor_px": ap for name, ap in sizes}
        found |= {f"AP_{light}": part.ap for light, part in self.by_light.items()}
        found |= {f"recall_at_{rate}_fp_per_min": recall for rate, recall in recalls}
        of_all = zip(FALSE_ALARMS_PER_MIN, self.recall_of_all, strict=True)
        found |= {
            f"recall_of_all_at_{rate}_fp_per_min": recall
            for rate, recall in of_all
            if not np.isnan(recall)
        }
        found["fp_per_min"] = self.alarms_per_min.sum()
        if self.interval is not None:
            found |= dict(AP_low=self.interval.low, AP_high=self.interval.high)
        return {key: float(value) for key, value in found.items() if value is not None}


def break_down(
    frames: Sequence[FrameResult] | FrameColumns, classes: Sequence[str], pairs: Pairs | None = None
) -> Breakdown:
    """Break the AP of an evaluation down by size, light and recording.

    Args:
        frames: evaluated frames, with truth and detections.
        classes: names of the K classes.
        pairs: pairs of these frames. Default: they are searched for.
    """
    columns = FrameColumns.of(frames)
    pairs = pairs or Overlaps(columns).ranked()
    matches = match_pairs(pairs)
    names = sorted({columns.names[i] for i in np.unique(columns.recordings)})
    number = np.array([names.index(n) if n in names else -1 for n in columns.names], np.int64)
    recording_of_frame = number[columns.recordings]
    table = PrecisionTable(matches, len(classes), recording_of_frame)
    lights = [day_or_night(name) for name in names]
    of_light = {
        light: np.array([each == light for each in lights])
        for light in ("day", "night")
        if light in lights
    }
    of_name = dict(zip(names, np.eye(len(names), dtype=bool), strict=True))
    frames_of_recording = np.bincount(recording_of_frame)
    minutes = stream_minutes(columns)
    at_50 = matches.at(IOU_50)
    recall, recall_of_all = recall_at_false_alarms(at_50, len(classes), minutes)
    alarms = at_50.detections.labels[
        at_50.is_alarm[IOU_50] & (at_50.scores >= np.float32(SCORE_THR))
    ]
    return Breakdown(
        tuple(classes),
        *_by_size(pairs, len(classes), recording_of_frame),
        recall=recall,
        recall_of_all=recall_of_all,
        alarms_per_min=np.bincount(alarms, minlength=len(classes)) / minutes,
        minutes=minutes,
        empty_frames=int((columns.truth.counts == 0).sum()),
        by_light=_parts(table, of_light, frames_of_recording),
        by_recording=_parts(table, of_name, frames_of_recording),
        interval=interval(table),
    )


def size_names() -> list[str]:
    """Names of the ranges between `SIDES_PX`, such as ``8-16``; the last one is open (``96+``)."""
    ranges = pairwise(SIDES_PX)
    return [f"{low}-{high}" if high < np.inf else f"{low}+" for low, high in ranges]


def stream_minutes(frames: Sequence[FrameResult] | FrameColumns) -> float:
    """Minutes of stream that the evaluated frames cover: one window per frame, one step per window.

    Labels are rarer than windows. Time counted from label to label would include windows whose
    false alarms are not counted.

    Args:
        frames: evaluated frames.
    """
    return int(FrameColumns.of(frames).step_us.sum()) / 60e6


def is_measurable(minutes: float) -> np.ndarray:
    """Whether a stream is long enough for at least one false alarm at each of R rates.

    Args:
        minutes: duration of the stream.

    Returns:
        (R,) bool, one per rate in `FALSE_ALARMS_PER_MIN`.
    """
    return np.array(FALSE_ALARMS_PER_MIN) * minutes >= 1


def recall_at_false_alarms(
    matches: Matches, num_classes: int, minutes: float
) -> tuple[np.ndarray, np.ndarray]:
    """Recall at IoU .5 for a limited number of false alarms per minute.

    Args:
        matches: matched detections; the first IoU threshold is .5.
        num_classes: number of classes, K.
        minutes: duration of the stream.

    Returns:
        Recall of each class (K, R) and of all classes together (R,), at the R rates of
        `FALSE_ALARMS_PER_MIN`. NaN without boxes, and where the stream is too short to measure the
        rate. Detections of classes without boxes count among the false alarms of all classes.
    """
    classes = [matches.detections.labels == k for k in range(num_classes)]
    boxes = np.bincount(matches.truth.labels[matches.counts], minlength=num_classes)
    recall = [
        _recall(matches, rows, count, minutes) for rows, count in zip(classes, boxes, strict=True)
    ]
    return np.stack(recall), _recall(matches, slice(None), boxes.sum(), minutes)


def _recall(matches: Matches, rows: np.ndarray | slice, boxes: int, minutes: float) -> np.ndarray:
    """Recall (R,) over some detections.

    Detections of equal score are accepted together or not at all, as a threshold would do.
    """
    scores = matches.scores[rows]
    is_end = np.append(scores[1:] != scores[:-1], True)[: len(scores)]
    alarms_per_min = np.cumsum(matches.is_alarm[IOU_50, rows])[is_end] / minutes
    hits = np.cumsum(matches.is_hit[IOU_50, rows])[is_end]
    found = [hits[alarms_per_min <= most].max(initial=0) for most in FALSE_ALARMS_PER_MIN]
    return np.where(is_measurable(minutes), found, np.nan) / (boxes or np.nan)


def _by_size(
    pairs: Pairs, num_classes: int, recording_of_frame: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    ap = []
    boxes = []
    for low, high in pairwise(SIDES_PX):
        matches = match_pairs(pairs, partial(_is_outside, low_px=low, high_px=high))
        table = PrecisionTable(matches, num_classes, recording_of_frame)
        ap.append(table.average_precision()[..., 0].mean(1))
        boxes.append(table.boxes.sum(1))
    return np.stack(ap, 1), np.stack(boxes, 1)


def _is_outside(boxes: BoxTable, low_px: float, high_px: float) -> np.ndarray:
    return (boxes.areas_px2 < low_px**2) | (boxes.areas_px2 >= high_px**2)


def _parts(
    table: PrecisionTable, parts: dict[str, np.ndarray], frames: np.ndarray
) -> dict[str, Part]:
    """AP of parts of the data, by name.

    ``parts`` says which recordings (R,) belong to each part; ``frames`` is the number of frames of
    each recording (R,).
    """
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
