"""Score thresholds for deployment: python tools/tune_thresholds.py PREDICTIONS.json [--precision .9 | ...]

PREDICTIONS is what tools/test.py --out saved. The gain that is shown is that on recordings unseen in tuning; of a
single recording, on blocks of its time.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from etram_mmdet.evaluation.operating_points import SCORE_THR
from etram_mmdet.utils.cli import exit_on_input_error, make_parser
from etram_mmdet.utils.files import atomic_write


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("predictions", type=Path)
    goals = parser.add_mutually_exclusive_group()
    goals.add_argument(
        "--f-beta",
        type=float,
        metavar="BETA",
        help="largest F-beta of each class (default, with 1)",
    )
    goals.add_argument(
        "--precision", type=float, help="the most recall with at least this precision"
    )
    goals.add_argument("--recall", type=float, help="the most precision with at least this recall")
    goals.add_argument(
        "--false-alarms", type=float, metavar="PER_MIN", help="most recall with so many per class"
    )
    parser.add_argument(
        "--step-ms", type=float, help="from window to window in deployment (default: as predicted)"
    )
    parser.add_argument(
        "--by-size", action="store_true", help="thresholds for small, medium and large boxes"
    )
    parser.add_argument(
        "--nms", action="store_true", help="choose NMS of each class too, among stricter ones"
    )
    parser.add_argument(
        "--min-boxes", type=int, default=20, help="fewer: no threshold of its own (default: 20)"
    )
    parser.add_argument(
        "--before", type=float, default=SCORE_THR, help="to compare with (default: %(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, help="config fragment; default: operating_points.py beside PREDICTIONS"
    )
    args = parser.parse_args()
    if args.step_ms is not None and not args.step_ms > 0:
        parser.error(f"--step-ms {args.step_ms}: expected more than 0")
    args.out = args.out or args.predictions.with_name("operating_points.py")
    if args.out.suffix != ".py":
        parser.error(f"--out {args.out}: a config fragment is a .py file")
    return args


def main() -> None:
    args = parse_args()
    from etram_mmdet.evaluation.operating_points import report
    from etram_mmdet.evaluation.operating_points.goals import GOALS
    from etram_mmdet.evaluation.operating_points.tuning import Options, stricter_nms, tune
    from etram_mmdet.evaluation.predictions import load_predictions
    from etram_mmdet.evaluation.protocols import PROTOCOLS
    from etram_mmdet.visualization.figures.tuning import draw_tuning

    with exit_on_input_error():
        given = {name: getattr(args, name) for name in GOALS if getattr(args, name) is not None}
        name, value = next(iter(given.items()), ("f_beta", 1.0))
        goal = GOALS[name](value)
        saved = load_predictions(args.predictions)
        if args.step_ms is not None:
            step_us = round(args.step_ms * 1000)
            saved = saved._replace(
                frames=[frame._replace(step_us=step_us) for frame in saved.frames]
            )
        frames, _ = PROTOCOLS["coco"].select(
            saved.frames
        )  # what a person is shown: boxes cut to the frame
        nms_ious = stricter_nms(saved, args.predictions) if args.nms else ()
        tuned = tune(
            frames,
            saved.classes,
            Options(goal, args.min_boxes, args.by_size, nms_ious),
            args.before,
        )
        sentences = report.origin(goal, saved, args.predictions, tuned.notes)
        with atomic_write(args.out) as aside:
            aside.write_text(report.points_as_config(tuned.points, sentences))
        figure = args.out.with_suffix(".png")
        draw_tuning(tuned, args.before, f"{args.predictions.name}: {goal}", figure)
        print(f"goal: {goal}\n\n{report.format_tuning(tuned, args.before)}\n\n{args.out}, {figure}")
        print(
            f"\npython tools/detect.py CHECKPOINT RECORDING --out film.mp4 --operating-points {args.out}"
        )


if __name__ == "__main__":
    main()
