"""Turn eTraM recordings and their labels into the sequence folders that training reads.

IN holds train, val and test, each with NAME_td.h5 and NAME_bbox.npy. A run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import sys
from ast import literal_eval
from functools import partial
from importlib import import_module
from typing import get_args

from tqdm import tqdm

from etram_mmdet.events.preprocessing.folder import preprocess_folder
from etram_mmdet.events.preprocessing.frame_store import Codec
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.events.preprocessing.sources import LabelFiles
from etram_mmdet.events.representations import REPRESENTATIONS
from etram_mmdet.events.representations.base import Downsample
from etram_mmdet.utils.errors import InputError


def parse_args() -> argparse.Namespace:
    default = PreprocessSettings()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("src", metavar="IN", help="dataset folder")
    parser.add_argument("dst", metavar="OUT", help="folder for the sequences")
    parser.add_argument(
        "--preset", choices=("etram", "gen4"), default=default.preset, help="gen4 keeps class ids 0 to 2"
    )
    parser.add_argument(
        "--frames",
        choices=("auto", "rvt", "all"),
        default=default.frames,
        help="rvt: labels at 30 or 60 Hz thinned to 10 Hz; all: every label time; auto: rvt where it applies (default)",
    )
    parser.add_argument(
        "--representation",
        nargs="+",
        default=[default.representation["type"]],
        metavar=("TYPE", "KEY=VALUE"),
        help=f"one of {', '.join(REPRESENTATIONS)}, and its options: bins=5 edges=window (default: RVT's histogram)",
    )
    parser.add_argument(
        "--downsample",
        choices=get_args(Downsample),
        default=default.representation["downsample"],
        help="halve the frame: nearest keeps one pixel in four as RVT does, sum keeps every event",
    )
    parser.add_argument("--window-us", type=int, default=default.window_us, help="length of a window")
    parser.add_argument(
        "--sensor", nargs=2, type=int, metavar=("WIDTH", "HEIGHT"), help="in pixels, for files that do not say"
    )
    parser.add_argument(
        "--labels",
        choices=get_args(LabelFiles),
        default="auto",
        help="which of eTraM's label files: beside the recordings (3 classes) or eight_class; auto prefers these",
    )
    parser.add_argument(
        "--codec",
        choices=get_args(Codec),
        default=default.codec,
        help="lz4 takes two to five times the room and is read about twice as fast; RVT reads both",
    )
    parser.add_argument("--import", dest="modules", nargs="+", default=[], help="modules with your representations")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="recordings at a time")
    parser.add_argument("--overwrite", action="store_true", help="replace sequences that exist")
    return parser.parse_args()


def settings_of(args: argparse.Namespace) -> PreprocessSettings:
    for module in args.modules:
        import_module(module)
    name, *options = args.representation
    representation = {"type": name, "downsample": args.downsample}
    for option in options:
        key, is_given, value = option.partition("=")
        if not is_given:
            raise InputError(f"--representation: {option!r} is not KEY=VALUE")
        representation[key] = parse_value(value)
    sensor_px = tuple(args.sensor) if args.sensor else None
    return PreprocessSettings(args.preset, args.frames, args.window_us, sensor_px, representation, args.codec)


def parse_value(text: str) -> object:
    """A number, True, False or None where the text is one, else the text."""
    try:
        return literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def main() -> int:
    args = parse_args()
    try:
        summary = preprocess_folder(
            args.src,
            args.dst,
            settings_of(args),
            args.workers,
            labels=args.labels,
            overwrite=args.overwrite,
            progress=partial(tqdm, desc="recordings"),
        )
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; finished recordings are kept, the same command goes on with the others", file=sys.stderr)
        return 130
    print(summary)
    return 1 if summary.problems else 0


if __name__ == "__main__":
    sys.exit(main())
