"""Check that a GPU computes correctly, and measure its speed and memory.

Example: python tools/gpu_check.py

Runs the tests that need a GPU, compares results with the CPU, trains, measures memory (also beside
its prediction), latency (also through CUDA graphs) and throughput, and runs the demo; with
--reference it also takes turns with RVT's own code. Each part runs in a process of its own and has
a time limit; if one fails or takes too long, the others still run.
Writes a JSON file with figures and a log for each part, and report.md with all tables, into --out.
Takes 25 minutes at most. The same command again runs only what has not passed yet.
--device cpu --small does a little of everything without a GPU.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from etram_mmdet.analysis.speed.gpu_check.parts import PARTS, chosen_parts
from etram_mmdet.utils.cli import exit_on_input_error, make_parser
from etram_mmdet.utils.environment import machine
from etram_mmdet.utils.interruption import stop_once

if TYPE_CHECKING:
    import torch


def parse_args() -> argparse.Namespace:
    limits = ", ".join(f"{part.name} {part.limit_s / 60:g}" for part in PARTS.values())
    parser = make_parser(__doc__)
    parser.add_argument(
        "--parts",
        nargs="+",
        metavar="NAME",
        help="run only these parts (default: all, reference only with --reference); their time "
        f"limits in minutes: {limits}",
    )
    parser.add_argument(
        "--reference",
        type=Path,
        metavar="RVT",
        help="folder of RVT's code, which will be executed and timed beside ours",
    )
    parser.add_argument(
        "--device",
        choices=("cuda", "cpu"),
        default="cuda",
        help="device to check; CUDA_VISIBLE_DEVICES selects one of several GPUs "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--small", action="store_true", help="tiny networks and frames and few steps, for a trial"
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="folder for figures, logs and report (default: work_dirs/gpu_check/DEVICE_NAME)",
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=25,
        help="time limit of all parts together, in minutes (default: %(default)s)",
    )
    parser.add_argument(
        "--again", action="store_true", help="also repeat parts that have already passed"
    )
    return parser.parse_args()


def default_folder(device: torch.device, size: str) -> Path:
    words = re.findall(r"[a-z0-9]+", f"{machine(device)['device']} {size}".lower())
    return Path("work_dirs/gpu_check", "_".join(words))


def main() -> None:
    args = parse_args()
    import torch

    from etram_mmdet.analysis.speed import cuda
    from etram_mmdet.analysis.speed.gpu_check.launch import Check
    from etram_mmdet.analysis.speed.gpu_check.report import REPORT_FILE, summary
    from etram_mmdet.analysis.speed.gpu_check.result import PASSED
    from etram_mmdet.analysis.speed.gpu_check.size import FULL, SMALL

    with exit_on_input_error("stopped"), stop_once():  # stops the running part too
        parts = chosen_parts(args.parts, args.reference)
        device = torch.device(args.device)
        size = replace(SMALL if args.small else FULL, reference=args.reference)
        cuda.check(device)
        folder = args.out or default_folder(device, size.name)
        check = Check(args.device, size, folder, lambda line: print(line, flush=True))
        results = check.run(parts, args.minutes, args.again)
    print(f"\n{summary(results)}\n\n{folder / REPORT_FILE}")
    missing = [
        name for name, result in results.items() if result is None or result.status != PASSED
    ]
    if missing:
        sys.exit(
            f"error: {len(missing)} of {len(results)} parts have not passed: {', '.join(missing)}"
        )


if __name__ == "__main__":
    main()
