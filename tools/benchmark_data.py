"""Measure how fast your recordings are read, turned into frames, compressed and loaded.

Example: python tools/benchmark_data.py data/etram_raw

Reads a dataset folder; stages are timed on its largest recording, preprocessing on the whole
folder. Compares training from preprocessed frames with training directly from recordings.
Prints a table; frames go to a temporary folder, and a file is written only with --json.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from etram_mmdet.events.choices import Codec
from etram_mmdet.events.class_sets import DEFAULT_CLASS_SET
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.utils.cli import add_json, exit_on_input_error, make_parser
from etram_mmdet.utils.files import write_json


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument(
        "src",
        type=Path,
        metavar="IN",
        help="dataset folder with recordings and labels, as tools/preprocess.py takes it",
    )
    parser.add_argument(
        "--class-set",
        default=DEFAULT_CLASS_SET,
        help="meaning of the class ids in the label files (default: %(default)s)",
    )
    parser.add_argument(
        "--codec",
        choices=get_args(Codec),
        default=PreprocessSettings.codec,
        help="compression of preprocessed frames (default: %(default)s)",
    )
    add_json(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from etram_mmdet.analysis.speed.data_report import format_times, measure

    with exit_on_input_error():
        result = measure(args.src, args.class_set, args.codec)
        if args.json:
            write_json(args.json, result)
    print(format_times(result))


if __name__ == "__main__":
    main()
