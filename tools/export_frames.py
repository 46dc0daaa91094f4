"""Pictures of events for a labelling tool: python tools/export_frames.py RECORDING OUT.mp4 (or a folder, for PNGs)

Beside OUT stands a CSV file with the time of every frame in microseconds. What the labelling tool
returns becomes labels of the recording with that file:

    python tools/convert_labels.py EXPORT NAME_bbox.npy --frame-times CSV --recording RECORDING
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from etram_mmdet.utils.cli import add_opening, exit_on_input_error, make_parser, opening_of

if TYPE_CHECKING:
    import numpy as np

    from etram_mmdet.events.recording import Recording


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("recording", metavar="RECORDING", type=Path)
    parser.add_argument("out", metavar="OUT", type=Path, help="ends in .mp4, or is a folder")
    parser.add_argument(
        "--fps", type=float, default=10, help="frames a second of the recording; default 10"
    )
    parser.add_argument("--labels", type=Path, help="a label file: frames at its times instead")
    parser.add_argument(
        "--frame-times", type=Path, metavar="CSV", help="frame,t_us: frames at these times instead"
    )
    parser.add_argument(
        "--window-ms", type=float, default=50, help="events in a picture; default 50 ms"
    )
    parser.add_argument("--start-s", type=float, help="seconds on the recording's clock")
    parser.add_argument("--stop-s", type=float, help="seconds on the recording's clock")
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
