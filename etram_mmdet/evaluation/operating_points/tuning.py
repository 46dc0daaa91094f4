"""Tuning of operating points on predictions, with an evaluation on recordings left out of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from etram_mmdet.evaluation.breakdown import stream_minutes
from etram_mmdet.evaluation.curves import Counts, best_common_threshold, class_counts, count
from etram_mmdet.evaluation.frame_columns import FrameColumns
from etram_mmdet.evaluation.matching import Matches, match
from etram_mmdet.evaluation.operating_points.goals import Goal
from etram_mmdet.evaluation.operating_points.points import OperatingPoints
from etram_mmdet.evaluation.operating_points.rates import Stream
from etram_mmdet.evaluation.pairs import BoxTable
from etram_mmdet.evaluation.predictions import Predictions
from etram_mmdet.evaluation.results import FrameResult
from etram_mmdet.utils.errors import InputError

THRESHOLDS = np.linspace(0.01, 1, 100)
BORDERS_PX = (16.0, 32.0)  # borders between the ranges of the side, for thresholds by size
NMS_IOUS = (0.2, 0.3, 0.4, 0.5, 0.6)
MOST_FOLDS = 5


@dataclass(frozen=True)
class Options:
    """Settings of a tuning.

    Attributes:
        goal: goal by which thresholds are chosen.
        min_boxes: a class with fewer boxes gets the common threshold, and a size range of a class
            with fewer boxes gets the threshold of the class. Default: 20.
        by_size: whether each class has thresholds for the ranges between `BORDERS_PX`. Default:
            false.
        nms_ious: IoU thresholds of an additional NMS to try for each class. No NMS is always tried.
            Default: none.
    """

    goal: Goal
    min_boxes: int = 20
    by_size: bool = False
    nms_ious: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class Tuned:
    """Result of a tuning: operating points, and their effect on recordings left out of the tuning.

    Attributes:
        points: operating points, chosen from all frames.
        common_thr: best common threshold of all classes, chosen from all frames.
        before: hits and false alarms of each class with the threshold before tuning.
        common: the same with the common threshold that each fold chose.
        after: the same with the operating points that each fold chose.
        of_folds: operating points that each fold chose.
        minutes: duration of the evaluated stream.
        notes: warnings.
        judged_on: parts of which the folds consist, "recordings" or "blocks of time". Default:
            "recordings".
    """

    points: OperatingPoints
    common_thr: float
    before: list[Counts]
    common: list[Counts]
    after: list[Counts]
    of_folds: list[OperatingPoints]
    minutes: float
    notes: list[str]
    judged_on: str = "recordings"


def stricter_nms(saved: Predictions, path: Path) -> tuple[float, ...]:
    """IoU thresholds of `NMS_IOUS` that are lower than that of the NMS in saved predictions.

    Higher ones cannot be tried: the file does not hold the boxes that the NMS has removed.

    Args:
        saved: content of the file of predictions.
        path: the file, for the message.

    Raises:
        InputError: none of `NMS_IOUS` is lower.
    """
    made_with = (saved.test_cfg.get("nms") or {}).get("iou_threshold", 1.0)
    ious = tuple(iou for iou in NMS_IOUS if iou < made_with)
    if not ious:
        raise InputError(
            f"{path}: the predictions were made with NMS at IoU {made_with}, and none of the IoUs "
            "to try is lower; leave out --nms"
        )
    return ious


def tune(
    frames: Sequence[FrameResult] | FrameColumns,
    classes: Sequence[str],
    options: Options,
    before_thr: float,
) -> Tuned:
    """Choose operating points, and evaluate them by cross-validation over recordings.

    There are up to `MOST_FOLDS` folds. Each chooses operating points without some recordings and
    evaluates them on these. If one recording holds all boxes, blocks of its time are left out
    instead of recordings.

    Args:
        frames: frames with truth and detections.
        classes: names of the classes.
        options: settings.
        before_thr: score threshold before tuning, to compare with.

    Raises:
        InputError: fewer than two frames hold boxes, so that no frame with boxes could be left out.
    """
    columns = FrameColumns.of(frames)
    parts, judged_on = _parts(columns)
    of_all = choose_points(columns, classes, options)
    of_folds = []
    judged = []
    common = []
    after = []
    for is_unseen in _folds(columns, parts):
        of_fold = choose_points(columns.where(~is_unseen), classes, options)
        of_folds.append(of_fold.points)
        unseen = columns.where(is_unseen)
        judged.append(unseen)
        common.append(_applied(unseen, OperatingPoints.common(classes, of_fold.common_thr)))
        after.append(_applied(unseen, of_fold.points))
    before = [_applied(each, OperatingPoints.common(classes, before_thr)) for each in judged]
    return Tuned(
        points=of_all.points,
        common_thr=of_all.common_thr,
        before=_passing(before, len(classes)),
        common=_passing(common, len(classes)),
        after=_passing(after, len(classes)),
        of_folds=of_folds,
        minutes=stream_minutes(columns),
        notes=[*_doubts(judged_on), *of_all.notes],
        judged_on=judged_on,
    )


class Chosen(NamedTuple):
    """Operating points that were chosen from some frames.

    Attributes:
        points: thresholds of score and NMS for each class.
        common_thr: the one score threshold for all classes that serves the goal best.
        notes: warnings, such as classes with too few boxes for a threshold of their own.
    """

    points: OperatingPoints
    common_thr: float
    notes: list[str]


def choose_points(
    frames: Sequence[FrameResult] | FrameColumns, classes: Sequence[str], options: Options
) -> Chosen:
    """Choose operating points from frames, without evaluating them.

    Args:
        frames: frames with truth and detections.
        classes: names of the classes.
        options: settings.
    """
    columns = FrameColumns.of(frames)
    plain = match(columns, [0.5])
    counts = class_counts(plain, len(classes), THRESHOLDS)
    stream = Stream.of(columns, plain, len(classes), THRESHOLDS)
    common = int(np.argmin(np.abs(THRESHOLDS - best_common_threshold(counts, THRESHOLDS))))
    sides_px = BORDERS_PX if options.by_size else ()
    indices = np.full((len(classes), len(sides_px) + 1), common)
    nms_iou = np.ones(len(classes))
    notes = options.goal.doubts(stream)
    unreached = []
    matches = {1.0: plain} | {
        iou: match(_after_nms(columns, len(classes), iou), [0.5]) for iou in options.nms_ious
    }
    counts_of = {
        iou: class_counts(of_iou, len(classes), THRESHOLDS) for iou, of_iou in matches.items()
    }
    for k, name in enumerate(classes):
        if counts[k].boxes < options.min_boxes:
            indices[k] = options.goal.choose_without_boxes(counts[k], stream, common)
            notes.append(
                _few_boxes(name, counts[k].boxes, options.min_boxes, indices[k, 0], common)
            )
            notes += (
                _switched_off(name, plain, k, THRESHOLDS[indices[k]])
                if indices[k, 0] != common
                else []
            )
            continue
        nms_iou[k], reached, indices[k] = _best_of_class(
            {iou: of_iou[k] for iou, of_iou in counts_of.items()}, options.goal, stream
        )
        if options.by_size:
            indices[k], reached, few_sizes = _by_size(
                matches[nms_iou[k]], k, indices[k, 0], options, stream
            )
            notes += (
                [
                    f"{name}: fewer than {options.min_boxes} boxes with sides {few_sizes}, so "
                    "these sizes get the threshold of the class"
                ]
                if few_sizes
                else []
            )
        unreached += [] if reached else [name]
        notes += _switched_off(name, matches[nms_iou[k]], k, THRESHOLDS[indices[k]])
    if unreached:
        notes.append(
            f"{', '.join(unreached)}: no threshold reaches the goal, {options.goal}; the closest "
            "threshold is used"
        )
    points = OperatingPoints(tuple(classes), THRESHOLDS[indices], nms_iou, sides_px)
    return Chosen(points, float(THRESHOLDS[common]), notes)


def _few_boxes(name: str, boxes: int, min_boxes: int, index: int, common: int) -> str:
    which = "common threshold" if index == common else "lowest threshold that the goal allows,"
    return (
        f"{name}: only {boxes} boxes (fewer than {min_boxes}), so it gets the {which} "
        f"{THRESHOLDS[index]:.2f}"
    )


def _switched_off(name: str, matches: Matches, k: int, thresholds: np.ndarray) -> list[str]:
    """A warning if no detection of a class, or of one of its size ranges, passes the thresholds.

    ``k`` is the number of the class, ``thresholds`` (S,) are those of its size ranges. The list is
    empty if there is nothing to report.
    """
    rows = np.flatnonzero(matches.detections.labels == k)
    size = (
        _size_range(matches.detections[rows]) if len(thresholds) > 1 else np.zeros(len(rows), int)
    )
    passes = matches.scores[rows] >= thresholds[size].astype(np.float32)
    has_any, passing = (
        np.bincount(some, minlength=len(thresholds)) > 0 for some in (size, size[passes])
    )
    is_off = ~passing if not passes.any() else has_any & ~passing
    if not is_off.any():
        return []
    what = name if is_off.all() else f"{name}, sides {', '.join(np.array(_size_names())[is_off])}"
    is_right = matches.is_hit[0, rows] & is_off[size]
    why = (
        "the goal allows none of its detections"
        if is_right.any()
        else "none of its detections is correct at any score"
    )
    at = " / ".join(f"{thr:.2f}" for thr in np.unique(thresholds[is_off]))
    return [f"{what}: switched off by a threshold of {at}, since {why}"]


def _best_of_class(
    counts_of: dict[float, Counts], goal: Goal, stream: Stream
) -> tuple[float, bool, int]:
    """NMS IoU of a class, whether the goal is reached, and index of the threshold.

    ``counts_of`` holds the hits and false alarms of the class after each NMS, by its IoU. An NMS
    with which the goal is reached is preferred to others.
    """
    found = []
    for iou, counts in counts_of.items():
        index = goal.choose(counts, stream)
        found.append(
            (goal.is_reached(counts, index, stream), goal.value(counts)[index], iou, index)
        )
    reached, _, iou, index = max(found)
    return iou, reached, index


def _by_size(
    matches: Matches, k: int, index: int, options: Options, stream: Stream
) -> tuple[np.ndarray, bool, str]:
    """Indices of the thresholds of all size ranges of a class, starting from that of the class.

    The size ranges are tuned in turns. Each time the whole class is evaluated, since the goal is
    one of the class, and a detection of one size may match a box of another.

    Returns:
        Index of the threshold of each size range, whether the class reaches the goal, and the names
        of size ranges with too few boxes.
    """
    rounds = 3
    of_detection = _size_range(matches.detections)
    of_box = _size_range(matches.truth)
    boxes = np.bincount(
        of_box[matches.counts & (matches.truth.labels == k)], minlength=len(BORDERS_PX) + 1
    )
    of_class_k = (matches.detections.labels == k) & (matches.is_hit | matches.is_alarm)[0]
    rows = [of_class_k & (of_detection == size) for size in range(len(boxes))]
    parts = [
        count(matches.scores[r], matches.is_hit[0, r], int(boxes.sum()), THRESHOLDS) for r in rows
    ]
    indices = np.full(len(boxes), index)

    def of_class(free: int) -> Counts:
        others = [
            (p.hits[i], p.alarms[i])
            for s, (p, i) in enumerate(zip(parts, indices, strict=True))
            if s != free
        ]
        hits, alarms = np.sum(others, 0)
        return Counts(parts[free].hits + hits, parts[free].alarms + alarms, int(boxes.sum()))

    large = np.flatnonzero(boxes >= options.min_boxes)
    for size in large.tolist() * rounds:
        indices[size] = options.goal.choose(of_class(size), stream)
    reached = options.goal.is_reached(of_class(0), indices[0], stream)
    few = ", ".join(name for size, name in enumerate(_size_names()) if size not in large)
    return indices, reached, few


def _size_names() -> list[str]:
    """Names of the size ranges between `BORDERS_PX`."""
    return [f"below {BORDERS_PX[0]:g} px", *(f"from {border:g} px" for border in BORDERS_PX)]


def _size_range(boxes: BoxTable) -> np.ndarray:
    """Number of the size range between `BORDERS_PX` in which each box lies: (N,)."""
    return np.digitize(np.sqrt(boxes.areas_px2.clip(min=0)), BORDERS_PX)


def _parts(columns: FrameColumns) -> tuple[list[str], str]:
    """Name of the part to which each frame belongs, and the kind of these parts.

    Parts are recordings. If only one recording holds boxes, they are blocks of time with equal
    numbers of frames with boxes.
    """
    names = [columns.names[number] for number in columns.recordings.tolist()]
    has_boxes = columns.truth.counts > 0
    with_boxes = {columns.names[i] for i in np.unique(columns.recordings[has_boxes])}
    if len(with_boxes) > 1:
        return names, "recordings"
    times_us = np.unique(columns.t_us[has_boxes])
    if len(times_us) < 2:
        raise InputError(
            f"{len(times_us)} of {columns.count} frames hold boxes; thresholds are evaluated on "
            "frames that are left out of the tuning, so at least two frames with boxes are needed"
        )
    starts_us = [block[0] for block in np.array_split(times_us, min(MOST_FOLDS, len(times_us)))][1:]
    blocks = np.searchsorted(starts_us, columns.t_us, side="right").tolist()
    parts = [
        f"{name}/{block}" if name in with_boxes else name
        for name, block in zip(names, blocks, strict=True)
    ]
    return parts, "blocks of time"


def _doubts(judged_on: str) -> list[str]:
    if judged_on == "recordings":
        return []
    return [
        "all boxes are in one recording, so thresholds were evaluated on other times of that same "
        "recording: expect less on another recording"
    ]


def _folds(columns: FrameColumns, parts: Sequence[str]) -> Iterator[np.ndarray]:
    """Which frames (F,) each fold leaves unseen: each part once, and seen frames hold boxes."""
    names, part_of_frame = np.unique(parts, return_inverse=True)
    holds_boxes = np.bincount(part_of_frame, columns.truth.counts, len(names)) > 0
    shuffled = [
        *np.random.default_rng(0).permutation(names[holds_boxes]).tolist(),
        *names[~holds_boxes].tolist(),
    ]
    folds = min(MOST_FOLDS, int(holds_boxes.sum()))
    for i in range(folds):
        yield np.isin(names, shuffled[i::folds])[part_of_frame]


def _applied(columns: FrameColumns, points: OperatingPoints) -> FrameColumns:
    """Keep the detections that pass; their order stays, and so does any matching."""
    if (points.nms_iou < 1).any():
        return FrameColumns.of([points.apply(frame) for frame in columns.each()])
    found = columns.found
    passes = found.scores >= points.thresholds(found, found.per_box(columns.scales))
    return columns.where(np.ones(columns.count, bool), found=passes)


def _after_nms(columns: FrameColumns, num_classes: int, iou: float) -> FrameColumns:
    names = tuple(map(str, range(num_classes)))
    return _applied(
        columns, OperatingPoints(names, np.zeros((num_classes, 1)), np.full(num_classes, iou))
    )


def _passing(parts: Sequence[FrameColumns], num_classes: int) -> list[Counts]:
    return class_counts(match(FrameColumns.joined(parts), [0.5]), num_classes, np.zeros(1))
