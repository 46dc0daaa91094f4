"""Turn recordings and their labels into preprocessed frames, which training reads.

Example: python tools/preprocess.py data/etram_raw data/etram_cls8_sample

Reads a folder with train, val and test, each with NAME_td.h5 and NAME_bbox.npy, or with NAME.json
(COCO), .xml (CVAT), .csv, .txt (MOT) or a folder NAME (YOLO) in the place of NAME_bbox.npy:
docs/labels.md. eTraM's download is read without changes.
Writes one sequence folder per recording into OUT. Stopped, it goes on with the same command.
Several processes may write to one OUT, also from several machines that share it: docs/cluster.md.
docs/data.md says when a recording is preprocessed again.
"""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from etram_mmdet.events import choices
from etram_mmdet.events.preprocessing.presets import PRESETS
from etram_mmdet.events.preprocessing.settings import (
    READING_KEYS,
    PreprocessSettings,
    representation_from_words,
)
from etram_mmdet.utils.cli import exit_on_input_error, make_parser
from etram_mmdet.utils.cli.launching import add_submitit
from etram_mmdet.utils.interruption import stop_once
from etram_mmdet.utils.shards import Shard, shard_of

if TYPE_CHECKING:
    from etram_mmdet.events.preprocessing.summary import PreprocessSummary

NAMES = ", ".join(choices.REPRESENTATION_NAMES)
STOPPED = "stopped; finished recordings are kept, the same command goes on with the others"
STOPPED_OVERWRITING = (
    "stopped; finished recordings are kept, the same command makes all of them again"
)
# Options whose values --config states instead.
OF_CONFIG = ("representation", "downsample", "window_us", "class_set")
SHARING = "ETRAM_MMDET_SHARING"  # environment variable: number of jobs that share this machine
HELP = dict(
    config="config that states representation, window and class set, instead of the options for "
    "them",
    frames="which label times become frames: rvt (labels at 30 or 60 Hz thinned to 10 Hz), all, or "
    "auto (rvt where it applies, else all) (default: %(default)s)",
    representation=f"one of {NAMES}, and its options, such as bins=5 edges=window "
    "(default: RVT's histogram)",
    preset="RVT's rules for a data set. gen4 (1Mpx) keeps class ids 0 to 2. gen1 leaves out boxes "
    "with a side under 10 px or a diagonal under 30 px, assumes a sensor of 304x240 pixels and "
    "keeps its full size (default: %(default)s)",
    downsample="make frames smaller by a whole factor: 2, or the number that follows (sum8). "
    "nearest is RVT's rule, sum keeps every event, none keeps the sensor's size "
    "(default: nearest; with --preset gen1: none)",
    labels="label files of eTraM to read: beside (those next to the recordings, 3 classes), "
    "eight_class, or auto (eight_class if they are there) (default: %(default)s)",
    event_time_unit="unit of the events' time stamps (default: %(default)s)",
    label_time_unit="unit of the times in label files (default: us; in formats other than .npy: as "
    "the file states)",
    label_offset_us="microseconds to add to label times; or the word start, if labels count from "
    "the start of the recording (default: %(default)s)",
    box_format="meaning of x, y, w, h: corner and size (xywh), centre and size (cxcywh), or two "
    "corners (xyxy) (default: %(default)s)",
    drop_labels_outside="leave out labels before the first and after the last event",
    event_columns="names of the columns of a text file or array, in their order "
    "(default: detected)",
    sort_events="sort events by time, for files in another order; loads each recording into memory",
    class_set="meaning of class ids and names in the label files: name of a class set, or a "
    ".json file of your own (docs/classes.md). Use etram8 for eTraM's eight classes and 1mpx with "
    "--preset gen4 (default: ids 0 to 7 without names)",
    drop_unknown_classes="drop boxes of classes that are not in the class set; those of class -1 "
    "are then ignored in evaluation",
    label_fps="frames per second, if times in label files are frame numbers; frame 0 is at time 0 "
    "(default: read the times from NAME_frames.csv)",
    resize_labels="scale boxes from the size of the labelled frames to that of the sensor",
    interpolate_labels="add boxes between the key frames of tracks",
    keep_implausible="keep recordings whose labels do not seem to fit their events, with a warning",
    codec="compression of frames; lz4 takes two to five times the room of zstd and is read about "
    "twice as fast; RVT reads both (default: %(default)s)",
    shard="work on part I of N of the recordings, counted from 1, as 1/4 to 4/4; auto takes both "
    "numbers from the array of Slurm (SLURM_ARRAY_TASK_*), auto/N takes I from Slurm or Kubernetes "
    "(JOB_COMPLETION_INDEX), counted from 0; the last part to end prints a summary of all "
    "(default: all recordings)",
    summary="make nothing; print one summary of what all parts (--shard) have done so far, with "
    "the recordings that failed or are missing",
)


