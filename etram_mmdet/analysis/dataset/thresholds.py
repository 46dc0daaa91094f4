"""Thresholds and weight of the size-aware box loss, derived from the training boxes.

They can be written as a piece of a config.
"""

from __future__ import annotations

import os
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from etram_mmdet.analysis.dataset.census import Census
from etram_mmdet.events.class_sets import SIZE_GROUP_OF
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import atomic_write
from etram_mmdet.utils.sizes import MEDIUM_PX2, SMALL_PX2, exponential_weight
from etram_mmdet.utils.text import percent

FIXED = "fixed"
_MEDIUM_PERCENTILE = 70  # of all boxes
_LEAST_WEIGHT = 2.0
_MOST_WEIGHT = 5.0
USAGE = """\
_base_ = ["./patch2.py", "{path}"]
model = dict(bbox_head=dict(loss_bbox=dict(type="SizeAwareIoULoss", **_base_.size_thresholds)))"""


@dataclass(frozen=True)
class Thresholds:
    """Size thresholds of one rule.

    Attributes:
        rule: name of the rule.
        small_area: boxes below it are small, in network pixels squared.
        medium_area: boxes below it are at most medium, in network pixels squared.
        size_weight: largest weight of a box in the loss.
        weighted_share: share of training boxes with a weight above 1 (mode ``exponential``).
        notes: a sentence for each part of the rule that could not be followed. Default: none.
    """

    rule: str
    small_area: float
    medium_area: float
    size_weight: float
    weighted_share: float
    notes: tuple[str, ...] = ()


def all_thresholds(census: Census) -> list[Thresholds]:
    """Returns the thresholds of the loss's defaults (``fixed``), then those of every rule.

    Args:
        census: numbers of the data set.

    Raises:
        InputError: there are no training boxes.
    """
    boxes = census.boxes("train")
    if not len(boxes.labels):
        raise InputError(
            f"{census.data_root}: no training boxes, so no thresholds can be derived; put "
            "labelled recordings into its split train"
        )
    groups = np.array([SIZE_GROUP_OF.get(name.lower(), "") for name in census.classes])[
        boxes.labels
    ]
    return derive(boxes.areas_px2, groups)


def derive(areas_px2: np.ndarray, groups: np.ndarray) -> list[Thresholds]:
    """Derives the thresholds of every rule from n boxes.

    Rule ``classes`` takes the 90th percentile of the small group as ``small_area`` and the 75th of
    the medium group as ``medium_area``. Rules ``p25`` and ``p30`` take this percentile of all boxes
    and their 70th. ``size_weight`` is 1.5 times the number of medium boxes per small box, limited
    to [2, 5].

    Args:
        areas_px2: (n,) areas, in network pixels squared.
        groups: (n,) size group of each box's class: "small", "medium", "large" or "".
    """
    weight, weight_notes = _weight(groups)
    results = [_result(areas_px2, FIXED, SMALL_PX2, MEDIUM_PX2, _LEAST_WEIGHT)]
    small, small_notes = _percentile_of_group(areas_px2, groups, "small", 90, 30)
    medium, medium_notes = _percentile_of_group(areas_px2, groups, "medium", 75, _MEDIUM_PERCENTILE)
    results.append(
        _result(
            areas_px2, "classes", small, medium, weight, small_notes + medium_notes + weight_notes
        )
    )
    for percentile in (25, 30):
        small, medium = np.percentile(areas_px2, (percentile, _MEDIUM_PERCENTILE))
        results.append(_result(areas_px2, f"p{percentile}", small, medium, weight, weight_notes))
    return results


def _percentile_of_group(
    areas_px2: np.ndarray, groups: np.ndarray, group: str, percentile: int, percentile_of_all: int
) -> tuple[float, tuple[str, ...]]:
    if group in groups:
        return np.percentile(areas_px2[groups == group], percentile), ()
    note = (
        f"no box of a {group} class, so {group}_area is percentile {percentile_of_all} of all boxes"
    )
    return np.percentile(areas_px2, percentile_of_all), (note,)


def _weight(groups: np.ndarray) -> tuple[float, tuple[str, ...]]:
    num_small = np.count_nonzero(groups == "small")
    num_medium = np.count_nonzero(groups == "medium")
    if not num_small or not num_medium:
        missing = "medium" if num_small else "small"
        return _LEAST_WEIGHT, (
            f"no box of a {missing} class, so size_weight is its least value, {_LEAST_WEIGHT:g}",
        )
    return float(np.clip(1.5 * num_medium / num_small, _LEAST_WEIGHT, _MOST_WEIGHT)), ()


def _result(
    areas_px2: np.ndarray,
    rule: str,
    small: float,
    medium: float,
    weight: float,
    notes: tuple[str, ...] = (),
) -> Thresholds:
    if small >= medium:
        notes += (
            "small_area is not below medium_area, so modes step and linear of the loss make no "
            "sense",
        )
    share = float(np.mean(exponential_weight(areas_px2, weight, small) > 1))
    return Thresholds(rule, float(small), float(medium), weight, share, notes)


def write_thresholds(path: Path, census: Census, chosen: Thresholds) -> None:
    """Writes the text of :func:`thresholds_as_config` into a file.

    Args:
        path: the file.
        census: numbers of the data set.
        chosen: thresholds to write.

    Raises:
        InputError: the file cannot be written.
    """
    with atomic_write(path) as aside:
        aside.write_text(thresholds_as_config(census, chosen))


def thresholds_as_config(census: Census, chosen: Thresholds) -> str:
    """Returns the text of a config file that defines ``size_thresholds``.

    Areas are rounded to a tenth of a square pixel.

    Args:
        census: numbers of the data set.
        chosen: thresholds to write.
    """
    boxes = len(census.boxes("train").labels)
    sentences = (
        f"Made by tools/inspect_data.py from {census.data_root}: {boxes} training boxes, "
        f"{_meaning(census, chosen)}.",
        f"{percent(chosen.weighted_share)} of these boxes weigh more than 1; areas are network "
        "pixels squared.",
        *(f"Note: {note}." for note in chosen.notes),
    )
    comments = [line for s in sentences for line in textwrap.wrap(s, 98)]
    areas = f"small_area={chosen.small_area:.1f}, medium_area={chosen.medium_area:.1f}"
    values = f"size_thresholds = dict({areas}, size_weight={round(chosen.size_weight, 3)})"
    return "\n".join([*(f"# {line}" for line in comments), values, ""])


def usage(path: Path) -> str:
    """Returns the lines with which a config in configs/ uses written thresholds.

    Args:
        path: file of :func:`write_thresholds`.
    """
    return USAGE.format(path=Path(os.path.relpath(path, "configs")).as_posix())


def _meaning(census: Census, chosen: Thresholds) -> str:
    if chosen.rule == "classes":
        small, medium = (_class_names_in(census, group) for group in ("small", "medium"))
        return (
            f"rule classes (90 % of {small} are smaller than small_area, 75 % of {medium} than "
            "medium_area)"
        )
    return (
        f"rule {chosen.rule} ({chosen.rule[1:]} % of all boxes are smaller than small_area, 70 % "
        "than medium_area)"
    )


def _class_names_in(census: Census, group: str) -> str:
    return (
        ", ".join(name for name in census.classes if SIZE_GROUP_OF.get(name.lower()) == group)
        or f"no {group} class"
    )
