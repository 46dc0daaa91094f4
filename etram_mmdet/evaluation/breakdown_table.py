"""A breakdown as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

import numpy as np

from etram_mmdet.evaluation.average_precision import CONFIDENCE
from etram_mmdet.evaluation.breakdown import FALSE_ALARMS_PER_MIN, Breakdown, nan_mean, size_names
from etram_mmdet.utils.text import number, table

WORST = 5


def format_breakdown(breakdown: Breakdown) -> str:
    """Classes by size and false alarms, then day, night and the worst recordings, then the interval."""
    return "\n".join((*_classes(breakdown), "", *_parts(breakdown), "", _interval(breakdown)))


def as_dict(breakdown: Breakdown) -> dict:
    """Plain values for JSON; what has no ground truth is ``null``."""
    return dict(
        sides_sensor_px=size_names(),
        false_alarms_per_min=FALSE_ALARMS_PER_MIN,
        minutes=_plain(breakdown.minutes),
        classes={
            name: dict(
                ap_by_size=[_plain(ap) for ap in breakdown.ap_by_size[k]],
                boxes_by_size=breakdown.boxes_by_size[k].tolist(),
                recall_at_false_alarms=[_plain(recall) for recall in breakdown.recall[k]],
            )
            for k, name in enumerate(breakdown.classes)
        },
        light={light: asdict(part) for light, part in breakdown.by_light.items()},
        recordings={name: asdict(part) for name, part in breakdown.by_recording.items()},
        interval=breakdown.interval and dict(confidence=CONFIDENCE, **breakdown.interval._asdict()),
    )


def _classes(breakdown: Breakdown) -> list[str]:
    rates = [f"{rate}/min" for rate in FALSE_ALARMS_PER_MIN]
    rows = [["", *size_names(), "", *rates]]  # an empty column between sizes and rates
    for name, by_size, recall in zip(breakdown.classes, breakdown.ap_by_size, breakdown.recall, strict=True):
        rows.append([name, *_numbers(by_size), "", *_numbers(recall)])
    mean_by_size = [nan_mean(column) for column in breakdown.ap_by_size.T]
    mean_recall = [nan_mean(column) for column in breakdown.recall.T]
    rows.append(["all classes", *_numbers(mean_by_size), "", *_numbers(mean_recall)])
    rows.append(["boxes", *breakdown.boxes_by_size.sum(0), "", *[""] * len(rates)])
    return [
        "AP by side of the box in sensor pixels, and recall at false alarms per minute of a class (IoU .5); - no boxes",
        table(rows),
    ]


def _parts(breakdown: Breakdown) -> list[str]:
    known = [item for item in breakdown.by_recording.items() if item[1].ap is not None]
    worst = sorted(known, key=lambda item: item[1].ap)[:WORST]
    rows = [["", "frames", "boxes", "AP", "AP50"]]
    for name, part in (*breakdown.by_light.items(), *worst):
        rows.append([name, part.frames, part.boxes, number(part.ap, 4), number(part.ap50, 4)])
    head, *lines = table(rows).splitlines()
    return [f"{head}   the {len(worst)} lowest of {len(breakdown.by_recording)} recordings", *lines]


def _numbers(values: Iterable[float | None]) -> list[str]:
    return [number(value, 4) for value in values]


def _interval(breakdown: Breakdown) -> str:
    recordings = len(breakdown.by_recording)
    if breakdown.interval is None:
        return "one recording: how far AP would vary with others cannot be told"
    low, high = breakdown.interval
    few = "; a rough guess, they are few" if recordings < 10 else ""
    return f"AP {CONFIDENCE:.0%} interval over resamples of the {recordings} recordings: {low:.4f} to {high:.4f}{few}"


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
