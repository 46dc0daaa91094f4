"""All that needs a GPU, in one command: tests, agreement with the CPU, training, memory, latency, throughput, demo.

Each part runs in a process of its own, leaves a JSON file with its figures and a log, and has a time limit; one that
fails or takes too long does not stop the others. Call the same command again to run what has not passed yet.
report.md beside them holds the tables. --device cpu --small does a little of everything without a GPU.
"""

from __future__ import annotations

import argparse
import re
import sys
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
        "--parts", nargs="+", default=list(PARTS), metavar="NAME", help=f"minutes at most: {limits}"
    )
    parser.add_argument(
        "--device", choices=("cuda", "cpu"), default="cuda", help="CUDA_VISIBLE_DEVICES picks a GPU"
    )
    parser.add_argument(
        "--small", action="store_true", help="tiny networks and frames, a few steps: to try it out"
    )
    parser.add_argument("--out", type=Path, help="default: work_dirs/gpu_check/NAME_OF_THE_DEVICE")
    parser.add_argument("--minutes", type=float, default=25, help="for all parts together")
    parser.add_argument(
        "--again", action="store_true", help="run parts that have passed before too"
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

    with exit_on_input_error("stopped"), stop_once():  # so that the part at work is stopped too
        parts = chosen_parts(args.parts)
        device = torch.device(args.device)
        size = SMALL if args.small else FULL
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
