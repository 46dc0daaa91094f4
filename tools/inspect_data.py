"""Show what a data set holds: events, boxes per class and split, box sizes, and likely mistakes.

Example: python tools/inspect_data.py data/etram_raw --no-events

Reads a config, a folder of recordings as tools/preprocess.py takes it, or a folder of preprocessed
sequences.
Prints a table, and writes data.json and data.png into --out. A PROBLEM is a recording that cannot
be used, or whose labels do not seem to fit its events; if there is one, the exit status is 1.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from etram_mmdet.analysis.dataset import RULES
from etram_mmdet.events.class_sets import DEFAULT_CLASS_SET
from etram_mmdet.utils.cli import exit_on_input_error, make_parser
from etram_mmdet.utils.cli.config import add_cfg_options
from etram_mmdet.utils.cli.recordings import add_opening, opening_of
from etram_mmdet.utils.files import check_writable, write_json

if TYPE_CHECKING:
    from etram_mmdet.analysis.dataset.census import Census


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("target", metavar="TARGET", help="config (NAME.py) or folder")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("work_dirs/inspect_data"),
        help="folder for table and picture (default: %(default)s)",
    )
    classes = parser.add_mutually_exclusive_group()
    classes.add_argument(
        "--class-set",
        help="meaning of class ids and names in the label files of a folder: name of a class set, "
        f"or a .json file (default: the names in the labels, else {DEFAULT_CLASS_SET})",
    )
    classes.add_argument(
        "--classes",
        nargs="+",
        metavar="[KEY=]NAME",
        help="class names in the order of their ids, instead of --class-set; KEY: id or name of "
        "the class in the label files",
    )
    add_opening(parser)
    parser.add_argument(
        "--label-fps",
        type=float,
        metavar="N",
        help="frames per second, if times in the label files of a folder are frame numbers",
    )
    parser.add_argument(
        "--no-events", action="store_true", help="read only the labels, which is much faster"
    )
    parser.add_argument(
        "--thresholds",
        action="store_true",
        help="also compute size thresholds for the size-aware loss; print them and write a config "
        "fragment",
    )
    parser.add_argument(
        "--rule",
        choices=RULES,
        help=f"rule whose thresholds the config fragment gets (default: {RULES[0]})",
    )
    parser.add_argument(
        "--fragment",
        type=Path,
        help="config fragment to write (default: OUT/size_thresholds.py)",
    )
    add_cfg_options(parser)
    args = parser.parse_args()
    args.is_config = args.target.endswith(".py")
    if args.is_config and (args.class_set or args.classes):
        parser.error(
            "--class-set and --classes are for folders; a config states its classes, change them "
            "with --cfg-options class_set=NAME"
        )
    if not args.is_config and args.cfg_options:
        parser.error(f"--cfg-options: {args.target} is not a config (NAME.py)")
    return args


def census_of(args: argparse.Namespace) -> tuple[Census, tuple[int, ...]]:
    """Count what TARGET holds.

    Returns:
        The counts, and the strides of the config's model (for a folder: of the baseline model).
    """
    from tqdm import tqdm

    from etram_mmdet.analysis.dataset.read import data_of_config, take_census
    from etram_mmdet.analysis.dataset.strides import STRIDES, strides_of
    from etram_mmdet.analysis.dataset.suggested_classes import class_set_in, suggest_class_set

    options = dict(read_events=not args.no_events, progress=partial(tqdm, desc="recordings"))
    if args.is_config:
        from etram_mmdet.engine.config.load import load_config

        cfg = load_config(args.target, args.cfg_options)
        return take_census(**data_of_config(cfg, args.target), **options), strides_of(cfg)
    root = Path(args.target)
    own = suggest_class_set({}, args.classes) if args.classes else args.class_set
    own = own or (class_set_in(root) if root.is_dir() else None)
    opening = opening_of(args)
    reading = dict(
        sensor_px=opening["sensor_px"],
        event_time_unit=opening["time_unit"],
        sort_events=opening["sort"],
        event_columns=opening["columns"],
        label_fps=args.label_fps,
    )
    return take_census(root, own or DEFAULT_CLASS_SET, reading=reading, **options), STRIDES


def main() -> int:
    args = parse_args()
    from etram_mmdet.analysis.dataset.figure import draw_census
    from etram_mmdet.analysis.dataset.report import as_dict, format_census, format_thresholds
    from etram_mmdet.analysis.dataset.thresholds import all_thresholds, usage, write_thresholds
    from etram_mmdet.analysis.dataset.warnings import find_warnings, stride_warnings

    with exit_on_input_error():
        check_writable(args.out / "data.json")
        census, strides = census_of(args)
        wants_thresholds = args.thresholds or args.rule or args.fragment
        thresholds = (
            all_thresholds(census) if wants_thresholds or len(census.boxes("train").labels) else []
        )
        warnings = [*find_warnings(census), *stride_warnings(census, strides)]
        print(f"\n{format_census(census)}\n")
        if wants_thresholds:
            rule = args.rule or RULES[0]
            path = args.fragment or args.out / "size_thresholds.py"
            write_thresholds(path, census, next(t for t in thresholds if t.rule == rule))
            print(
                f"{format_thresholds(thresholds)}\n\nThe thresholds of rule {rule} are in {path}. "
                "A config in configs/ uses them with\n"
            )
            print(f"{usage(path)}\n")
        write_json(args.out / "data.json", as_dict(census, warnings, thresholds))
        draw_census(census, thresholds, args.out / "data.png")
        print("".join(f"PROBLEM {problem}\n" for problem in census.problems), end="")
        print("\n".join(f"WARNING {warning}" for warning in warnings) or "no warnings")
        print(f"\n{args.out / 'data.json'}, {args.out / 'data.png'}")
    return 1 if census.problems else 0


if __name__ == "__main__":
    sys.exit(main())
