"""Save what a detector said about every evaluated frame."""

from __future__ import annotations

import json
import os
from pathlib import Path

from mmengine.dist import master_only
from mmengine.evaluator import Evaluator

from etram_mmdet.evaluation.event_coco_metric import EventCocoMetric


@master_only
def save_predictions(evaluator: Evaluator, path: str | Path) -> None:
    """JSON with the class names and, per frame, recording, time, boxes (xyxy, network pixels), scores and labels."""
    metric = next(m for m in evaluator.metrics if isinstance(m, EventCocoMetric))
    frames = [
        dict(
            recording=frame.recording,
            t_us=frame.t_us,
            bboxes=frame.bboxes_xyxy.tolist(),
            scores=frame.scores.tolist(),
            labels=frame.labels.tolist(),
        )
        for frame in metric.frames.values()
    ]
    part = Path(f"{path}.part")
    part.write_text(json.dumps(dict(classes=list(metric.dataset_meta["classes"]), frames=frames)))
    os.replace(part, path)
