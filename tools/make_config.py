"""Write a config for your own recordings.

Example: python tools/make_config.py data/my_raw

Reads a folder with train, val and test, each with recordings and labels, as tools/preprocess.py
takes it. Reads labels only, no events.
Writes a config, and prints what was found, what follows from it, and the next commands.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from etram_mmdet.utils.cli import exit_on_input_error, make_parser
from etram_mmdet.utils.environment import ROOT
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import atomic_write

if TYPE_CHECKING:
    from etram_mmdet.analysis.dataset.new_config import ConfigPlan


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("src", metavar="IN", type=Path, help="folder of recordings and labels")
    parser.add_argument(
        "--out", type=Path, help="config to write (default: configs/own/NAME_OF_IN.py)"
    )
    parser.add_argument(
        "--data-root",
        type=Path,
        help="folder where the preprocessed recordings will be (default: IN_frames)",
    )
    classes = parser.add_mutually_exclusive_group()
    classes.add_argument(
        "--classes",
        nargs="+",
        metavar="[KEY=]NAME",
        default=(),
        help="class names in the order of their ids; KEY: id or name of the class in the label "
        "files (default: all classes that the label files name)",
    )
    classes.add_argument(
        "--class-set", help="name of a class set, or a .json file, instead of --classes"
    )
    parser.add_argument(
        "--sensor",
        nargs=2,
        type=int,
        metavar=("WIDTH", "HEIGHT"),
        help="size of the sensor in pixels, for recordings that do not state it",
    )
    parser.add_argument(
        "--label-fps",
        type=float,
        metavar="N",
        help="frames per second, if times in the label files are frame numbers",
    )
    args = parser.parse_args()
    name = Path(os.path.abspath(args.src)).name  # a link keeps its own name
    args.out = args.out or Path("configs/own") / f"{name}.py"
    args.data_root = args.data_root or args.src.parent / f"{name}_frames"
    if args.out.suffix != ".py":
        parser.error(f"--out {args.out}: a config is a .py file")
    return args


def plan(args: argparse.Namespace) -> ConfigPlan:
    from tqdm import tqdm

    from etram_mmdet.analysis.dataset.new_config import REPRESENTATION, ConfigPlan
    from etram_mmdet.analysis.dataset.read import take_census
    from etram_mmdet.analysis.dataset.suggested_classes import class_set_for
    from etram_mmdet.events.preprocessing.settings import PreprocessSettings
    from etram_mmdet.events.preprocessing.sources import find_sources

    sensor_px = tuple(args.sensor) if args.sensor else None
    settings = PreprocessSettings(
        sensor_px=sensor_px, representation=REPRESENTATION, label_fps=args.label_fps
    )
    class_set = args.class_set
    if not class_set:
        class_set, notes = class_set_for(find_sources(args.src)[0], settings, args.classes)
        print("".join(f"NOTE {note}\n" for note in notes), end="")
    settings = replace(settings, class_set=class_set)
    progress = partial(tqdm, desc="recordings")
    census = take_census(args.src, class_set, settings, read_events=False, progress=progress)
    return ConfigPlan(census, class_set, args.src.as_posix(), args.data_root.as_posix())


def main() -> int:
    args = parse_args()
    with exit_on_input_error():
        if args.out.exists():
            raise InputError(
                f"{args.out}: this file exists; choose another one with --out, or remove it"
            )
        made = plan(args)
        from etram_mmdet.analysis.dataset.config_text import config_text, next_commands
        from etram_mmdet.analysis.dataset.report import format_classes

        is_inside = args.out.resolve().is_relative_to(ROOT)
        bases = (
            os.path.relpath(ROOT / "configs", args.out.parent) if is_inside else ROOT / "configs"
        )
        with atomic_write(args.out) as aside:
            aside.write_text(config_text(made, Path(bases).as_posix()))
        print(f"\n{format_classes(made.census)}\n\n{made.reasons()}\n")
        print("".join(f"PROBLEM {problem}\n" for problem in made.census.problems), end="")
        options = ["--label-fps", f"{args.label_fps:g}"] if args.label_fps else []
        print(f"{args.out}\n\nnext:\n{next_commands(made, args.out, options, bool(args.sensor))}")
    return 1 if made.census.problems else 0


if __name__ == "__main__":
    sys.exit(main())
