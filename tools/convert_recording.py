"""Cut a recording in time, crop it, or convert its file format.

Example: python tools/convert_recording.py IN.raw OUT.h5 --start-s 10 --stop-s 20

Reads a recording in any format that docs/data.md lists.
Writes an HDF5 file (OUT.h5) or NumPy archive (OUT.npz). Time stamps are those of IN unless
--from-zero is given.
"""

from __future__ import annotations

import argparse
import math
from functools import partial
from pathlib import Path

from etram_mmdet.utils.cli import exit_on_input_error, make_parser
from etram_mmdet.utils.cli.recordings import add_opening, opening_of


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("source", metavar="IN", type=Path, help="recording to read")
    parser.add_argument(
        "target", metavar="OUT", type=Path, help="recording to write, ends in .h5 or .npz"
    )
    parser.add_argument(
        "--start-s",
        type=float,
        help="start of the part, in seconds on the recording's clock (default: its first event)",
    )
    parser.add_argument(
        "--stop-s",
        type=float,
        help="end of the part, in seconds on the recording's clock (default: its last event)",
    )
    parser.add_argument(
        "--crop",
        nargs=4,
        type=int,
        metavar=("LEFT", "TOP", "W", "H"),
        help="part of the sensor to keep, in pixels (default: all of it)",
    )
    parser.add_argument(
        "--from-zero", action="store_true", help="shift times so that the part begins at 0"
    )
    add_opening(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from tqdm import tqdm

    from etram_mmdet.events.formats import open_recording
    from etram_mmdet.events.formats.writing import Part, write_recording
    from etram_mmdet.utils.files import check_not_read

    start_us, stop_us = (s if s is None else round(s * 1e6) for s in (args.start_s, args.stop_s))
    part = Part(start_us, stop_us, args.crop and tuple(args.crop), args.from_zero)
    with exit_on_input_error(), open_recording(args.source, **opening_of(args)) as recording:
        check_not_read(args.target, [args.source])
        first_us, last_us = part.span_us(recording)
        seconds = math.ceil((last_us - first_us + 1) / 1e6)
        count = write_recording(
            recording, args.target, part, partial(tqdm, total=seconds, unit="s")
        )
        width, height = part.size_px(recording)
        print(
            f"{args.target}: {count:,} of {recording.num_events:,} events, {first_us} to "
            f"{last_us} us, {width}x{height} pixels{' (assumed)' * recording.size_is_assumed}"
        )
        counts = {"stamps_corrected": recording.stamps_corrected, **recording.dropped}
        for name, number in counts.items():
            if number:
                print(f"{name}: {number:,}")
        for note in recording.notes:
            print(f"NOTE {note}")


if __name__ == "__main__":
    main()
