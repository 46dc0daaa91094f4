"""Random frames with what evaluations meet rarely: ties, crowds, borders, nothing, and too much."""

from __future__ import annotations

import numpy as np

from etram_mmdet.evaluation.results import Boxes, FrameResult

STYLES = ("grid", "borders of sizes", "anywhere", "huge", "tiny")


def random_frames(seed: int) -> tuple[list[FrameResult], tuple[str, ...]]:
    """A few frames and the names of their classes, one of which may have no ground truth.

    Some detections lie on boxes or on crowds, several on one. On the grid many overlaps are equal.
    Scores have 1 to 1,000 levels. Boxes may have no area, end before they begin, or be larger than
    COCO's largest size. A frame may hold more than 100 detections of a class, or none.
    """
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(1, 5))
    style = STYLES[seed % len(STYLES)]
    levels = int(rng.choice([1, 2, 5, 1000]))
    frames = [_frame(rng, number, classes, style, levels) for number in range(rng.integers(1, 9))]
    return frames, tuple(f"class {k}" for k in range(classes))


def _frame(
    rng: np.random.Generator, number: int, classes: int, style: str, levels: int
) -> FrameResult:
    truth = _boxes(rng, int(rng.choice([0, 1, 3, 8])), style)
    crowds = _boxes(rng, int(rng.choice([0, 0, 1, 4])), style)
    alarms = _boxes(rng, int(rng.choice([0, 2, 10, 150])), style)
    truth_labels = rng.integers(0, max(1, classes - int(rng.integers(0, 2))), len(truth))
    crowd_labels = rng.integers(0, classes, len(crowds))
    near = [truth + rng.integers(-1, 2, truth.shape) * (rng.random() < 0.6) for _ in range(3)]
    boxes = np.concatenate([*near[: rng.integers(0, 4)], crowds, alarms])
    labels = np.concatenate([*[truth_labels] * 3, crowd_labels])[: len(boxes) - len(alarms)]
    labels = np.append(labels, rng.integers(0, classes, len(boxes) - len(labels)))
    order = rng.permutation(len(boxes)) if rng.random() < 0.85 else np.empty(0, int)
    scores = rng.integers(0, levels + 1, len(order)) / levels
    return FrameResult(
        f"recording {number % 3}",
        number,
        Boxes(truth.astype(np.float32), truth_labels),
        Boxes(boxes[order].astype(np.float32), labels[order], scores.astype(np.float32)),
        scale=int(rng.integers(1, 3)),
        ignored=Boxes(crowds.astype(np.float32), crowd_labels),
    )


def _boxes(rng: np.random.Generator, count: int, style: str) -> np.ndarray:
    shape = count, 2
    corners, sides = {
        "grid": lambda: (rng.integers(0, 6, shape), rng.integers(0, 6, shape)),
        "borders of sizes": lambda: (
            rng.integers(0, 60, shape),
            rng.choice([0, 1, 16, 32, 48, 96, 97, 128], shape),
        ),
        "anywhere": lambda: (rng.uniform(-20, 60, shape), rng.uniform(-2, 40, shape)),
        "huge": lambda: (
            rng.uniform(-1e5, 1e5, shape),
            rng.choice([1.0, 32.0, 1e5, 1.5e5, 5e6], shape),
        ),
        "tiny": lambda: (rng.uniform(0, 1, shape), rng.choice([1e-20, 1e-6, 1e-3, 0.5], shape)),
    }[style]()
    return np.hstack([corners, corners + sides]).astype(np.float64)
