"""Turn eTraM recordings and their labels into the sequence folders that training reads.

IN holds train, val and test, each with NAME_td.h5 and NAME_bbox.npy. A run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial

from tqdm import tqdm

from etram_mmdet.events.errors import InputError
from etram_mmdet.events.preprocess import Settings
from etram_mmdet.events.preprocess_folder import preprocess_folder


def parse_args() -> argparse.Namespace:
    default = Settings()
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
    parser.add_argument("--downsample", choices=("nearest", "none"), default=default.downsample, help="halve the frame")
    parser.add_argument("--bins", type=int, default=default.bins, help="time bins per polarity")
    parser.add_argument("--window-us", type=int, default=default.window_us, help="length of a window")
    parser.add_argument("--count-cutoff", type=int, default=default.count_cutoff, help="largest count in a cell")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="recordings at a time")
    parser.add_argument("--overwrite", action="store_true", help="replace sequences that exist")
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    names = ("preset", "frames", "bins", "window_us", "count_cutoff", "downsample")
    try:
        summary = preprocess_folder(
            args.src,
            args.dst,
            Settings(**{name: getattr(args, name) for name in names}),
            args.workers,
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
