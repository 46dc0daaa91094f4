"""Evaluate a checkpoint on the test split: AP by class and size.

Example: python tools/test.py work_dirs/demo --out predictions.json

Reads a checkpoint, which carries its config; CONFIG may replace that one, but must describe the
same model.
Writes the log and results.csv into the work folder. With --out it also writes predictions, with
--show-dir pictures.
"""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from pathlib import Path

from etram_mmdet.utils.cli import exit_on_input_error, make_parser
from etram_mmdet.utils.cli.config import add_cfg_options
from etram_mmdet.utils.cli.launching import add_launcher, use_launcher
from etram_mmdet.utils.restarts import ends_for_good


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="[CONFIG] CHECKPOINT",
        help="CHECKPOINT: a file, a work folder (its newest checkpoint), or the word demo",
    )
    parser.add_argument(
        "--work-dir", help="folder for the log and results.csv (default: the checkpoint's folder)"
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="save predictions and ground truth of every evaluated frame as .json or .npz (smaller "
        "and faster)",
    )
    parser.add_argument(
        "--show-dir",
        metavar="DIR",
        help="folder for pictures of frames with ground truth and detections",
    )
    parser.add_argument(
        "--show-every",
        type=int,
        default=50,
        metavar="N",
        help="draw only every N-th labelled frame of a recording (default: %(default)s)",
    )
    parser.add_argument(
        "--show-films",
        action="store_true",
        help="also write a film of each recording into --show-dir",
    )
    parser.add_argument("--show", action="store_true", help="show each picture in a window")
    parser.add_argument(
        "--wait-time",
        type=float,
        default=2,
        metavar="S",
        help="seconds for which --show shows each picture (default: %(default)s)",
    )
    parser.add_argument(
        "--tta",
        action="store_true",
        help="test-time augmentation: run each stream also mirrored and merge the detections",
    )
    add_cfg_options(parser)
    add_launcher(parser)
    args = parser.parse_args()
    if len(args.paths) > 2:
        parser.error(f"expected [CONFIG] CHECKPOINT, got {len(args.paths)} paths")
    if args.out and not args.out.endswith((".json", ".npz")):
        parser.error(f"--out {args.out}: predictions are saved as .json or .npz; name such a file")
    if args.show_every < 1:
        parser.error(f"--show-every {args.show_every}: expected at least 1")
    if args.show_films and not args.show_dir:
        parser.error("--show-films: films are written to --show-dir; name that folder too")
    args.config, args.checkpoint = [None, *args.paths][-2:]
    return args


def main() -> None:
    args = parse_args()
    from etram_mmdet.engine.checkpoints.carried_config import carried_by
    from etram_mmdet.engine.checkpoints.folder import checkpoint_file, work_folder_of
    from etram_mmdet.engine.checkpoints.opening import config_for_checkpoint
    from etram_mmdet.engine.config.test_options import draw_detections, mirror_streams
    from etram_mmdet.engine.hooks.event_visualization import check_pictures
    from etram_mmdet.engine.runner.rank_watch import leave_ranks
    from etram_mmdet.engine.runner.stream_runner import StreamRunner
    from etram_mmdet.evaluation.event_coco_metric import save_evaluated
    from etram_mmdet.utils.files import check_writable

    with exit_on_input_error(), ends_for_good():
        checkpoint = checkpoint_file(args.checkpoint)
        cfg = config_for_checkpoint(args.config, checkpoint, args.cfg_options)
        use_launcher(cfg, args)
        cfg.work_dir = args.work_dir or work_folder_of(checkpoint)
        if args.show_dir or args.show:
            draw_detections(
                cfg, args.show_dir, args.show_every, args.show_films, args.show, args.wait_time
            )
        if args.tta:
            mirror_streams(cfg)
        if args.out:
            check_writable(Path(args.out))
        with nullcontext() if args.config else carried_by(checkpoint):
            runner = StreamRunner.from_cfg(cfg)
            if args.config is None:
                runner.try_first_batch()
        runner.test()
        if args.out:
            save_evaluated(runner, Path(args.out))
        check_pictures(runner)
        leave_ranks()


if __name__ == "__main__":
    main()
