"""Train a detector: python tools/train.py CONFIG [--work-dir DIR] [--resume] ...

Ctrl-C (SIGINT) and SIGTERM end the current step, or the current batch of a validation, save a checkpoint and exit with
status 130 and 143. A second signal, more than a second after the first, ends the training at once. With `--resume auto`
one command serves for every start: the first one, and each that goes on.
"""

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

NEWEST = "newest"  # what --resume without a word stands for


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    add_config(parser)
    parser.add_argument(
        "--work-dir", help="where checkpoints and logs go; default work_dirs/CONFIG_NAME"
    )
    parser.add_argument("--amp", action="store_true", help="mixed precision where there is a GPU")
    parser.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="scale the learning rate with the batches of all processes",
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        const=NEWEST,
        metavar="CHECKPOINT",
        help="go on from CHECKPOINT; default: the newest intact one in the work folder; with the word auto: that one, "
        "or from the start where there is none yet",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="check everything: one step, a short validation, every hook; keep nothing",
    )
    add_cfg_options(parser)
    add_launcher(parser)
    return parser.parse_args()


def use_resume(cfg: Config, resume: str | None) -> None:
    """Write ``--resume`` into ``cfg``."""
    from etram_mmdet.engine.checkpoints.folder import find_checkpoint

    if resume == "auto" and find_checkpoint(cfg.work_dir) is None:
        print(f"{cfg.work_dir}: no checkpoint yet, so the training starts afresh", flush=True)
    elif resume:
        cfg.resume = True
        cfg.load_from = None if resume in ("auto", NEWEST) else resume


def train(cfg: Config) -> None:
    from etram_mmdet.engine.runner.stream_runner import StreamRunner

    StreamRunner.from_cfg(cfg).train()


def main() -> None:
    args = parse_args()
    with exit_on_input_error():
        from etram_mmdet.engine.config.load import load_config
        from etram_mmdet.engine.runner.dry_run import dry_run
        from etram_mmdet.engine.runner.rank_watch import leave_ranks

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
