"""Train a detector: python tools/train.py CONFIG [--work-dir DIR] [--resume] ..."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from etram_mmdet.utils.cli import (
    add_cfg_options,
    add_config,
    add_launcher,
    exit_on_input_error,
    make_parser,
    use_launcher,
)

if TYPE_CHECKING:
    from mmengine.config import Config


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    add_config(parser)
    parser.add_argument("--work-dir", help="where checkpoints and logs go; default work_dirs/CONFIG_NAME")
    parser.add_argument("--amp", action="store_true", help="mixed precision where there is a GPU")
    parser.add_argument(
        "--auto-scale-lr", action="store_true", help="scale the learning rate with the batches of all processes"
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="go on from CHECKPOINT, or from the latest one in the work folder",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="check everything: one step, a short validation, every hook; keep nothing",
    )
    add_cfg_options(parser)
    add_launcher(parser)
    return parser.parse_args()


def train(cfg: Config) -> None:
    from etram_mmdet.engine.runner.stream_runner import StreamRunner

    StreamRunner.from_cfg(cfg).train()


def main() -> None:
    args = parse_args()
    from etram_mmdet.engine.config.load import load_config
    from etram_mmdet.engine.runner.dry_run import dry_run

    with exit_on_input_error():
        options = {**(args.cfg_options or {}), "auto_scale_lr.enable": args.auto_scale_lr}
        cfg = load_config(args.config, options)
        use_launcher(cfg, args)
        cfg.work_dir = args.work_dir or cfg.get("work_dir") or f"work_dirs/{Path(args.config).stem}"
        if args.amp:
            cfg.optim_wrapper.type = "AmpOptimWrapper"
        if args.resume:
            cfg.resume = True
            cfg.load_from = None if args.resume == "auto" else args.resume
        dry_run(cfg) if args.dry_run else train(cfg)


if __name__ == "__main__":
    main()
