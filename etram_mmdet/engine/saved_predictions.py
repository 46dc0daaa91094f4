"""Predictions of a test run, kept for later questions."""

from __future__ import annotations

from pathlib import Path

from mmengine.dist import master_only
from mmengine.runner import Runner

from etram_mmdet.evaluation.event_coco_metric import find_metric
from etram_mmdet.evaluation.predictions import save_predictions
from etram_mmdet.events.errors import InputError


@master_only
def save_evaluated(runner: Runner, path: Path) -> None:
    """Every frame that the last test evaluated; raises ``InputError`` without an :class:`EventCocoMetric`."""
    metric = find_metric(runner.test_evaluator)
    if metric is None:
        raise InputError(
            f"{path}: nothing to save, test_evaluator has no EventCocoMetric; add dict(type='EventCocoMetric')"
        )
    test_cfg = runner.cfg.model.get("test_cfg") or {}
    save_predictions(path, metric.frames.values(), metric.dataset_meta["classes"], dict(test_cfg))
