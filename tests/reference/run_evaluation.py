"""Run RVT's copy of Prophesee's evaluation."""

from __future__ import annotations

import numpy as np

from tests.reference.detections import HW, detections, true_boxes

NAMES = ("AP", "AP_50", "AP_75", "AP_S", "AP_M", "AP_L")


def evaluation_answers() -> dict[str, np.ndarray]:
    from utils.evaluation.prophesee.evaluator import PropheseeEvaluator

    evaluator = PropheseeEvaluator("gen4", downsample_by_2=True)
    evaluator.add_labels([true_boxes()])
    evaluator.add_predictions([detections()])
    found = evaluator.evaluate_buffer(*HW)
    _check_margins()
    return {name: np.float64(found[name]) for name in NAMES}


def _check_margins() -> None:
    """No IoU may lie so close to a threshold that rounding decides."""
    boxes = true_boxes()
    closest = 1.0
    for found in detections():
        overlaps = _ious(found, boxes[boxes["t"] == found["t"]])
        distance = np.abs(overlaps[:, None] - np.arange(0.5, 1, 0.05))
        closest = min(closest, distance.min(initial=1))
    print(f"evaluation: an IoU is at least {closest:.2g} from a threshold")
    if closest < 1e-6:
        raise SystemExit("evaluation: rounding could decide; change the boxes")


def _ious(box: np.void, others: np.ndarray) -> np.ndarray:
    sides = []
    for corner, side in (("x", "w"), ("y", "h")):
        end = np.minimum(box[corner] + box[side], others[corner] + others[side])
        sides.append(
            np.clip(end - np.maximum(box[corner], others[corner]), 0, None).astype(np.float64)
        )
    shared = sides[0] * sides[1]
    return shared / (float(box["w"]) * float(box["h"]) + others["w"] * others["h"] - shared)
