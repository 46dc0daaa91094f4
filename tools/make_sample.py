"""Simulate traffic recordings with labels, in the file formats of eTraM.

Example: python tools/make_sample.py data/etram_raw

Writes the folders train, val and test into OUT. The example takes about a minute on two CPU cores
and 0.4 GB. A sample with a sensor of eTraM's size, made with --width 1280 --height 720 --recordings
24 6 4, takes about 50 minutes and 7 GB.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from etram_mmdet.events.choices import SPLITS
from etram_mmdet.events.class_sets import ETRAM8
from etram_mmdet.utils.cli import exit_on_input_error, make_parser
from etram_mmdet.utils.interruption import stop_once
from etram_mmdet.utils.text import table

if TYPE_CHECKING:
    from etram_mmdet.simulation.sample import RecordingSummary

STOPPED = "stopped; finished recordings are kept, the same command goes on with the others"


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument(
        "out", metavar="OUT", help="folder to write; finished recordings in it are kept"
    )
    parser.add_argument(
        "--recordings",
        type=int,
        nargs=3,
        default=(6, 2, 2),
        metavar=("TRAIN", "VAL", "TEST"),
        help="number of recordings in each split (default: 6 2 2)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=6.0,
        help="length of each recording, in seconds (default: %(default)s)",
    )
    parser.add_argument(
        "--width",
        type=int,
        default=640,
        help="width of the sensor, in pixels (default: %(default)s)",
    )
    parser.add_argument(
        "--height",
        type=int,
        default=360,
        help="height of the sensor, in pixels (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="random seed; the same seed gives the same bytes (default: %(default)s)",
    )
    parser.add_argument(
        "--workers", type=int, help="number of parallel processes (default: one per CPU core)"
    )
    return parser.parse_args()


def format_summaries(summaries: list[RecordingSummary]) -> str:
    """Recordings, events, event rate and boxes per class of every split."""
    rows = [["split", "recordings", "night", "events", "Mev/s", *ETRAM8]]
    for split in SPLITS:
        of_split = [s for s in summaries if s.split == split]
        events = sum(s.events for s in of_split)
        seconds = sum(s.duration_s for s in of_split)
        rate = f"{events / seconds / 1e6:.3f}" if seconds else "-"
        boxes = [sum(s.boxes[i] for s in of_split) for i in range(len(ETRAM8))]
        rows.append([split, len(of_split), sum(s.night for s in of_split), events, rate, *boxes])
    return table(rows)


def main() -> None:
    args = parse_args()
    with exit_on_input_error(STOPPED), stop_once():
        from etram_mmdet.simulation.sample import make_sample

        summaries = make_sample(
            args.out,
            seed=args.seed,
            width=args.width,
            height=args.height,
            recordings=tuple(args.recordings),
            duration_s=args.seconds,
            workers=args.workers,
        )
    print(format_summaries(summaries))


if __name__ == "__main__":
    main()
