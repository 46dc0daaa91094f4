"""A breakdown of AP as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

import numpy as np

from etram_mmdet.evaluation.average_precision import CONFIDENCE, MIN_RECORDINGS, nan_mean
from etram_mmdet.evaluation.breakdown import (
    FALSE_ALARMS_PER_MIN,
    Breakdown,
    is_measurable,
    size_names,
)
from etram_mmdet.evaluation.operating_points import SCORE_THR
from etram_mmdet.utils.text import number, table

WORST = 5


def format_breakdown(breakdown: Breakdown) -> str:
    """Breakdown as text: classes by size and false alarms, day and night, recordings, interval.

    Args:
        breakdown: breakdown of one evaluation. Of its recordings the `WORST` with the lowest AP are
            listed.
    """
    return "\n".join((*_classes(breakdown), "", *_parts(breakdown), "", _interval(breakdown)))


def as_dict(breakdown: Breakdown) -> dict:
    """Breakdown as plain values for JSON; values without ground truth are ``null``.

    Args:
        breakdown: breakdown of one evaluation.
    """
    return dict(
        sides_sensor_px=size_names(),
        false_alarms_per_min=FALSE_ALARMS_PER_MIN,
        score_thr=SCORE_THR,
        minutes=breakdown.minutes,
        empty_frames=breakdown.empty_frames,
        classes={
            name: dict(
                ap_by_size=[_plain(ap) for ap in breakdown.ap_by_size[k]],
                boxes_by_size=breakdown.boxes_by_size[k].tolist(),
                recall_at_false_alarms=[_plain(recall) for recall in breakdown.recall[k]],
                false_alarms_per_min=float(breakdown.alarms_per_min[k]),
            )
            for k, name in enumerate(breakdown.classes)
        },
        all_classes=dict(
            recall_at_false_alarms=[_plain(recall) for recall in breakdown.recall_of_all],
            false_alarms_per_min=float(breakdown.alarms_per_min.sum()),
        ),
        light={light: asdict(part) for light, part in breakdown.by_light.items()},
        recordings={name: asdict(part) for name, part in breakdown.by_recording.items()},
        interval=breakdown.interval and dict(confidence=CONFIDENCE, **breakdown.interval._asdict()),
    )


def _classes(breakdown: Breakdown) -> list[str]:
    rates = [f"{rate}/min" for rate in FALSE_ALARMS_PER_MIN]
    alarms = breakdown.alarms_per_min
    # an empty column between sizes and rates
    rows = [["", *size_names(), "", *rates, "alarms/min"]]
    for k, name in enumerate(breakdown.classes):
        recall = _recall(breakdown.recall[k], breakdown)
        rows.append([name, *_numbers(breakdown.ap_by_size[k]), "", *recall, number(alarms[k], 1)])
    mean_by_size = [nan_mean(column) for column in breakdown.ap_by_size.T]
    mean_recall = [nan_mean(column) for column in breakdown.recall.T]
    rows.append(["mean", *_numbers(mean_by_size), "", *_recall(mean_recall, breakdown), ""])
    of_all = _recall(breakdown.recall_of_all, breakdown)
    rows.append(["all classes", *[""] * len(size_names()), "", *of_all, number(alarms.sum(), 1)])
    rows.append(["boxes", *breakdown.boxes_by_size.sum(0), "", *[""] * len(rates), ""])
    return [
        "AP by side of the box in sensor pixels; -: no boxes.",
        "N/min: recall with at most N false alarms of the class per minute of stream (IoU .5).",
        f"alarms/min: false alarms per minute of stream, scores of at least {SCORE_THR} (IoU .5).",
        "In the row of all classes, every detection that matches no box is a false alarm.",
        _stream(breakdown),
        table(rows),
    ]


def _stream(breakdown: Breakdown) -> str:
    """Sentences on how much stream was evaluated, and on whether it has frames without boxes."""
    frames = sum(part.frames for part in breakdown.by_recording.values())
    seen = f"{frames} windows cover {breakdown.minutes:.2f} minutes of stream"
    if breakdown.empty_frames:
        return f"{seen}; {breakdown.empty_frames} of them hold no box."
    return (
        f"{seen}.\nEvery window holds a box, so false alarms in empty scenes are not counted: the "
        "labels list no\nempty frames (NAME_label_times.npy does, see docs/data.md), or the "
        "protocol leaves them out."
    )


def _parts(breakdown: Breakdown) -> list[str]:
    known = [item for item in breakdown.by_recording.items() if item[1].ap is not None]
    worst = sorted(known, key=lambda item: item[1].ap)[:WORST]
    rows = [["", "frames", "boxes", "AP", "AP50"]]
    for name, part in (*breakdown.by_light.items(), *worst):
        rows.append([name, part.frames, part.boxes, number(part.ap, 4), number(part.ap50, 4)])
    head, *lines = table(rows).splitlines()
    return [
        f"{head}   recordings: the {len(worst)} of lowest AP, of {len(breakdown.by_recording)}",
        *lines,
    ]


def _recall(values: Iterable[float | None], breakdown: Breakdown) -> list[str]:
    can_tell = is_measurable(breakdown.minutes)
    return [
        number(v, 4) if can else "not measurable" for v, can in zip(values, can_tell, strict=True)
    ]


def _numbers(values: Iterable[float | None]) -> list[str]:
    return [number(value, 4) for value in values]


def _interval(breakdown: Breakdown) -> str:
    recordings = len(breakdown.by_recording)
    if breakdown.interval is None:
        few = f"; at least {MIN_RECORDINGS} are needed" if recordings < MIN_RECORDINGS else ""
        return f"no confidence interval of AP can be computed from {recordings} recordings{few}"
    low, high = breakdown.interval
    return (
        f"AP {CONFIDENCE:.0%} confidence interval for other recordings, computed from these "
        f"{recordings}: {low:.4f} to {high:.4f}"
    )


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
