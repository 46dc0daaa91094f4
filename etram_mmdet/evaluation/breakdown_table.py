"""A breakdown as text and as JSON."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from etram_mmdet.evaluation.average_precision import CONFIDENCE
from etram_mmdet.evaluation.breakdown import FALSE_ALARMS_PER_MIN, Breakdown, Part, nan_mean, size_names

WORST = 5


def format_breakdown(breakdown: Breakdown) -> str:
    """Classes by size and false alarms, then day, night and the worst recordings, then the interval."""
    return "\n".join((*_classes(breakdown), "", *_parts(breakdown), "", _interval(breakdown)))


def as_dict(breakdown: Breakdown) -> dict:
    """Plain values for JSON; what has no ground truth is ``null``."""
    return dict(
        sides_px=size_names(),
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
    width = max(map(len, ("all classes", *breakdown.classes)))
    rates = [f"{rate}/min" for rate in FALSE_ALARMS_PER_MIN]
    head = f"{'':{width}}  {_cells(size_names(), 9)}   {_cells(rates, 7)}"
    rows = [
        f"{name:{width}}  {_cells(map(_number, breakdown.ap_by_size[k]), 9)}   "
        f"{_cells(map(_number, breakdown.recall[k]), 7)}"
        for k, name in enumerate(breakdown.classes)
    ]
    means = (_cells(map(_number, map(nan_mean, values.T)), w) for values, w in _columns(breakdown))
    totals = _cells(map(str, breakdown.boxes_by_size.sum(0)), 9)
    return [
        "AP by side of the box in sensor pixels, and recall at false alarms per minute of a class (IoU .5); - no boxes",
        head,
        *rows,
        f"{'all classes':{width}}  {'   '.join(means)}",
        f"{'boxes':{width}}  {totals}",
    ]


def _columns(breakdown: Breakdown) -> tuple[tuple[np.ndarray, int], ...]:
    return (breakdown.ap_by_size, 9), (breakdown.recall, 7)


def _parts(breakdown: Breakdown) -> list[str]:
    known = [item for item in breakdown.by_recording.items() if item[1].ap is not None]
    worst = sorted(known, key=lambda item: item[1].ap)[:WORST]
    rows = [*breakdown.by_light.items(), *worst]
    width = max((len(name) for name, _ in rows), default=0)
    which = f"the {len(worst)} lowest of {len(breakdown.by_recording)} recordings"
    return [
        f"{'':{width}}  {'frames':>7} {'boxes':>7} {'AP':>7} {'AP50':>7}   {which}",
        *(f"{name:{width}}  {_part(part)}" for name, part in rows),
    ]


def _part(part: Part) -> str:
    return f"{part.frames:7d} {part.boxes:7d} {_number(part.ap):>7} {_number(part.ap50):>7}"


def _interval(breakdown: Breakdown) -> str:
    recordings = len(breakdown.by_recording)
    if breakdown.interval is None:
        return "one recording: how far AP would vary with others cannot be told"
    low, high = breakdown.interval
    few = "; a rough guess, they are few" if recordings < 10 else ""
    return f"AP {CONFIDENCE:.0%} interval over resamples of the {recordings} recordings: {low:.4f} to {high:.4f}{few}"


def _cells(texts, width: int) -> str:
    return " ".join(f"{text:>{width}}" for text in texts)


def _number(value: float | None) -> str:
    return "-" if value is None or np.isnan(value) else f"{value:.4f}"


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
