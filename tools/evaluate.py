"""Compute AP from saved predictions, without running a network.

Example: python tools/evaluate.py predictions.json --protocols coco prophesee

Reads a file (.json or .npz) that tools/test.py --out saved, or boxes of any other detector in the
same form, which etram_mmdet/evaluation/predictions.py describes. With --config the ground truth
comes from the data of that config, and the files must then hold every labelled frame. Frames
between labels, which tools/detect.py also writes, are left out.
Prints one table per protocol and writes nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from etram_mmdet.utils.cli import exit_on_input_error, make_parser
from etram_mmdet.utils.cli.config import add_cfg_options
from etram_mmdet.utils.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from etram_mmdet.evaluation.predictions import Predictions
    from etram_mmdet.evaluation.protocols import Protocol
    from etram_mmdet.evaluation.results import FrameResult


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument(
        "predictions",
        type=Path,
        nargs="+",
        metavar="PREDICTIONS",
        help="file of predictions, .json or .npz; or several, one for each recording",
    )
    parser.add_argument(
        "--protocols",
        nargs="+",
        default=["coco"],
        metavar="PROTOCOL",
        help="rules of evaluation, the main one first: coco, prophesee, prophesee_gen1, "
        "etram_paper, each also with :class behind it (default: coco)",
    )
    parser.add_argument(
        "--config",
        type=Path,
        help="config whose data hold the ground truth (default: the truth in the predictions)",
    )
    parser.add_argument(
        "--split",
        choices=["val", "test"],
        default="val",
        help="data set of --config that holds the ground truth (default: %(default)s)",
    )
    add_cfg_options(parser)
    return parser.parse_args()


def frames_of(
    args: argparse.Namespace, protocols: Sequence[Protocol]
) -> tuple[list[FrameResult], tuple[str, ...]]:
    from etram_mmdet.evaluation.predictions import check_may_judge, load_together

    saved = load_together(args.predictions, with_truth=args.config is None)
    check_may_judge(saved, protocols, args.predictions[0])
    if args.config is None:
        if not any(len(frame.truth) or len(frame.ignored) for frame in saved.frames):
            raise InputError(
                f"{args.predictions[0]}: holds no box of ground truth (tools/detect.py writes "
                "none); name a config whose data hold the labels of these frames: --config CONFIG"
            )
        return saved.frames, saved.classes
    return with_data(saved, args)


def with_data(
    saved: Predictions, args: argparse.Namespace
) -> tuple[list[FrameResult], tuple[str, ...]]:
    """The frames with the ground truth of a config's data; only this needs PyTorch."""
    from mmdet.registry import DATASETS
    from mmengine.registry import init_default_scope

    from etram_mmdet.engine.config.load import load_config
    from etram_mmdet.engine.config.refusals import refused_settings
    from etram_mmdet.evaluation.ground_truth import truth_of
    from etram_mmdet.evaluation.predictions import with_truth_of

    init_default_scope("mmdet")
    cfg = load_config(args.config, args.cfg_options)
    with refused_settings(cfg):
        dataset = DATASETS.build(cfg[f"{args.split}_dataloader"].dataset)
    classes = tuple(dataset.metainfo["classes"])
    if classes != saved.classes:
        raise InputError(
            f"{args.predictions[0]}: has the classes {', '.join(saved.classes)}, but "
            f"{dataset.folder} has {', '.join(classes)}; choose another class_set"
        )
    first, *more = args.predictions
    source = f"{first} and {len(more)} more" if more else first
    frames = with_truth_of(saved.frames, truth_of(dataset), source)
    if len(frames) < len(saved.frames):
        print(f"{len(saved.frames) - len(frames):,} frames between labels are left out")
    return sorted(frames, key=lambda frame: frame.key), classes


def main() -> None:
    args = parse_args()
    from etram_mmdet.evaluation.evaluate import evaluate
    from etram_mmdet.evaluation.protocols import get_protocols

    with exit_on_input_error():
        protocols = get_protocols(args.protocols)
        frames, classes = frames_of(args, protocols)
        evaluate(frames, classes, protocols, log=print)


if __name__ == "__main__":
    main()
