"""Train a detector.

Example: python tools/train.py configs/patch2_sizeaware.py --resume auto

Reads a config and the preprocessed data that it names.
Writes checkpoints, log, results.csv and pictures into the work folder; index.html there says what
each file is. --dry-run finds most mistakes in a minute. README lists training times.
Ctrl-C (SIGINT) and SIGTERM end the current step, or the current batch of a validation, save a
checkpoint and exit with status 130 and 143. A second signal, more than a second after the first,
ends the training at once. With `--resume auto` the same command starts a training and continues it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from etram_mmdet.utils.cli import exit_on_input_error, make_parser
from etram_mmdet.utils.cli.config import add_cfg_options, add_config
from etram_mmdet.utils.cli.launching import add_launcher, use_launcher
from etram_mmdet.utils.restarts import check_restarts, ends_for_good

if TYPE_CHECKING:
    from mmengine.config import Config

NEWEST = "newest"  # value of --resume without a word


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    add_config(parser)
    parser.add_argument(
        "--work-dir", help="folder for checkpoints and logs (default: work_dirs/CONFIG_NAME)"
    )
    parser.add_argument(
        "--amp", action="store_true", help="train in mixed precision, if there is a GPU"
    )
    parser.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="scale the learning rate with the batch size of all processes together",
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        const=NEWEST,
        metavar="CHECKPOINT",
        help="continue from CHECKPOINT; without a value: from the newest intact checkpoint in the "
        "work folder; with the word auto: the same, or start from the beginning if there is none",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="check everything and keep nothing: one step, a short validation, every hook",
    )
    add_cfg_options(parser)
    add_launcher(parser)
    return parser.parse_args()


def use_resume(cfg: Config, resume: str | None) -> None:
    """Write ``--resume`` into ``cfg``."""
    from etram_mmdet.engine.checkpoints.folder import find_checkpoint

    if resume == "auto" and find_checkpoint(cfg.work_dir) is None:
        print(
            f"{cfg.work_dir}: no checkpoint yet, so training starts from the beginning", flush=True
        )
    elif resume:
        cfg.resume = True
        cfg.load_from = None if resume in ("auto", NEWEST) else resume


def train(cfg: Config) -> None:
    from etram_mmdet.engine.runner.stream_runner import StreamRunner

    StreamRunner.from_cfg(cfg).train()


def main() -> None:
    args = parse_args()
    with exit_on_input_error(), ends_for_good():
        from etram_mmdet.engine.config.load import load_config
        from etram_mmdet.engine.runner.dry_run import dry_run
        from etram_mmdet.engine.runner.rank_watch import leave_ranks

        check_restarts(args.resume)
        options = {**(args.cfg_options or {}), "auto_scale_lr.enable": args.auto_scale_lr}
        cfg = load_config(args.config, options)
        use_launcher(cfg, args)
        cfg.work_dir = args.work_dir or cfg.get("work_dir") or f"work_dirs/{Path(args.config).stem}"
        if args.amp:
            cfg.optim_wrapper.type = "AmpOptimWrapper"
        use_resume(cfg, args.resume)
        dry_run(cfg) if args.dry_run else train(cfg)
        leave_ranks()


if __name__ == "__main__":
    main()
