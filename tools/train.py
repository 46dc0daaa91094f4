"""Train a detector: python tools/train.py CONFIG [--work-dir DIR] [--resume] ..."""

from __future__ import annotations

import etram_mmdet.utils.threads  # noqa: F401  before PyTorch is loaded

# isort: split
import argparse
import os
from pathlib import Path
from tempfile import TemporaryDirectory

from mmengine.config import Config, DictAction

from etram_mmdet.engine.config.load import load_config
from etram_mmdet.engine.runner.stream_runner import StreamRunner, latest_checkpoint
from etram_mmdet.utils.cli import exit_on_input_error


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file, for example configs/patch2_sizeaware.py")
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
        "--dry-run", action="store_true", help="check everything, run one batch and one validation batch, keep nothing"
    )
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, metavar="KEY=VALUE", help="override the config")
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    return args


def dry_run(cfg: Config) -> None:
    """Everything up to the first step in a folder that vanishes."""
    if cfg.resume and cfg.load_from is None:
        cfg.load_from = latest_checkpoint(cfg.work_dir)
    with TemporaryDirectory() as folder:
        cfg.work_dir = folder
        cfg.train_cfg.type = "DryRunLoop"
        StreamRunner.from_cfg(cfg).train()


def main() -> None:
    args = parse_args()
    with exit_on_input_error():
        cfg = load_config(args.config, {**(args.cfg_options or {}), "auto_scale_lr.enable": args.auto_scale_lr})
        cfg.launcher = args.launcher
        cfg.work_dir = args.work_dir or cfg.get("work_dir") or f"work_dirs/{Path(args.config).stem}"
        if args.amp:
            cfg.optim_wrapper.type = "AmpOptimWrapper"
        if args.resume:
            cfg.resume = True
            cfg.load_from = None if args.resume == "auto" else args.resume
        if args.dry_run:
            dry_run(cfg)
        else:
            StreamRunner.from_cfg(cfg).train()


if __name__ == "__main__":
    main()
