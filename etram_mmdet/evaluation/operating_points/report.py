"""Tuned operating points as text, and as a config file."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from etram_mmdet.evaluation.average_precision import nan_mean
from etram_mmdet.evaluation.breakdown import stream_minutes
from etram_mmdet.evaluation.curves import Counts
from etram_mmdet.evaluation.operating_points.goals import Goal
from etram_mmdet.evaluation.operating_points.points import OperatingPoints
from etram_mmdet.evaluation.operating_points.tuning import Tuned
from etram_mmdet.evaluation.predictions import Predictions
from etram_mmdet.utils.text import number, table


def format_tuning(tuned: Tuned, before_thr: float) -> str:
    """Table of precision, recall, F1 and false alarms of each class, and warnings below it.

    There are three groups of columns: one threshold for all classes before tuning, the best one for
    all classes, and the tuned thresholds. The row of all classes has the sum of false alarms,
    including those of classes without boxes.

    Args:
        tuned: result of :func:`tune`.
        before_thr: score threshold before tuning.
    """
    columns = (tuned.before, tuned.common, tuned.after)
    heads = (
        f"before: {before_thr:.2f} for all",
        f"best for all: {tuned.common_thr:.2f}",
        "tuned",
    )
    rows = [
        ["", "", *(f"{head:^20}" for head in heads), "alarms/min", "threshold"],
        ["", "boxes", *[f"{'P':>6} {'R':>6} {'F1':>6}"] * len(columns), "", ""],
    ]
    for k, name in enumerate(tuned.points.classes):
        cells = [_triple(numbers(counts[k])) for counts in columns]
        rows.append(
            [name, tuned.after[k].boxes, *cells, _per_min(tuned, [k]), describe(tuned.points, k)]
        )
    boxes = sum(c.boxes for c in tuned.after)
    rows.append(["mean", boxes, *(_triple(mean_numbers(counts)) for counts in columns), "", ""])
    rows.append(["all classes", *[""] * 4, _per_min(tuned, range(len(tuned.points.classes))), ""])
    title = (
        "precision, recall, F1 and false alarms per minute of stream at IoU .5, on "
        f"{tuned.judged_on} left out of the tuning ({tuned.minutes:.2f} minutes)"
    )
    return "\n".join(
        [title, table(rows, gap=3, left=(0, 6)), *(f"WARNING {note}" for note in tuned.notes)]
    )


def _per_min(tuned: Tuned, classes: Iterable[int]) -> str:
    return number(sum(tuned.after[k].alarms.item() for k in classes) / tuned.minutes, 1)


def numbers(counts: Counts) -> np.ndarray:
    """Precision, recall and F1 of a class: (3,).

    They are NaN for a class without boxes. The precision is also NaN without detections.

    Args:
        counts: hits and false alarms of the class; the first threshold is used.
    """
    found = counts.hits[0] + counts.alarms[0]
    precision = counts.hits[0] / found if found and counts.boxes else np.nan
    return np.array([precision, counts.recall[0], counts.f_beta()[0]])


def mean_numbers(counts: Sequence[Counts]) -> np.ndarray:
    """Mean precision, recall and F1 (3,), each over the classes for which it is defined.

    Args:
        counts: hits and false alarms of each class.
    """
    return np.array(
        [nan_mean(column) for column in np.stack([numbers(c) for c in counts], 1)], np.float64
    )


def describe(points: OperatingPoints, k: int) -> str:
    """Score thresholds of a class (from the smallest boxes to the largest) and its NMS, as text.

    Args:
        points: operating points.
        k: number of the class.
    """
    thresholds = " / ".join(f"{thr:.2f}" for thr in points.score_thr[k])
    return thresholds + (f", NMS {points.nms_iou[k]:g}" if points.nms_iou[k] < 1 else "")


def origin(goal: Goal, saved: Predictions, path: Path, notes: Sequence[str]) -> tuple[str, ...]:
    """Comments for the head of a file of operating points: how they were tuned, and the warnings.

    Args:
        goal: goal of the tuning.
        saved: predictions that were used.
        path: file of the predictions.
        notes: warnings of the tuning.
    """
    recordings = len({frame.recording for frame in saved.frames})
    return (
        f"Made by tools/tune_thresholds.py from {path}: {goal}, from {len(saved.frames)} frames of "
        f"{recordings} recordings, {stream_minutes(saved.frames):.2f} minutes of stream.",
        "For deployment only (tools/detect.py, EventInferencer): AP is measured without them.",
        *(f"Note: {note}." for note in notes),
    )


def points_as_config(points: OperatingPoints, sentences: Sequence[str]) -> str:
    """Text of a config file that defines ``operating_points``.

    Numbers have up to four significant digits, since thresholds are chosen from numbers with two
    decimals.

    Args:
        points: operating points.
        sentences: comments for the head of the file.
    """
    config = points.as_config()
    comments = [line for s in sentences for line in textwrap.wrap(s, 116)]
    body = [f"    {key}={_literal(value)}," for key, value in config.items()]
    return "\n".join(
        [*(f"# {line}" for line in comments), "operating_points = dict(", *body, ")", ""]
    )


def _literal(value: object) -> str:
    if isinstance(value, dict):
        # names come from a file of predictions, and this text will be executed as Python
        entries = "".join(
            f"        {json.dumps(str(name))}: {_literal(each)},\n" for name, each in value.items()
        )
        return f"{{\n{entries}    }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    return f"{value:.4g}"


def _triple(values: np.ndarray) -> str:
    return " ".join(f"{number(value, 3):>6}" for value in values)
