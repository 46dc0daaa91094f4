"""A config fragment with size thresholds, and how a config takes it."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

from etram_mmdet.analysis.dataset.census import Census
from etram_mmdet.analysis.dataset.thresholds import Thresholds
from etram_mmdet.events.class_sets import SIZE_GROUP_OF
from etram_mmdet.utils.files import atomic_write

USAGE = """\
_base_ = ["./patch2.py", "{path}"]
model = dict(bbox_head=dict(loss_bbox=dict(type="SizeAwareIoULoss", **_base_.size_thresholds)))"""


def write_fragment(path: Path, census: Census, chosen: Thresholds) -> None:
    """Write :func:`fragment` to ``path``; raises ``InputError`` if that cannot be written."""
    with atomic_write(path) as aside:
        aside.write_text(fragment(census, chosen))


def fragment(census: Census, chosen: Thresholds) -> str:
    """Text of a config file that defines ``size_thresholds``; areas are rounded to a tenth of a square pixel."""
    boxes = len(census.boxes("train").labels)
    sentences = (
        f"Made by tools/inspect_data.py from {census.data_root}: {boxes} training boxes, {_meaning(census, chosen)}.",
        f"{100 * chosen.weighted_share:.1f} % of these boxes weigh more than 1; areas are network pixels squared.",
        *(f"Note: {note}." for note in chosen.notes),
    )
    comments = [line for s in sentences for line in textwrap.wrap(s, 116)]
    areas = f"small_area={chosen.small_area:.1f}, medium_area={chosen.medium_area:.1f}"
    values = f"size_thresholds = dict({areas}, size_weight={round(chosen.size_weight, 3)})"
    return "\n".join([*(f"# {line}" for line in comments), values, ""])


def usage(path: Path) -> str:
    """The lines of a config in configs/ that uses the fragment at ``path``."""
    return USAGE.format(path=Path(os.path.relpath(path, "configs")).as_posix())


def _meaning(census: Census, chosen: Thresholds) -> str:
    if chosen.rule == "classes":
        small, medium = (_names(census, group) for group in ("small", "medium"))
        return f"rule classes (90 % of {small} are smaller than small_area, 75 % of {medium} than medium_area)"
    return f"rule {chosen.rule} ({chosen.rule[1:]} % of all boxes are smaller than small_area, 70 % than medium_area)"


def _names(census: Census, group: str) -> str:
    return ", ".join(name for name in census.classes if SIZE_GROUP_OF.get(name.lower()) == group) or f"no {group} class"
