"""Compare COCO's numbers with those of pycocotools for many random evaluations.

    python tests/proofs/coco_numbers.py --count 1000

All twelve numbers, and AP and AP50 of each class, must be equal to 1e-12.
:mod:`tests.helpers.random_frames` says what the frames hold. The same is compared after all
boxes became one class, as the protocol ``etram_paper`` has it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np

from etram_mmdet.evaluation.coco import class_agnostic, coco_metrics
from etram_mmdet.evaluation.results import FrameResult
from tests.helpers.coco_referee import coco_numbers
from tests.helpers.random_frames import random_frames

TOLERANCE = 1e-12
OF_OURS_ONLY = ("frames", "boxes", "AP_small_classes")


def differing(frames: Sequence[FrameResult], classes: Sequence[str]) -> list[str]:
    """Numbers that differ, or that only one of the two knows."""
    ours = coco_metrics(frames, classes)
    theirs = coco_numbers(frames, classes)
    keys = (ours.keys() | theirs.keys()) - set(OF_OURS_ONLY)
    far = [k for k in keys if not abs(ours.get(k, np.nan) - theirs.get(k, np.nan)) <= TOLERANCE]
    return [f"{key}: {ours.get(key)}, pycocotools {theirs.get(key)}" for key in sorted(far)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300)
    args = parser.parse_args()
    compared = 0
    failed = 0
    for seed in range(args.count):
        frames, classes = random_frames(seed)
        if not any(len(frame.truth) for frame in frames):
            continue
        problems = differing(frames, classes)
        problems += differing(class_agnostic(frames).frames(), ("any",))
        compared += 1
        failed += bool(problems)
        for problem in problems:
            print(f"seed {seed}: {problem}")
    print(
        f"{compared} evaluations compared, {args.count - compared} without a box; {failed} differ"
    )
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
