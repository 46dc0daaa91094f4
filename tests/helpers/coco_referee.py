"""COCO's own evaluation by pycocotools, the referee of our numbers."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from etram_mmdet.evaluation.coco import SIZES
from etram_mmdet.evaluation.results import Boxes, FrameResult

MAX_DETS = (1, 10, 100)


def coco_tables(
    frames: Sequence[FrameResult], classes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Precision (T, R, K, A, M) and recall (T, K, A, M), -1 without ground truth.

    T IoU thresholds, R recall levels, K classes, A size ranges (all, S, M, L), M `MAX_DETS`.
    """
    header = dict(
        images=[dict(id=i) for i in range(len(frames))],
        categories=[dict(id=k, name=name) for k, name in enumerate(classes)],
    )
    truth = COCO()
    detections = COCO()
    counted = _annotations([f.truth for f in frames])
    ignored = _annotations([f.ignored for f in frames], first_id=1 + len(counted), iscrowd=1)
    truth.dataset = dict(header, annotations=counted + ignored)
    detections.dataset = dict(header, annotations=_annotations([f.found for f in frames]))
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth.createIndex()
        detections.createIndex()
        evaluation = COCOeval(truth, detections, "bbox")
        evaluation.params.maxDets = list(MAX_DETS)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"], evaluation.eval["recall"]


def coco_numbers(frames: Sequence[FrameResult], classes: Sequence[str]) -> dict[str, float]:
    """COCO's twelve numbers and the AP of each class, under the names of ``coco_metrics``.

    A number without ground truth is left out.
    """
    precision, recall = coco_tables(frames, classes)
    numbers = dict(
        AP=precision[..., 0, 2], AP50=precision[0, ..., 0, 2], AP75=precision[5, ..., 0, 2]
    )
    numbers |= {f"AR{most}": recall[..., 0, i] for i, most in enumerate(MAX_DETS)}
    for a, size in enumerate(SIZES, start=1):
        numbers[f"AP_{size}"] = precision[..., a, 2]
        numbers[f"AR100_{size}"] = recall[..., a, 2]
    for k, name in enumerate(classes):
        numbers[f"AP_{name}"] = precision[:, :, k, 0, 2]
        numbers[f"AP50_{name}"] = precision[0, :, k, 0, 2]
    known = {key: values[values > -1] for key, values in numbers.items()}
    return {key: float(values.mean()) for key, values in known.items() if values.size}


def _annotations(
    boxes_of_frame: Sequence[Boxes], first_id: int = 1, iscrowd: int = 0
) -> list[dict]:
    """Boxes of each frame as COCO annotations; ids begin at 1, since 0 means "not matched"."""
    annotations = []
    for image_id, boxes in enumerate(boxes_of_frame):
        corners = boxes.bboxes_xyxy.astype(np.float64)
        scores = np.ones(len(boxes)) if boxes.scores is None else boxes.scores
        for (x1, y1, x2, y2), label, score in zip(
            corners.tolist(), boxes.labels.tolist(), scores.tolist(), strict=True
        ):
            annotations.append(
                dict(
                    id=first_id + len(annotations),
                    image_id=image_id,
                    category_id=label,
                    bbox=[x1, y1, x2 - x1, y2 - y1],
                    area=(x2 - x1) * (y2 - y1),
                    iscrowd=iscrowd,
                    score=score,
                )
            )
    return annotations
