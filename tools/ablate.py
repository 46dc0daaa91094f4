"""Train and compare configs at equal samples seen: python tools/ablate.py configs/ablations/NAME.py

Each run of the file is trained with each seed and evaluated once, after its last step. Finished runs are kept, an
interrupted one goes on from its last checkpoint: call the same command again. The table tells what may not be compared.
It is table.md with table.png; with --runs, --seeds or --baseline view.md with view.png.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from etram_mmdet.utils.cli import exit_on_input_error, make_parser
from etram_mmdet.utils.files import atomic_write

if TYPE_CHECKING:
    from etram_mmdet.analysis.runs.plan import Plan


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument(
        "plan", metavar="ABLATION.py", help="for example configs/ablations/seed_experiment.py"
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="where runs, table and figure go; default: work_dirs/ablations/NAME",
    )
    parser.add_argument(
        "--devices",
        nargs="+",
        help="GPUs as CUDA_VISIBLE_DEVICES names them, one run each at a time; or cpu, as often as runs may go at once",
    )
    parser.add_argument(
        "--samples", type=int, help="clips that each run trains on, instead of the file's number"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=(), help="instead of the file's")
    parser.add_argument(
        "--runs", nargs="+", default=(), metavar="NAME", help="only these, and the baseline"
    )
    parser.add_argument(
        "--baseline", metavar="NAME", help="the run that the others are compared with"
    )
    parser.add_argument(
        "--table-only", action="store_true", help="train nothing; tabulate what has finished"
    )
    return parser.parse_args()


def summarise(plan: Plan, out: Path, name: str) -> None:
    from etram_mmdet.analysis.runs.ablation_report import draw_ablation, format_ablation
    from etram_mmdet.analysis.runs.launch import check_order, finished_result, run_folder
    from etram_mmdet.analysis.runs.statistics import compare

    for variant, seed in plan.runs:
        check_order(out, variant, seed)
    found = [
        (v, [finished_result(run_folder(out, v, seed), v) for seed in plan.seeds])
        for v in plan.variants
    ]
    rows = compare(
        [(variant, [result for result in results if result]) for variant, results in found]
    )
    table = format_ablation(rows)
    with atomic_write(out / f"{name}.md") as aside:
        aside.write_text(table)
    draw_ablation(rows, out / f"{name}.png")
    print(f"\n{table}\n{out / name}.md, {out / name}.png")


def main() -> None:
    args = parse_args()
    from etram_mmdet.analysis.runs.launch import Launcher, default_devices
    from etram_mmdet.analysis.runs.plan import load_plan

    with exit_on_input_error(
        "stopped; finished runs are kept, the same command goes on with the others"
    ):
        plan = load_plan(args.plan, args.samples, args.seeds, args.runs, args.baseline)
        name = Path(args.plan).stem + (f"_{args.samples}_samples" if args.samples else "")
        out = args.out or Path("work_dirs/ablations", name)
        failed = []
        if not args.table_only:
            say = lambda line: print(line, flush=True)  # noqa: E731
            devices = args.devices or default_devices()
            failed = Launcher(plan, out, devices, Path(__file__).with_name("train.py"), say).run()
        is_view = (
            args.runs or args.seeds or args.baseline
        )  # beside the whole table, not in its place
        summarise(plan, out, "view" if is_view else "table")
    if failed:
        sys.exit(f"error: {len(failed)} runs failed:\n  " + "\n  ".join(failed))


if __name__ == "__main__":
    main()
