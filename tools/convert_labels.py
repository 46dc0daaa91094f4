"""Convert the labels of one recording: python tools/convert_labels.py IN OUT [--classes NAME ...]

Formats: Prophesee's NAME_bbox.npy (what tools/preprocess.py reads), COCO JSON, CVAT XML, CSV with
column names, MOT text and folders of YOLO, in both directions. IN is known by what it holds, OUT by
its suffix (a folder: YOLO). Times become microseconds on the clock of the events.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import get_args

from etram_mmdet.events.choices import LABEL_FORMAT_NAMES, LabelUnit
from etram_mmdet.utils.cli import exit_on_input_error, make_parser


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("source", metavar="IN", type=Path, help="label file, or a folder of YOLO")
    parser.add_argument(
        "target", metavar="OUT", type=Path, help="label file to write, or a folder of YOLO"
    )
    parser.add_argument(
        "--from",
        dest="source_format",
        choices=LABEL_FORMAT_NAMES,
        help="format of IN; default: by its content",
    )
    parser.add_argument(
        "--to",
        dest="target_format",
        choices=LABEL_FORMAT_NAMES,
        help="format of OUT; default: by its suffix",
    )
    classes = parser.add_mutually_exclusive_group()
    classes.add_argument(
        "--classes", nargs="+", metavar="NAME", help="class names in the order of their ids in OUT"
    )
    classes.add_argument(
        "--class-set", metavar="NAME|FILE.json", help="the same, and what names and ids of IN mean"
    )
    parser.add_argument(
        "--source-classes",
        nargs="+",
        metavar="NAME",
        help="names of the ids in IN, where the file has none",
    )
    parser.add_argument(
        "--rename", nargs="+", type=pair, default=[], metavar="NAME=CLASS", help="such as Auto=car"
    )
    parser.add_argument(
        "--time-unit",
        choices=get_args(LabelUnit),
        help="what times in IN count; default: what the file tells",
    )
    parser.add_argument(
        "--fps", type=float, help="frames a second, for labels that count frames; frame 0 is at 0"
    )
    parser.add_argument(
        "--frame-times",
        type=Path,
        metavar="CSV",
        help="frame,t_us: when each frame was; default: IN_frames.csv",
    )
    parser.add_argument("--offset-us", type=int, default=0, help="is added to every time of IN")
    parser.add_argument(
        "--interpolate", action="store_true", help="add boxes between the key frames of tracks"
    )
    parser.add_argument(
        "--recording",
        type=Path,
        help="the events: labels outside it or of other frames are refused",
    )
    parser.add_argument("--video", help="which recording of a COCO or CSV file that holds several")
    parser.add_argument(
        "--frame-size",
        nargs=2,
        type=int,
        metavar=("W", "H"),
        help="of the labelled frames, in pixels",
    )
    parser.add_argument(
        "--sensor", nargs=2, type=int, metavar=("W", "H"), help="in pixels; default: of --recording"
    )
    parser.add_argument(
        "--resize", action="store_true", help="scale boxes from the labelled frames to the sensor"
    )
    parser.add_argument(
        "--columns", nargs="+", type=pair, default=[], metavar="OURS=THEIRS", help="of a CSV file"
    )
    return parser.parse_args()


def pair(text: str) -> tuple[str, str]:
    key, is_given, value = text.partition("=")
    if not is_given:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def convert(args: argparse.Namespace) -> None:
    from etram_mmdet.events.class_sets import get_class_set
    from etram_mmdet.events.label_formats import (
        Hints,
        find_label_format,
        format_to_write,
        label_format,
    )
    from etram_mmdet.events.label_formats.clock import Clock, frame_times_beside, read_frame_times
    from etram_mmdet.events.label_formats.convert import (
        check_sizes,
        in_microseconds,
        with_classes,
        write_labels,
    )
    from etram_mmdet.events.label_formats.label_table import interpolated, resized

    reader = (
        label_format(args.source_format) if args.source_format else find_label_format(args.source)
    )
    writer = (
        label_format(args.target_format) if args.target_format else format_to_write(args.target)
    )
    size_px = tuple(args.frame_size) if args.frame_size else None
    hints = Hints(tuple(args.source_classes or ()), size_px, dict(args.columns), args.video)
    table = reader.read(args.source, hints)
    unit = args.time_unit or ("frames" if args.fps or args.frame_times else table.unit) or "us"
    frame_times = args.frame_times
    if unit == "frames" and args.fps is None and frame_times is None:
        frame_times = frame_times_beside(args.source)
        table.found.append(f"frames: times from {frame_times}")
    frame_us = read_frame_times(frame_times) if frame_times else None
    clock = Clock(unit, args.fps, frame_us, args.offset_us)
    span = table.stamps[[0, -1]] if len(table.stamps) else (0, 0)
    table = in_microseconds(table, clock)
    if args.interpolate:
        table = interpolated(table, clock.times_between(*span) if unit == "frames" else None)
    classes = args.classes or (get_class_set(args.class_set) if args.class_set else None)
    if classes or args.rename:
        table = with_classes(table, classes or table.names, dict(args.rename))
    sensor_px = tuple(args.sensor) if args.sensor else None
    if args.recording is not None:
        sensor_px = check_recording(table, args.recording, sensor_px)
    if sensor_px is not None:
        if args.resize:
            table = resized(table, sensor_px)
        check_sizes(table, sensor_px, args.source)
        table = replace(table, size_px=sensor_px)
    new_clock = (
        Clock("frames", args.fps, frame_us) if writer.counts_frames and unit == "frames" else None
    )
    print(write_labels(table, args.target, writer, new_clock))


def check_recording(
    table: object, path: Path, sensor_px: tuple[int, int] | None
) -> tuple[int, int]:
    """The size of the sensor; raises ``InputError`` where labels lie outside the recording's time."""
    from etram_mmdet.events.formats import open_recording
    from etram_mmdet.events.preprocessing.plausibility import LIMITS
    from etram_mmdet.utils.errors import InputError

    with open_recording(path, sensor_px=sensor_px) as recording:
        early_us, late_us = LIMITS["most_early_s"].value * 1e6, LIMITS["most_late_s"].value * 1e6
        outside = (table.stamps < recording.t_first_us - early_us) | (
            table.stamps > recording.t_last_us + late_us
        )
        if outside.any():
            raise InputError(
                f"{path}: {outside.sum()} of {len(table.stamps)} labelled times lie outside its events "
                f"({recording.t_first_us} to {recording.t_last_us} us; labels {table.stamps[0]:.0f} to "
                f"{table.stamps[-1]:.0f} us); state the labels' clock with --time-unit, --fps, --frame-times or "
                "--offset-us"
            )
        return recording.width, recording.height


def main() -> None:
    args = parse_args()
    with exit_on_input_error():
        convert(args)


if __name__ == "__main__":
    main()
