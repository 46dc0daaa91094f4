"""Operating points from saved predictions, judged on recordings that they were not tuned on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from etram_mmdet.events.errors import InputError

from .breakdown import labelled_minutes
from .curves import Counts, best_common_threshold, class_counts, count
from .frames import Frame
from .goals import Goal
from .matching import Matches, match
from .operating_points import OperatingPoints

THRESHOLDS = np.linspace(0.01, 1, 100)
BORDERS_PX = (16.0, 32.0)  # of the ranges of the side, with thresholds by size
NMS_IOUS = (0.2, 0.3, 0.4, 0.5, 0.6)
MOST_FOLDS = 5


@dataclass(frozen=True)
class Options:
    """``min_boxes``: with fewer a class, or a size of it, takes the common threshold, or the class's."""

    goal: Goal
    min_boxes: int = 20
    by_size: bool = False
    nms_ious: tuple[float, ...] = ()  # to try besides leaving detections as they are


@dataclass(frozen=True, eq=False)
class Tuned:
    """``points`` from all recordings and what they, and one common threshold, do on recordings unseen in tuning."""

    points: OperatingPoints
    common_thr: float
    before: list[Counts]  # one per class, at one threshold each
    common: list[Counts]
    after: list[Counts]
    of_folds: list[OperatingPoints]
    notes: list[str]


def tune(frames: Sequence[Frame], classes: Sequence[str], options: Options, before_thr: float) -> Tuned:
    """Raises ``InputError`` for a single recording, which leaves nothing unseen to judge by, and without any box."""
    if not any(len(frame.gt_labels) for frame in frames):
        raise InputError(f"{len(frames)} frames, but none holds a ground-truth box; tune on a labelled split")
    folds = list(_folds(frames))
    points, common_thr, notes = choose(frames, classes, options)
    judged = []
    of_folds, common, after = [], [], []
    for seen, unseen in folds:
        of_fold, fold_common_thr, _ = choose(seen, classes, options)
        of_folds.append(of_fold)
        judged.append(unseen)
        common += _applied(unseen, OperatingPoints.common(classes, fold_common_thr))
        after += _applied(unseen, of_fold)
    before = _applied([f for unseen in judged for f in unseen], OperatingPoints.common(classes, before_thr))
    return Tuned(points, common_thr, *(_passing(f, len(classes)) for f in (before, common, after)), of_folds, notes)


def choose(frames: Sequence[Frame], classes: Sequence[str], options: Options) -> tuple[OperatingPoints, float, list]:
    """Points from these frames, the best common threshold, and a sentence for each class that has to do without."""
    plain = match(frames, [0.5])
    counts, minutes = class_counts(plain, len(classes), THRESHOLDS), labelled_minutes(frames)
    common_thr, notes = best_common_threshold(counts, THRESHOLDS), []
    sides_px = BORDERS_PX if options.by_size else ()
    score_thr = np.full((len(classes), len(sides_px) + 1), common_thr)
    nms_iou = np.ones(len(classes))
    matches = {1.0: plain} | {iou: match(_after_nms(frames, len(classes), iou), [0.5]) for iou in options.nms_ious}
    for k, name in enumerate(classes):
        if counts[k].boxes < options.min_boxes:
            few = f"{counts[k].boxes} boxes, fewer than {options.min_boxes}"
            notes.append(f"{name}: {few}, so it takes the common threshold {common_thr:.2f}")
            continue
        nms_iou[k], best, index = _best_of_class(matches, k, options.goal, minutes)
        score_thr[k] = THRESHOLDS[index]
        if not options.goal.is_reached(best, index, minutes):
            notes.append(f"{name}: {options.goal} is not reached at any threshold; this one comes closest")
        if options.by_size:
            score_thr[k] = _by_size(matches[nms_iou[k]], k, score_thr[k, 0], options, minutes)
    return OperatingPoints(tuple(classes), score_thr, nms_iou, sides_px), common_thr, notes


def _best_of_class(matches: dict[float, Matches], k: int, goal: Goal, minutes: float) -> tuple[float, Counts, int]:
    """NMS IoU, counts and index of the threshold; a goal that is reached goes before one that is not."""
    found = []
    for iou, of_iou in matches.items():
        counts = class_counts(of_iou, k + 1, THRESHOLDS)[k]
        index = goal.choose(counts, minutes)
        found.append((goal.is_reached(counts, index, minutes), goal.value(counts)[index], iou, counts, index))
    return max(found, key=lambda each: each[:3])[2:]


def _by_size(matches: Matches, k: int, class_thr: float, options: Options, minutes: float) -> np.ndarray:
    """A threshold for every range of the side; detections and boxes belong to the range of their own side."""
    thresholds = np.full(len(BORDERS_PX) + 1, class_thr)
    detections, truth = matches.detections, matches.truth
    of_detection, of_box = (np.digitize(np.sqrt(b.areas_px2.clip(min=0)), BORDERS_PX) for b in (detections, truth))
    for size in range(len(thresholds)):
        rows = (detections.labels == k) & (of_detection == size)
        boxes = int(((truth.labels == k) & (of_box == size)).sum())
        if boxes >= options.min_boxes:
            counts = count(matches.scores[rows], matches.is_hit[0, rows], boxes, THRESHOLDS)
            thresholds[size] = THRESHOLDS[options.goal.choose(counts, minutes)]
    return thresholds


def _folds(frames: Sequence[Frame]) -> Iterator[tuple[list[Frame], list[Frame]]]:
    """(seen, unseen) frames; every recording is unseen once."""
    recordings = sorted({frame.recording for frame in frames})
    if len(recordings) < 2:
        raise InputError(
            f"all {len(frames)} frames are of the recording {recordings[0]!r}; thresholds are judged on recordings "
            "that they were not tuned on, so predictions of at least two are needed"
        )
    shuffled = np.random.default_rng(0).permutation(recordings)
    for i in range(min(MOST_FOLDS, len(recordings))):
        unseen = set(shuffled[i::MOST_FOLDS].tolist())
        yield [f for f in frames if f.recording not in unseen], [f for f in frames if f.recording in unseen]


def _applied(frames: Sequence[Frame], points: OperatingPoints) -> list[Frame]:
    return [points.apply(frame) for frame in frames]


def _after_nms(frames: Sequence[Frame], num_classes: int, iou: float) -> list[Frame]:
    names = tuple(map(str, range(num_classes)))
    return _applied(frames, OperatingPoints(names, np.zeros((num_classes, 1)), np.full(num_classes, iou)))


def _passing(frames: Sequence[Frame], num_classes: int) -> list[Counts]:
    return class_counts(match(frames, [0.5]), num_classes, np.zeros(1))
