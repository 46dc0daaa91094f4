"""Score thresholds for deployment: python tools/tune_thresholds.py PREDICTIONS.json [--precision .9 | ...]

PREDICTIONS is what tools/test.py --out saved. The gain that is shown is that on recordings unseen in tuning.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from etram_mmdet.evaluation.operating_points.goals import FalseAlarms, FBeta, Goal, Precision, Recall
from etram_mmdet.evaluation.operating_points.points import SCORE_THR
from etram_mmdet.evaluation.operating_points.report import format_tuning, fragment
from etram_mmdet.evaluation.operating_points.tuning import NMS_IOUS, Options, Tuned, tune
from etram_mmdet.evaluation.predictions import Predictions, load_predictions
from etram_mmdet.utils.cli import exit_on_input_error
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import atomic_write
from etram_mmdet.visualization.figures.tuning import draw_tuning

GOALS = dict(f_beta=FBeta, precision=Precision, recall=Recall, false_alarms=FalseAlarms)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("predictions", type=Path)
    goals = parser.add_mutually_exclusive_group()
    goals.add_argument("--f-beta", type=float, metavar="BETA", help="largest F-beta of each class (default, with 1)")
    goals.add_argument("--precision", type=float, help="the most recall with at least this precision")
    goals.add_argument("--recall", type=float, help="the most precision with at least this recall")
    goals.add_argument("--false-alarms", type=float, metavar="PER_MIN", help="most recall with so many per class")
    parser.add_argument("--by-size", action="store_true", help="thresholds for small, medium and large boxes")
    parser.add_argument("--nms", action="store_true", help="choose NMS of each class too, among stricter ones")
    parser.add_argument("--min-boxes", type=int, default=20, help="fewer: no threshold of its own (default: 20)")
    parser.add_argument("--before", type=float, default=SCORE_THR, help="to compare with (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="config fragment; default: operating_points.py beside PREDICTIONS")
    args = parser.parse_args()
    args.out = args.out or args.predictions.with_name("operating_points.py")
    if args.out.suffix != ".py":
        parser.error(f"--out {args.out}: a config fragment is a .py file")
    return args


def goal_of(args: argparse.Namespace) -> Goal:
    name, value = next(((n, getattr(args, n)) for n in GOALS if getattr(args, n) is not None), ("f_beta", 1.0))
    return GOALS[name](value)


def stricter_nms(saved: Predictions, path: Path) -> tuple[float, ...]:
    """Boxes that were suppressed before they were saved do not come back."""
    made_with = (saved.test_cfg.get("nms") or {}).get("iou_threshold", 1.0)
    ious = tuple(iou for iou in NMS_IOUS if iou < made_with)
    if not ious:
        raise InputError(
            f"{path}: was made with NMS at IoU {made_with}, there is none stricter to try; leave out --nms"
        )
    return ious


def save(tuned: Tuned, goal: Goal, saved: Predictions, args: argparse.Namespace) -> None:
    recordings = len({frame.recording for frame in saved.frames})
    sentences = (
        f"Made by tools/tune_thresholds.py from {args.predictions}: {goal}, from {len(saved.frames)} frames of "
        f"{recordings} recordings.",
        "For deployment only (tools/detect.py, EventInferencer): AP is measured without.",
        *(f"Note: {note}." for note in tuned.notes),
    )
    with atomic_write(args.out) as aside:
        aside.write_text(fragment(tuned.points, sentences))
    draw_tuning(tuned, args.before, f"{args.predictions.name}: {goal}", args.out.with_suffix(".png"))


def main() -> None:
    args = parse_args()
    with exit_on_input_error():
        goal, saved = goal_of(args), load_predictions(args.predictions)
        options = Options(goal, args.min_boxes, args.by_size, stricter_nms(saved, args.predictions) if args.nms else ())
        tuned = tune(saved.frames, saved.classes, options, args.before)
        save(tuned, goal, saved, args)
        print(f"goal: {goal}\n\n{format_tuning(tuned, args.before)}\n\n{args.out}, {args.out.with_suffix('.png')}")
        print(f"\npython tools/detect.py CHECKPOINT RECORDING --out film.mp4 --operating-points {args.out}")


if __name__ == "__main__":
    main()
