"""Turn eTraM recordings and their labels into the sequence folders that training reads.

IN holds train, val and test, each with NAME_td.h5 and NAME_bbox.npy, or NAME.json (COCO), .xml (CVAT), .csv, .txt (MOT)
or a folder NAME (YOLO) instead: see docs/labels.md. A run that was stopped goes on where it was, and
several may work on one OUT, also from machines that share it. docs/data.md says when a recording is made anew.
"""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, get_args

from etram_mmdet.events import choices
from etram_mmdet.events.preprocessing.presets import PRESETS
from etram_mmdet.events.preprocessing.settings import (
    READING_KEYS,
    PreprocessSettings,
    representation_from_words,
)
from etram_mmdet.utils.cli import exit_on_input_error, make_parser
from etram_mmdet.utils.interruption import stop_once

if TYPE_CHECKING:
    from etram_mmdet.events.preprocessing.summary import PreprocessSummary

NAMES = ", ".join(choices.REPRESENTATION_NAMES)
STOPPED = "stopped; finished recordings are kept, the same command goes on with the others"
STOPPED_OVERWRITING = (
    "stopped; finished recordings are kept, the same command makes all of them anew"
)
OF_CONFIG = (
    "representation",
    "downsample",
    "window_us",
    "class_set",
)  # options that --config stands for
HELP = dict(
    config="a config, which says representation, window and class set instead of the options for them",
    frames="rvt: labels at 30 or 60 Hz thinned to 10 Hz; all: every label time; auto: rvt where it applies (default)",
    representation=f"one of {NAMES}, and its options: bins=5 edges=window (default: RVT's histogram)",
    preset="RVT's rules for a data set: gen4 (1Mpx) keeps class ids 0 to 2; gen1 leaves out boxes with a side under "
    "10 px or a diagonal under 30 px, takes 304x240 pixels and halves nothing (default: etram)",
    downsample="fewer pixels by a whole factor, which is 2 unless a number follows (sum8): nearest, RVT's way and the "
    "default except for gen1, sum keeps every event, none leaves the frame as it is",
    labels="which of eTraM's label files: beside the recordings (3 classes) or eight_class; auto prefers these",
    event_time_unit="what the recordings' time stamps count (default: us)",
    label_time_unit="what the label files' times count (default: us; of other formats than arrays what the file tells)",
    label_offset_us="added to label times: microseconds, or start for labels that count from the recording's start",
    box_format="what x, y, w, h hold: corner and size (xywh, default), centre and size, or two corners",
    drop_labels_outside="leave out labels before the first and after the last event",
    event_columns="what the columns of text and of arrays are, in their order: x,y,p,t (default: found)",
    sort_events="sort events by time, for files in another order; takes each recording into memory",
    class_set="what ids and names in the label files mean: the name of a class set, or a FILE.json of your own "
    "(docs/classes.md); default: ids 0 to 7 without names, etram8 for eTraM's eight classes, 1mpx with --preset gen4",
    drop_unknown_classes="drop boxes of classes that the class set does not know; those of class -1 are ignored in "
    "evaluation",
    label_fps="frames a second of labels that count frames, the first at 0; default: the map beside them",
    resize_labels="scale boxes from the labelled frames to the sensor",
    interpolate_labels="add boxes between the key frames of tracks",
    keep_implausible="keep recordings whose labels do not seem to fit their events, and say so",
    codec="lz4 takes two to five times the room and is read about twice as fast; RVT reads both",
)