def parse_args() -> argparse.Namespace:
    default = PreprocessSettings
    frames, codecs, labels = map(get_args, (choices.FrameRule, choices.Codec, choices.LabelFiles))
    parser = make_parser(__doc__)
    parser.add_argument("src", metavar="IN", help="dataset folder to read")
    parser.add_argument("dst", metavar="OUT", help="folder to write")
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
        "--window-us",
        type=int,
        default=default.window_us,
        help="microseconds of events in one frame (default: %(default)s)",
    )
    parser.add_argument(
        "--sensor",
        nargs=2,
        type=int,
        metavar=("WIDTH", "HEIGHT"),
        help="size of the sensor in pixels, for recordings that do not state it",
    )
    parser.add_argument("--config", help=HELP["config"])
    parser.add_argument("--labels", choices=labels, default="auto", help=HELP["labels"])
    parser.add_argument("--class-set", metavar="NAME|FILE.json", help=HELP["class_set"])
    add_reading_options(parser)
    parser.add_argument("--codec", choices=codecs, default=default.codec, help=HELP["codec"])
    parser.add_argument(
        "--import",
        dest="modules",
        nargs="+",
        default=[],
        metavar="MODULE",
        help="Python modules to import, which register representations of your own",
    )
    parser.add_argument(
        "--workers",
        type=int,
        help="number of recordings processed in parallel; 0: in the main process "
        "(default: one per CPU core that this process may use; parts on one machine share them)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="preprocess recordings in OUT again"
    )
    parts = parser.add_mutually_exclusive_group()
    parts.add_argument("--shard", metavar="I/N|auto|auto/N", help=HELP["shard"])
    parts.add_argument("--summary", action="store_true", help=HELP["summary"])
    add_submitit(parser, "Divide the recordings into N parts.")
    args = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    if args.workers is None:
        args.workers = max(1, cores // int(os.environ.get(SHARING, 1)))
    said_twice = [
        name
        for name in OF_CONFIG
        if args.config and getattr(args, name) != parser.get_default(name)
    ]
    if said_twice:
        option = said_twice[0].replace("_", "-")
        parser.error(f"--{option}: {args.config} states it too; leave out one of the two")
    return args


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for files that follow other conventions than eTraM's."""
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
    """Representation, window and class set of a config, as arguments of PreprocessSettings."""
    from etram_mmdet.datasets.shared_keys import dataset_config, representation_of
    from etram_mmdet.engine.config.load import load_config

    data = dataset_config(load_config(config))
    keys = {key: data[key] for key in ("window_us", "class_set") if data.get(key) is not None}
    return dict(keys, representation=representation_of(data))


def main() -> int:
    args = parse_args()
    with exit_on_input_error(STOPPED_OVERWRITING if args.overwrite else STOPPED), stop_once():
        # the jobs themselves have a --shard
        if args.submitit and not args.shard and not args.summary:
            return run_shards(args)
        summary = summarise(args) if args.summary else preprocess(args)
        print(summary)
        if args.shard:
            tell_of_all(args)
    return 1 if summary.problems or summary.unfinished else 0


def preprocess(args: argparse.Namespace) -> PreprocessSummary:
    from tqdm import tqdm

    from etram_mmdet.events.preprocessing.folder import preprocess_folder

    shard = shard_of(args.shard) if args.shard else None
    what = f"recordings of shard {shard}" if shard else "recordings"
    return preprocess_folder(
        args.src,
        args.dst,
        settings_of(args),
        args.workers,
        labels=args.labels,
        overwrite=args.overwrite,
        keep_implausible=args.keep_implausible,
        progress=partial(tqdm, desc=what),
        tell=partial(tqdm.write, file=sys.stderr),
        shard=shard,
    )


def summarise(args: argparse.Namespace) -> PreprocessSummary:
    from etram_mmdet.events.preprocessing.shard_summary import summary_of_shards

    return summary_of_shards(args.src, args.dst, settings_of(args), labels=args.labels)


def tell_of_all(args: argparse.Namespace) -> None:
    """Print the summary of all shards, if this was the last one to end."""
    from etram_mmdet.events.preprocessing.shard_reports import have_all_ended, read_reports

    if have_all_ended(read_reports(Path(args.dst))):
        print(f"\nall shards have ended:\n{summarise(args)}")


def run_shards(args: argparse.Namespace) -> int:
    """Run this command once per shard as jobs, and print one summary."""
    from tqdm import tqdm

    from etram_mmdet.events.preprocessing.shard_reports import FOLDER, read_reports, remove_reports
    from etram_mmdet.events.preprocessing.sources import sources_by_size
    from etram_mmdet.utils.jobs import Command, Jobs, last_line

    settings_of(args)  # so that a wrong option is told here and not in every job
    sources, _ = sources_by_size(Path(args.src), args.labels)
    shards = [Shard(number + 1, args.submitit) for number in range(args.submitit)]
    words = [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:]]
    dst = Path(args.dst)

    def show() -> None:
        bar.n = sum(len(report.entries) for report in read_reports(dst))
        bar.refresh()

    failed = []
    options = dict(args.submitit_options)
    with Jobs(dst / FOLDER / "jobs", "preprocess", args.submitit, options) as jobs:
        remove_reports(dst)
        bar = tqdm(total=len(sources), desc="recordings of all shards")
        sharing = {} if jobs.is_array else {SHARING: str(args.submitit)}
        commands = {
            f"shard {each}": Command([*words, "--shard", str(each)], sharing) for each in shards
        }
        for name, status, log in jobs.run(commands, show):
            ended = [f"shard {each.shard}" for each in read_reports(dst) if each.has_ended]
            if status not in (0, 1) or (status and name not in ended):  # else its report says why
                failed.append(f"{name} failed: {last_line(log)} ({log})")
        show()
        bar.close()
    summary = summarise(args)
    summary.unfinished += failed
    print(summary)
    return 1 if summary.problems or summary.unfinished else 0


if __name__ == "__main__":
    sys.exit(main())
