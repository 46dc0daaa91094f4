"""Text of a config for your own recordings, and the commands to type after it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from etram_mmdet.analysis.dataset.new_config import REPRESENTATION, SHORT, ConfigPlan
from etram_mmdet.events.preprocessing.sources import find_sources
from etram_mmdet.utils.text import number


def config_text(plan: ConfigPlan, base_folder: str) -> str:
    """Returns the text of the config file.

    Args:
        plan: content of the config.
        base_folder: path of the package's configs, relative to the folder of the new config.
    """
    width, height = plan.size_px
    every = plan.steps // 10
    shown = 10 if plan.steps < SHORT else 50
    t = plan.thresholds
    frames = number(plan.num_frames)
    fine = ", patch_size=2, out_stages=(1, 2, 3)" if plan.is_fine else ""
    areas = f"small_area={t.small_area:.1f}, medium_area={t.medium_area:.1f}"
    lines = [
        f"# Made by tools/make_config.py from {' '.join(plan.source.split())}: {frames} training "
        f"frames of {width}x{height} pixels.",
        f"_base_ = {_python_text(f'{base_folder}/{plan.base}')}",
        f"data_root = {_python_text(f'{plan.data_root}/')}",
        *_class_set(plan.class_set),
        f"representation = dict(_delete_=True, {_arguments(REPRESENTATION)})",
        f"size_thresholds = dict({areas}, size_weight={t.size_weight:.3g})  # px² of a frame",
        "model = dict(",
        f"    backbone=dict(partition_size={plan.partition}{fine}),",
        '    bbox_head=dict(loss_bbox=dict(type="SizeAwareIoULoss", **size_thresholds)),',
        ")",
        f"train_dataloader = dict(batch_size={plan.batch})",
        *_without_test(plan),
        f"train_cfg = dict(max_iters={plan.steps}, val_interval={every})",
        *_warm_up(plan),
        f"default_hooks = dict(checkpoint=dict(interval={every}), logger=dict(interval={shown}))",
    ]
    return "\n".join([*lines, ""])


def next_commands(
    plan: ConfigPlan, config: Path, options: Sequence[str] = (), states_size: bool = False
) -> str:
    """Lists the commands from a config to a film of detections, one on each line.

    The commands that test and film are left out if there are only training recordings.

    Args:
        plan: content of the config.
        config: path of the config.
        options: more options of tools/preprocess.py. Default: none.
        states_size: whether ``--sensor`` is written even if the files may hold the size of the
            sensor. Default: no.
    """
    unseen = [s for s in find_sources(Path(plan.source))[0] if s.split != "train"]
    size = ["--sensor", *plan.size_px] if plan.size_is_assumed or states_size else []
    run = Path("work_dirs") / config.stem
    commands = [
        ["preprocess", plan.source, plan.data_root, "--config", config, *size, *options],
        ["train", config, "--dry-run"],
        ["train", config],
    ]
    if unseen:
        commands += [["test", run], ["detect", run, unseen[-1].events, "--out", "film.mp4"]]
    lines = [f"python tools/{tool}.py {shlex.join(map(str, words))}" for tool, *words in commands]
    note = (
        []
        if unseen
        else [
            "No recordings for val or test: move some there, or nobody can measure how good the "
            "detector is."
        ]
    )
    return "\n".join([*lines, *note])


def _without_test(plan: ConfigPlan) -> list[str]:
    if plan.census.of("test") or not plan.census.of("val"):
        return []
    return ['test_dataloader = dict(dataset=dict(split="val"))  # there is no test split']


def _warm_up(plan: ConfigPlan) -> list[str]:
    if plan.steps >= SHORT:
        return []
    return [
        "param_scheduler = [dict(_base_.param_scheduler[0], pct_start=0.05)]  # a short training"
    ]


def _python_text(value: object) -> str:
    """Returns Python text of a value, strings in double quotes.

    Names come from label files and the text will be executed, so strings are escaped.
    """
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, tuple):
        return f"({', '.join(map(_python_text, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, dict):
        return (
            "{" + ", ".join(f"{_python_text(k)}: {_python_text(v)}" for k, v in value.items()) + "}"
        )
    return repr(value)


def _arguments(value: dict) -> str:
    return ", ".join(f"{key}={_python_text(each)}" for key, each in value.items())


def _class_set(value: str | dict) -> list[str]:
    """Returns the class set on one line if that is short, else one line for each key."""
    if isinstance(value, str):
        return [f"class_set = {_python_text(value)}"]
    value = dict(_delete_=True, **value)  # the base config holds a name
    line = f"class_set = dict({_arguments(value)})"
    if len(line) <= 98:
        return [line]
    return [
        "class_set = dict(",
        *(f"    {key}={_python_text(each)}," for key, each in value.items()),
        ")",
    ]
