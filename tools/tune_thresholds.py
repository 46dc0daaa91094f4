"""Choose a score threshold for each class, for use in deployment.

Example: python tools/tune_thresholds.py predictions.json --precision 0.9

Reads predictions that tools/test.py --out saved.
Writes a config fragment, which tools/detect.py takes as --operating-points, and a figure. Prints
what the thresholds gain on recordings that were not used to choose them; if there is only one
recording, on parts of it that were not used.
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from etram_mmdet.evaluation.operating_points import SCORE_THR
from etram_mmdet.utils.cli import check_positive, exit_on_input_error, make_parser
from etram_mmdet.utils.files import atomic_write


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument(
        "predictions", type=Path, metavar="PREDICTIONS", help="file of predictions, .json or .npz"
    )
    goals = parser.add_mutually_exclusive_group()
    goals.add_argument(
        "--f-beta",
        type=float,
        metavar="BETA",
        help="goal: highest F-beta score of each class (default, with BETA = 1)",
    )
    goals.add_argument(
        "--precision", type=float, help="goal: highest recall with at least this precision, 0 to 1"
    )
    goals.add_argument(
        "--recall", type=float, help="goal: highest precision with at least this recall, 0 to 1"
    )
    goals.add_argument(
        "--false-alarms",
        type=float,
        metavar="PER_MIN",
        help="goal: highest recall with at most PER_MIN false alarms of each class per minute",
    )
    parser.add_argument(
        "--step-ms",
        type=float,
        help="milliseconds between two windows in deployment (default: as in the predictions)",
    )
    parser.add_argument(
        "--by-size",
        action="store_true",
        help="choose thresholds for small, medium and large boxes separately",
    )
    parser.add_argument(
        "--nms",
        action="store_true",
        help="also choose the IoU threshold of NMS for each class, among values below that of the "
        "predictions",
    )
    parser.add_argument(
        "--min-boxes",
        type=int,
        default=20,
        help="a class with fewer boxes gets the threshold of all classes (default: %(default)s)",
    )
    parser.add_argument(
        "--before",
        type=float,
        default=SCORE_THR,
        help="threshold for all classes that the result is compared with (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="config fragment to write (default: operating_points.py in the folder of PREDICTIONS)",
    )
    args = parser.parse_args()
    check_positive(parser, args, "--step-ms")
    args.out = args.out or args.predictions.with_name("operating_points.py")
    if args.out.suffix != ".py":
        parser.error(f"--out {args.out}: a config fragment is a .py file")
    return args


def main() -> None:
    args = parse_args()
    from etram_mmdet.evaluation.frame_columns import FrameColumns
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
        # Boxes are cut to the frame, as in a film or a CSV file.
        frames, _ = PROTOCOLS["coco"].select_columns(FrameColumns.of(saved.frames))
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
            f"\nnext:\npython tools/detect.py {shlex.quote(saved.checkpoint or 'CHECKPOINT')} "
            f"RECORDING --out film.mp4 --operating-points {shlex.quote(str(args.out))}"
        )


if __name__ == "__main__":
    main()
