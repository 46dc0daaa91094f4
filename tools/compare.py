"""Table and plot of several training runs: python tools/compare.py RUN RUN [...]

RUN is a work folder of tools/train.py. Says which settings of the runs differ, and refuses to put numbers beside each
other that were measured under other rules or on other data. For a claim that one config is better: tools/ablate.py.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from etram_mmdet.utils.cli import exit_on_input_error, make_parser
from etram_mmdet.utils.files import atomic_write


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="two or more, such as work_dirs/baseline"
    )
    parser.add_argument("--out", type=Path, default=Path("work_dirs/compare"), metavar="FOLDER")
    parser.add_argument(
        "--split", choices=("val", "test"), default="val", help="whose evaluations; default: val"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--step", type=int, help="compare the evaluations at this step instead of each run's last"
    )
    which.add_argument(
        "--best", action="store_true", help="compare each run's evaluation of highest AP instead"
    )
    parser.add_argument(
        "--allow-other-training-data", action="store_true", help="warn instead of refusing"
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
