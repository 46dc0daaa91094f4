"""Show what a data set holds: a table here, data.json and data.png in --out.

TARGET is a config, or a folder of recordings (as tools/preprocess.py takes them) or of preprocessed sequences.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from mmengine.config import DictAction
from tqdm import tqdm

from etram_mmdet.analysis.dataset.census import Census
from etram_mmdet.analysis.dataset.config_snippet import fragment, usage
from etram_mmdet.analysis.dataset.figure import draw_census
from etram_mmdet.analysis.dataset.read import take_census
from etram_mmdet.analysis.dataset.report import as_dict
from etram_mmdet.analysis.dataset.table import tables, threshold_table
from etram_mmdet.analysis.dataset.thresholds import RULES, Thresholds, all_thresholds
from etram_mmdet.analysis.dataset.warnings import find_warnings
from etram_mmdet.engine.config.load import load_config
from etram_mmdet.events.class_sets import CLASS_SETS
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.utils.cli import exit_on_input_error
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import atomic_write, write_json


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", metavar="TARGET", help="CONFIG.py or folder")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/inspect_data"), help="default: %(default)s")
    parser.add_argument("--class-set", choices=CLASS_SETS, help="what a folder's class ids mean (default: etram8)")
    parser.add_argument("--no-events", action="store_true", help="of recordings read the labels only, which is quick")
    parser.add_argument(
        "--thresholds", action="store_true", help="size thresholds for the loss, as a table and a config fragment"
    )
    parser.add_argument("--rule", choices=RULES, help=f"which of them the fragment gets (default: {RULES[0]})")
    parser.add_argument("--fragment", type=Path, help="where it goes (default: OUT/size_thresholds.py)")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, metavar="KEY=VALUE", help="override the config")
    args = parser.parse_args()
    args.is_config = args.target.endswith(".py")
    if args.is_config and args.class_set:
        parser.error("--class-set is for folders; a config says its own, or takes --cfg-options class_set=NAME")
    if not args.is_config and args.cfg_options:
        parser.error(f"--cfg-options: {args.target} is not a config (NAME.py)")
    return args


def census_of(args: argparse.Namespace) -> Census:
    look = partial(take_census, read_events=not args.no_events, progress=partial(tqdm, desc="recordings"))
    if not args.is_config:
        return look(args.target, args.class_set or "etram8")
    cfg = load_config(args.target, args.cfg_options)
    data = cfg.get("train_dataloader", {}).get("dataset", {})
    if "data_root" not in data:
        raise InputError(f"{args.target}: no train_dataloader.dataset.data_root; name a training config, or a folder")
    defaults = PreprocessSettings()
    settings = PreprocessSettings(
        data.get("preset", defaults.preset),
        data.get("frames", defaults.frames),
        data.get("window_us", defaults.window_us),
        data.get("sensor_px"),
        dict(data.get("representation", defaults.representation)),
    )
    names = dict(metainfo=data.get("metainfo"), label_files=data.get("label_files", "auto"))
    return look(data.data_root, data.get("class_set", "etram8"), settings, **names)


def chosen_fragment(args: argparse.Namespace, census: Census, thresholds: list[Thresholds]) -> str:
    """Write the fragment; returns what the user reads about it."""
    rule, path = args.rule or RULES[0], args.fragment or args.out / "size_thresholds.py"
    chosen = next(t for t in thresholds if t.rule == rule)
    with atomic_write(path) as aside:
        aside.write_text(fragment(census, chosen))
    return f"rule {rule} is in {path}; a config in configs/ takes it with\n\n{usage(path)}"


def main() -> None:
    args = parse_args()
    with exit_on_input_error():
        census = census_of(args)
        wants_thresholds = args.thresholds or args.rule or args.fragment
        thresholds = all_thresholds(census) if wants_thresholds or len(census.boxes("train").labels) else []
        warnings = find_warnings(census)
        print(f"\n{tables(census)}\n")
        if wants_thresholds:
            print(f"{threshold_table(thresholds)}\n\n{chosen_fragment(args, census, thresholds)}\n")
        write_json(args.out / "data.json", as_dict(census, warnings, thresholds))
        draw_census(census, thresholds, args.out / "data.png")
        print("\n".join(f"WARNING {warning}" for warning in warnings) or "no warnings")
        print(f"\n{args.out / 'data.json'}, {args.out / 'data.png'}")


if __name__ == "__main__":
    main()
