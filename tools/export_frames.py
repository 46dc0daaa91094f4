"""Draw the events of a recording as a film or as pictures, for a labelling tool.

Example: python tools/export_frames.py RECORDING OUT.mp4

Writes OUT, and next to it a CSV file with the time of each frame in microseconds. With that file
the labels that you draw become labels of the recording:

    python tools/convert_labels.py EXPORT NAME_bbox.npy --frame-times CSV --recording RECORDING
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from etram_mmdet.utils.cli import exit_on_input_error, make_parser
from etram_mmdet.utils.cli.recordings import add_opening, opening_of

if TYPE_CHECKING:
    import numpy as np

    from etram_mmdet.events.recording import Recording


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("recording", metavar="RECORDING", type=Path, help="recording to draw")
    parser.add_argument(
        "out", metavar="OUT", type=Path, help="film (ends in .mp4), or folder for PNG files"
    )
    parser.add_argument(
        "--fps",
        type=float,
        default=10,
        help="frames per second of the recording (default: %(default)s)",
    )
    parser.add_argument(
        "--labels", type=Path, help="label file: draw a frame at each of its times, not at --fps"
    )
    parser.add_argument(
        "--frame-times",
        type=Path,
        metavar="CSV",
        help="CSV file with columns frame and t_us: draw a frame at each of these times, not at "
        "--fps",
    )
    parser.add_argument(
        "--window-ms",
        type=float,
        default=50,
        help="milliseconds of events that one frame shows (default: %(default)s)",
    )
    parser.add_argument(
        "--start-s",
        type=float,
        help="first time, in seconds on the recording's clock (default: its first event)",
    )
    parser.add_argument(
        "--stop-s",
        type=float,
        help="last time, in seconds on the recording's clock (default: its last event)",
    )
    add_opening(parser)
    args = parser.parse_args()
    if not 0 < args.fps <= 1e6 or not 0 < args.window_ms <= 1e6:
        parser.error(f"--fps {args.fps} --window-ms {args.window_ms}: expected numbers above 0")
    return args


def chosen_times(args: argparse.Namespace, recording: Recording) -> np.ndarray:
    """Times (F,) at which windows of the recording end."""
    import numpy as np

    from etram_mmdet.events.label_formats import Hints, find_label_format
    from etram_mmdet.events.label_formats.clock import Clock, frame_times_beside, read_frame_times
    from etram_mmdet.events.label_formats.convert import in_microseconds
    from etram_mmdet.visualization.event_frames import regular_times

    if args.frame_times is not None:
        return np.sort(read_frame_times(args.frame_times)[:, 1])
    if args.labels is None:
        start_us, stop_us = (
            s if s is None else round(s * 1e6) for s in (args.start_s, args.stop_s)
        )
        return regular_times(recording, 1e6 / args.fps, start_us, stop_us)
    labels = find_label_format(args.labels).read(
        args.labels, Hints(size_px=(recording.width, recording.height))
    )
    found = frame_times_beside(args.labels) if labels.unit == "frames" else None
    clock = None if found is None else Clock("frames", frame_us=read_frame_times(found))
    return in_microseconds(labels, clock).stamps.astype(np.int64)


def main() -> None:
    args = parse_args()
    from tqdm import tqdm

    from etram_mmdet.events.formats import open_recording
    from etram_mmdet.visualization.event_frames import export_frames

    with exit_on_input_error(), open_recording(args.recording, **opening_of(args)) as recording:
        times_us = chosen_times(args, recording)
        shown = partial(tqdm, total=len(times_us), unit="frame")
        window_us = round(args.window_ms * 1000)
        files = export_frames(recording, times_us, window_us, args.out, args.fps, shown)
        print(f"{files[0]}: {len(times_us)} frames; {files[1]}: their times")


if __name__ == "__main__":
    main()
