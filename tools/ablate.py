"""Train several configs, each with several seeds, and write one table of their AP.

Example: python tools/ablate.py configs/ablations/seed_experiment_small.py --devices cpu cpu

Reads an ablation file: the runs, their configs, the seeds and the number of training clips, which
is the same for all runs that are compared. Each run is evaluated once, after its last step.
Writes the trainings, table.md and table.png into --out; with --runs, --seeds or --baseline the
table is called view.md and view.png. The table names the runs that must not be compared, and why.
The example needs the data of `make demo` and about an hour on two CPU cores. Stopped, it goes on
with the same command: finished runs are kept, others continue from their last checkpoint.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from etram_mmdet.utils.cli import exit_on_input_error, make_parser
from etram_mmdet.utils.cli.launching import add_submitit
from etram_mmdet.utils.files import atomic_write

if TYPE_CHECKING:
    from etram_mmdet.analysis.runs.plan import Plan


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument(
        "plan",
        metavar="ABLATION.py",
        help="ablation file, for example configs/ablations/seed_experiment.py",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="folder for trainings, table and figure (default: work_dirs/ablations/NAME)",
    )
    parser.add_argument(
        "--devices",
        nargs="+",
        help="GPU numbers as in CUDA_VISIBLE_DEVICES, with one run at a time on each; or the word "
        "cpu, repeated once per parallel run (default: all GPUs, without a GPU one cpu)",
    )
    parser.add_argument(
        "--samples",
        type=int,
        help="number of clips that each run trains on (default: the number in the ablation file)",
    )
    parser.add_argument(
        "--seeds",
        nargs="+",
        type=int,
        default=(),
        help="random seeds (default: those in the ablation file)",
    )
    parser.add_argument(
        "--runs",
        nargs="+",
        default=(),
        metavar="NAME",
        help="train only these runs and the baseline (default: all runs)",
    )
    parser.add_argument(
        "--baseline",
        metavar="NAME",
        help="run that the others are compared with (default: the ablation file's)",
    )
    parser.add_argument(
        "--table-only",
        action="store_true",
        help="train nothing, only write the table of the finished runs",
    )
    add_submitit(parser, "Train each run in a job of its own, at most N at the same time.")
    args = parser.parse_args()
    if args.submitit and args.devices:
        parser.error(
            "--devices: the jobs of --submitit get theirs from submitit: --submitit-options"
        )
    return args


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
    from etram_mmdet.utils.jobs import Jobs

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
            jobs = None
            if args.submitit:
                jobs = Jobs(out / "jobs", "ablate", args.submitit, dict(args.submitit_options))
            tool = Path(__file__).with_name("train.py")
            failed = Launcher(plan, out, devices, tool, say, jobs).run()
        # A view has a file of its own, so that the table of all runs is kept.
        is_view = args.runs or args.seeds or args.baseline
        summarise(plan, out, "view" if is_view else "table")
    if failed:
        sys.exit(f"error: {len(failed)} runs failed:\n  " + "\n  ".join(failed))


if __name__ == "__main__":
    main()
