"""COCO's average precision (AP) and average recall (AR) over frames, and their table."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from etram_mmdet.evaluation.results import Boxes, FrameResult
from etram_mmdet.events.class_sets import small_classes
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.text import number, table

MAX_DETS = (1, 10, 100)
# COCO's ranges: up to 32^2, up to 96^2 and larger, in square network pixels
SIZES = ("S_network_px", "M_network_px", "L_network_px")


def coco_metrics(frames: Sequence[FrameResult], classes: Sequence[str]) -> dict[str, float]:
    """COCO's metrics by name, as pycocotools computes them for frames in this order.

    Args:
        frames: evaluated frames, with truth and detections.
        classes: names of the classes.

    Returns:
        AP, AP50, AP75, AR1, AR10, AR100; AP and AR100 with the suffixes of `SIZES`; AP and AP50
        with the suffix _<class>; AP_small_classes, the mean over pedestrian, bicycle, motorbike,
        wheelchair and the like; and the counts ``frames`` and ``boxes``. Means are over the classes
        that have ground truth. A class or a size without ground truth has no key: COCO's own -1
        would pass for a number in an average or a plot.

    Raises:
        InputError: there is no ground-truth box at all.
    """
    boxes = int(boxes_per_class(frames, len(classes)).sum())
    if not boxes:
        raise InputError(
            f"{len(frames)} labelled frames reached the metric, but none holds a ground-truth box, "
            "so AP is undefined: check the class_set and the label folder of the evaluated split"
        )
    precision, recall = _accumulate(frames, classes)
    metrics = dict(
        AP=_mean(precision[..., 0, -1]),
        AP50=_mean(precision[0, ..., 0, -1]),
        AP75=_mean(precision[5, ..., 0, -1]),
        **{f"AP_{size}": _mean(precision[..., 1 + i, -1]) for i, size in enumerate(SIZES)},
        **{f"AR{max_det}": _mean(recall[..., 0, i]) for i, max_det in enumerate(MAX_DETS)},
        **{f"AR100_{size}": _mean(recall[..., 1 + i, -1]) for i, size in enumerate(SIZES)},
    )
    for k, name in enumerate(classes):
        metrics[f"AP_{name}"] = _mean(precision[:, :, k, 0, -1])
        metrics[f"AP50_{name}"] = _mean(precision[0, :, k, 0, -1])
    small = [
        metrics[f"AP_{name}"]
        for name in small_classes(classes)
        if metrics[f"AP_{name}"] is not None
    ]
    metrics.update(
        AP_small_classes=float(np.mean(small)) if small else None, frames=len(frames), boxes=boxes
    )
    return {key: value for key, value in metrics.items() if value is not None}


def class_agnostic(frames: Sequence[FrameResult]) -> list[FrameResult]:
    """Copy frames with all boxes in one class, so that classes do not matter (``useCats=0``).

    Args:
        frames: evaluated frames; they are not changed.
    """
    return [
        f._replace(
            truth=_in_one_class(f.truth),
            found=_in_one_class(f.found),
            ignored=_in_one_class(f.ignored),
        )
        for f in frames
    ]


def _in_one_class(boxes: Boxes) -> Boxes:
    return replace(boxes, labels=np.zeros_like(boxes.labels))


def boxes_per_class(frames: Sequence[FrameResult], num_classes: int) -> np.ndarray:
    """Number of ground-truth boxes of each class: (K,) int64.

    Args:
        frames: evaluated frames.
        num_classes: number of classes, K.
    """
    labels = np.concatenate([np.empty(0, np.int64), *(frame.truth.labels for frame in frames)])
    return np.bincount(labels, minlength=num_classes)


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


def _accumulate(
    frames: Sequence[FrameResult], classes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Precision (T, R, K, A, M) and recall (T, K, A, M) from pycocotools, -1 without ground truth.

    T IoU thresholds, R recall levels, K classes, A size ranges (all first, then `SIZES`), M
    `MAX_DETS`.
    """
    coco_class, evaluator_class = _evaluator()
    header = dict(
        images=[dict(id=i) for i in range(len(frames))],
        categories=[dict(id=k, name=name) for k, name in enumerate(classes)],
    )
    truth = coco_class()
    detections = coco_class()
    counted = _annotations([f.truth for f in frames])
    ignored = _annotations([f.ignored for f in frames], first_id=1 + len(counted), iscrowd=1)
    truth.dataset = dict(header, annotations=counted + ignored)
    detections.dataset = dict(header, annotations=_annotations([f.found for f in frames]))
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth.createIndex()
        detections.createIndex()
        evaluation = evaluator_class(truth, detections, "bbox")
        evaluation.params.maxDets = list(MAX_DETS)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"], evaluation.eval["recall"]


def _annotations(
    boxes_of_frame: Sequence[Boxes], first_id: int = 1, iscrowd: int = 0
) -> list[dict]:
    """Boxes of each frame as COCO annotations, in float64 as if read from a JSON file.

    Ids begin at 1, since pycocotools takes 0 for "not matched".
    """
    annotations = []
    for image_id, boxes in enumerate(boxes_of_frame):
        boxes_xywh = boxes.bboxes_xyxy.astype(np.float64)
        boxes_xywh[:, 2:] -= boxes_xywh[:, :2]
        scores = np.ones(len(boxes)) if boxes.scores is None else boxes.scores
        for box, label, score in zip(
            boxes_xywh.tolist(), boxes.labels.tolist(), scores.tolist(), strict=True
        ):
            annotations.append(
                dict(
                    id=first_id + len(annotations),
                    image_id=image_id,
                    category_id=label,
                    bbox=box,
                    area=box[2] * box[3],
                    iscrowd=iscrowd,
                    score=score,
                )
            )
    return annotations


def _evaluator() -> tuple[type, type]:
    """Classes of faster-coco-eval if installed, else of pycocotools.

    Both give the same numbers; faster-coco-eval needs a fraction of the time.
    """
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        return COCO, COCOeval
    return COCO, COCOeval_faster


def _mean(values: np.ndarray) -> float | None:
    values = values[values > -1]
    return float(values.mean()) if values.size else None
