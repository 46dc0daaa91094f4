"""Compare training runs that have finished: their AP and the settings in which they differ.

Example: python tools/compare.py work_dirs/baseline work_dirs/patch2_sizeaware

Reads the work folders of tools/train.py. Refuses to compare numbers that were measured by other
protocols or on other data.
Writes compare.md (also printed) and compare.png into --out. One run per config cannot show that a
config is better than another; tools/ablate.py trains several seeds for that.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from etram_mmdet.utils.cli import exit_on_input_error, make_parser
from etram_mmdet.utils.files import atomic_write


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="two or more work folders, such as work_dirs/baseline",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("work_dirs/compare"),
        metavar="FOLDER",
        help="folder for table and figure (default: %(default)s)",
    )
    parser.add_argument(
        "--split",
        choices=("val", "test"),
        default="val",
        help="split whose evaluations are compared (default: %(default)s)",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--step",
        type=int,
        help="compare the evaluations at this training step (default: each run's last evaluation)",
    )
    which.add_argument(
        "--best",
        action="store_true",
        help="compare each run's evaluation with the highest AP instead of its last one",
    )
    parser.add_argument(
        "--allow-other-training-data",
        action="store_true",
        help="only warn if runs were trained on different data, instead of refusing",
    )
    args = parser.parse_args()
    if len(args.runs) < 2:
        parser.error(f"expected two or more runs, got only {args.runs[0]}")
    return args


def main() -> None:
    args = parse_args()
    from etram_mmdet.analysis.runs.agreement import check_comparable
    from etram_mmdet.analysis.runs.comparison_report import draw_comparison, format_comparison
    from etram_mmdet.analysis.runs.evaluations import Selection
    from etram_mmdet.analysis.runs.run import read_runs

    with exit_on_input_error():
        selection = Selection(args.split, args.step, args.best)
        runs = read_runs(args.runs, selection)
        check_comparable(runs, args.allow_other_training_data)
        text = args.out / "compare.md"
        figure = args.out / "compare.png"
        table = format_comparison(runs, selection)
        draw_comparison(runs, selection, figure)
        with atomic_write(text) as aside:
            aside.write_text(table, encoding="utf-8")
        print(f"{table}\n{text}, {figure}")


if __name__ == "__main__":
    main()
