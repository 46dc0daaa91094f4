"""Convert the labels of one recording from one file format to another.

Example: python tools/convert_labels.py export.xml NAME_bbox.npy --classes car bus --fps 10

Formats: Prophesee's NAME_bbox.npy (what tools/preprocess.py reads), COCO JSON, CVAT XML, CSV with
column names, MOT text and YOLO folders, each as input and as output. The format of IN is detected
from its content, that of OUT follows from its suffix (a folder: YOLO). Times become microseconds
on the clock of the events. docs/labels.md describes the formats.
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
    parser.add_argument("source", metavar="IN", type=Path, help="label file or YOLO folder to read")
    parser.add_argument(
        "target", metavar="OUT", type=Path, help="label file or YOLO folder to write"
    )
    parser.add_argument(
        "--from",
        dest="source_format",
        choices=LABEL_FORMAT_NAMES,
        help="format of IN (default: detected from its content)",
    )
    parser.add_argument(
        "--to",
        dest="target_format",
        choices=LABEL_FORMAT_NAMES,
        help="format of OUT (default: by its suffix)",
    )
    classes = parser.add_mutually_exclusive_group()
    classes.add_argument(
        "--classes",
        nargs="+",
        metavar="NAME",
        help="class names of OUT in the order of their ids; boxes of other classes are left out "
        "(default: the classes of IN)",
    )
    classes.add_argument(
        "--class-set",
        metavar="NAME|FILE.json",
        help="class set that gives the classes of OUT and the meaning of names and ids in IN",
    )
    parser.add_argument(
        "--source-classes",
        nargs="+",
        metavar="NAME",
        help="class names of the ids in IN, if the file does not hold them",
    )
    parser.add_argument(
        "--rename",
        nargs="+",
        type=pair,
        default=[],
        metavar="NAME=CLASS",
        help="replace class names of IN, such as Auto=car",
    )
    parser.add_argument(
        "--time-unit",
        choices=get_args(LabelUnit),
        help="unit of the times in IN (default: as the file states, else detected)",
    )
    parser.add_argument(
        "--fps",
        type=float,
        help="frames per second, if times in IN are frame numbers; frame 0 is at time 0",
    )
    parser.add_argument(
        "--frame-times",
        type=Path,
        metavar="CSV",
        help="CSV file with the columns frame and t_us, the time of each frame "
        "(default: IN_frames.csv)",
    )
    parser.add_argument(
        "--offset-us",
        type=int,
        default=0,
        help="microseconds that are added to every time of IN (default: %(default)s)",
    )
    parser.add_argument(
        "--interpolate", action="store_true", help="add boxes between the key frames of tracks"
    )
    parser.add_argument(
        "--recording",
        type=Path,
        help="recording of these labels; refuse labels outside its time or on frames of another "
        "size than its sensor",
    )
    parser.add_argument(
        "--video",
        help="recording to convert, if a COCO or CSV file holds labels of several recordings",
    )
    parser.add_argument(
        "--frame-size",
        nargs=2,
        type=int,
        metavar=("W", "H"),
        help="width and height of the labelled frames, in pixels",
    )
    parser.add_argument(
        "--sensor",
        nargs=2,
        type=int,
        metavar=("W", "H"),
        help="width and height of the sensor, in pixels (default: as --recording states)",
    )
    parser.add_argument(
        "--resize",
        action="store_true",
        help="scale boxes from the size of the labelled frames to that of the sensor",
    )
    parser.add_argument(
        "--columns",
        nargs="+",
        type=pair,
        default=[],
        metavar="OURS=THEIRS",
        help="column names of a CSV file, such as class=category",
    )
    return parser.parse_args()


def pair(text: str) -> tuple[str, str]:
    key, is_given, value = text.partition("=")
    if not is_given:
        raise argparse.ArgumentTypeError(f"expected KEY=VALUE, got {text!r}")
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
    from etram_mmdet.utils.files import check_not_read

    check_not_read(args.target, [args.source, args.recording, args.frame_times])

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
    """Check that labels lie within the time of a recording; returns the size of its sensor."""
    from etram_mmdet.events.formats import open_recording
    from etram_mmdet.events.preprocessing.plausibility.limits import LIMITS
    from etram_mmdet.utils.errors import InputError

    with open_recording(path, sensor_px=sensor_px) as recording:
        early_us, late_us = LIMITS["most_early_s"].value * 1e6, LIMITS["most_late_s"].value * 1e6
        outside = (table.stamps < recording.t_first_us - early_us) | (
            table.stamps > recording.t_last_us + late_us
        )
        if outside.any():
            raise InputError(
                f"{path}: {outside.sum()} of {len(table.stamps)} labelled times lie outside the "
                f"recording (events from {recording.t_first_us} to {recording.t_last_us} us, "
                f"labels from {table.stamps[0]:.0f} to {table.stamps[-1]:.0f} us); state "
                "the labels' clock with --time-unit, --fps, --frame-times or --offset-us"
            )
        return recording.width, recording.height


def main() -> None:
    args = parse_args()
    with exit_on_input_error():
        convert(args)


if __name__ == "__main__":
    main()
