"""COCO's average precision (AP) and average recall (AR) over frames, and their table."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from etram_mmdet.evaluation.average_precision import PrecisionTable, nan_mean
from etram_mmdet.evaluation.frame_columns import FrameColumns
from etram_mmdet.evaluation.matching import Matches, match_pairs
from etram_mmdet.evaluation.pairs import MAX_DETECTIONS, BoxTable, Overlaps, Pairs
from etram_mmdet.evaluation.results import FrameResult
from etram_mmdet.events.class_sets import small_classes
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.text import number, table

MAX_DETS = (1, 10, MAX_DETECTIONS)
# COCO's ranges: up to 32^2, up to 96^2 and larger, in square network pixels
SIZES = ("S_network_px", "M_network_px", "L_network_px")
# all sizes, then `SIZES`; a box on a border belongs to both ranges
_AREAS_PX2 = ((0, 1e10), (0, 32**2), (32**2, 96**2), (96**2, 1e10))
_AT_50 = 0  # number of the IoU threshold
_AT_75 = 5


def coco_metrics(
    frames: Sequence[FrameResult] | FrameColumns, classes: Sequence[str], pairs: Pairs | None = None
) -> dict[str, float]:
    """COCO's metrics by name, as pycocotools computes them for frames in this order.

    Args:
        frames: evaluated frames, with truth and detections.
        classes: names of the classes.
        pairs: pairs of these frames. Default: they are searched for.

    Returns:
        AP, AP50, AP75, AR1, AR10, AR100; AP and AR100 with the suffixes of `SIZES`; AP and AP50
        with the suffix _<class>; AP_small_classes, the mean over pedestrian, bicycle, motorbike,
        wheelchair and the like; and the counts ``frames`` and ``boxes``. Means are over the classes
        that have ground truth. A class or a size without ground truth has no key: COCO's own -1
        would pass for a number in an average or a plot.

    Raises:
        InputError: there is no ground-truth box at all.
    """
    columns = FrameColumns.of(frames)
    boxes = len(columns.truth.labels)
    if not boxes:
        raise InputError(
            f"{columns.count} labelled frames reached the metric, but none holds a ground-truth "
            "box, so AP is undefined: check the class_set and the label folder of the evaluated "
            "split"
        )
    precision, recall, recall_of_best = _curves(
        pairs or Overlaps(columns).ranked(), columns.count, len(classes)
    )
    metrics = dict(
        AP=nan_mean(precision[..., 0]),
        AP50=nan_mean(precision[_AT_50, ..., 0]),
        AP75=nan_mean(precision[_AT_75, ..., 0]),
        **{f"AP_{size}": nan_mean(precision[..., 1 + i]) for i, size in enumerate(SIZES)},
        **{f"AR{most}": nan_mean(recall_of_best[..., i]) for i, most in enumerate(MAX_DETS)},
        **{f"AR100_{size}": nan_mean(recall[..., 1 + i]) for i, size in enumerate(SIZES)},
    )
    for k, name in enumerate(classes):
        metrics[f"AP_{name}"] = nan_mean(precision[:, :, k, 0])
        metrics[f"AP50_{name}"] = nan_mean(precision[_AT_50, :, k, 0])
    small = [
        metrics[f"AP_{name}"]
        for name in small_classes(classes)
        if metrics[f"AP_{name}"] is not None
    ]
    metrics.update(
        AP_small_classes=float(np.mean(small)) if small else None, frames=columns.count, boxes=boxes
    )
    return {key: value for key, value in metrics.items() if value is not None}


def class_agnostic(frames: Sequence[FrameResult] | FrameColumns) -> FrameColumns:
    """Copy frames with all boxes in one class, so that classes do not matter (``useCats=0``).

    Args:
        frames: evaluated frames; they are not changed.
    """
    columns = FrameColumns.of(frames)
    found, truth, ignored = (
        boxes._replace(labels=np.zeros_like(boxes.labels)) for boxes in columns[-3:]
    )
    return columns._replace(found=found, truth=truth, ignored=ignored)


def format_metrics(
    head: Sequence[str], metrics: dict[str, float], boxes: Sequence[int], classes: Sequence[str]
) -> str:
    """Table of `coco_metrics` as text: the means, then each class with its number of boxes.

    Args:
        head: lines above the table, such as the protocol.
        metrics: metrics by name, from `coco_metrics`.
        boxes: (K,) number of ground-truth boxes of each class.
        classes: names of the K classes.
    """

    def line(*keys: str) -> str:
        return "   ".join(f"{key} {metrics[key]:.4f}" for key in keys if key in metrics)

    rows = [["class", "boxes", "AP", "AP50"]]
    for name, count in zip(classes, boxes, strict=True):
        scores = [number(metrics.get(f"{key}_{name}"), 4) for key in ("AP", "AP50")]
        rows.append([name, count, *(scores if count else ("no boxes", ""))])
    return "\n".join(
        (
            *head,
            f"{metrics['frames']} frames, {metrics['boxes']} boxes",
            line("AP", "AP50", "AP75", "AP_small_classes"),
            line(*(f"AP_{size}" for size in SIZES)),
            line("AR1", "AR10", "AR100", *(f"AR100_{size}" for size in SIZES)),
            table(rows),
        )
    )


def _curves(
    pairs: Pairs, frames: int, num_classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """COCO's tables for T IoU thresholds, L recall levels, K classes and A size ranges.

    Returns:
        Precision (T, L, K, A), recall (T, K, A), and recall (T, K, M) of the boxes of all sizes
        with at most `MAX_DETS` detections of a frame and class; NaN without ground truth.
    """
    precision = []
    recall = []
    for low, high in _AREAS_PX2:
        matches = match_pairs(pairs, partial(_is_outside, low=low, high=high))
        table = PrecisionTable(matches, num_classes, np.zeros(frames, np.int64))
        precision.append(np.moveaxis(table.precision(), 0, 2))
        boxes = table.boxes[:, 0]
        ranks = pairs.ranks[matches.rows]
        recall.append([_recall(matches, boxes, ranks < most) for most in MAX_DETS])
    return np.stack(precision, -1), np.stack([r[-1] for r in recall], -1), np.stack(recall[0], -1)


def _is_outside(boxes: BoxTable, low: float, high: float) -> np.ndarray:
    areas_px2 = boxes.network_areas_px2
    return (areas_px2 < low) | (areas_px2 > high)


def _recall(matches: Matches, boxes: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Recall (T, K) of some of the detections that overlap a box, of K numbers of boxes."""
    labels = matches.detections.labels[matches.rows]
    is_hit = (matches.found_by_rows >= 0) & rows
    hits = [np.bincount(labels[of_threshold], minlength=len(boxes)) for of_threshold in is_hit]
    return np.stack(hits) / np.where(boxes > 0, boxes, np.nan)