def parse_args() -> argparse.Namespace:
    default = PreprocessSettings
    frames, codecs, labels = map(get_args, (choices.FrameRule, choices.Codec, choices.LabelFiles))
    parser = make_parser(__doc__)
    parser.add_argument("src", metavar="IN", help="dataset folder")
    parser.add_argument("dst", metavar="OUT", help="folder for the sequences")
    parser.add_argument(
        "--preset", choices=get_args(choices.Preset), default=default.preset, help=HELP["preset"]
    )
    parser.add_argument("--frames", choices=frames, default=default.frames, help=HELP["frames"])
    parser.add_argument(
        "--representation",
        nargs="+",
        default=[choices.RVT_REPRESENTATION["type"]],
        metavar=("TYPE", "KEY=VALUE"),
        help=HELP["representation"],
    )
    parser.add_argument(
        "--downsample", metavar="none|nearest|sum|sumN|nearestN", help=HELP["downsample"]
    )
    parser.add_argument(
        "--window-us", type=int, default=default.window_us, help="length of a window"
    )
    parser.add_argument(
        "--sensor",
        nargs=2,
        type=int,
        metavar=("WIDTH", "HEIGHT"),
        help="in pixels, for files that do not say",
    )
    parser.add_argument("--config", help=HELP["config"])
    parser.add_argument("--labels", choices=labels, default="auto", help=HELP["labels"])
    parser.add_argument("--class-set", metavar="NAME|FILE.json", help=HELP["class_set"])
    add_reading_options(parser)
    parser.add_argument("--codec", choices=codecs, default=default.codec, help=HELP["codec"])
    parser.add_argument(
        "--import", dest="modules", nargs="+", default=[], help="modules with your representations"
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count(),
        help="recordings at a time; 0: in this process",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace sequences that exist")
    args = parser.parse_args()
    said_twice = [
        name
        for name in OF_CONFIG
        if args.config and getattr(args, name) != parser.get_default(name)
    ]
    if said_twice:
        parser.error(
            f"--{said_twice[0].replace('_', '-')}: {args.config} says it; leave one of them out"
        )
    return args


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """How files are read that follow another convention than eTraM's."""
    units = get_args(choices.TimeUnit)
    parser.add_argument(
        "--event-time-unit", choices=units, default="us", help=HELP["event_time_unit"]
    )
    parser.add_argument(
        "--label-time-unit",
        choices=get_args(choices.LabelTimeUnit),
        default="us",
        help=HELP["label_time_unit"],
    )
    parser.add_argument(
        "--label-offset-us", type=offset, default=0, metavar="N|start", help=HELP["label_offset_us"]
    )
    parser.add_argument(
        "--box-format", choices=get_args(choices.BoxFormat), default="xywh", help=HELP["box_format"]
    )
    parser.add_argument("--event-columns", metavar="t,x,y,p", help=HELP["event_columns"])
    parser.add_argument("--label-fps", type=float, metavar="N", help=HELP["label_fps"])
    for name in (
        *(key for key in READING_KEYS if getattr(PreprocessSettings, key) is False),
        "keep_implausible",
    ):
        parser.add_argument(f"--{name.replace('_', '-')}", action="store_true", help=HELP[name])


def offset(text: str) -> int | str:
    return text if text == choices.FROM_START else int(text)


def settings_of(args: argparse.Namespace) -> PreprocessSettings:
    for module in args.modules:
        import_module(module)
    of_config = settings_in(args.config) if args.config else {}
    downsample = args.downsample or PRESETS[args.preset].downsample
    representation = representation_from_words(args.representation, downsample)
    sensor_px = tuple(args.sensor) if args.sensor else None
    given = {
        name: getattr(args, name)
        for name in ("preset", "frames", "window_us", "codec", "class_set", *READING_KEYS)
    }
    return PreprocessSettings(
        **dict(given, sensor_px=sensor_px, representation=representation) | of_config
    )


def settings_in(config: str) -> dict:
    """What a config says about the frames and classes of its data."""
    from etram_mmdet.datasets.shared_keys import dataset_config, representation_of
    from etram_mmdet.engine.config.load import load_config

    data = dataset_config(load_config(config))
    keys = {key: data[key] for key in ("window_us", "class_set") if data.get(key) is not None}
    return dict(keys, representation=representation_of(data))


def main() -> int:
    args = parse_args()
    with exit_on_input_error(STOPPED_OVERWRITING if args.overwrite else STOPPED), stop_once():
        summary = preprocess(args)
    print(summary)
    return 1 if summary.problems else 0


def preprocess(args: argparse.Namespace) -> PreprocessSummary:
    from tqdm import tqdm

    from etram_mmdet.events.preprocessing.folder import preprocess_folder

    return preprocess_folder(
        args.src,
        args.dst,
        settings_of(args),
        args.workers,
        labels=args.labels,
        overwrite=args.overwrite,
        keep_implausible=args.keep_implausible,
        progress=partial(tqdm, desc="recordings"),
        tell=partial(tqdm.write, file=sys.stderr),
    )


if __name__ == "__main__":
    sys.exit(main())
