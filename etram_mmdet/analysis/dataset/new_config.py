"""Settings of a config for your own recordings, chosen from their size, number and boxes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from etram_mmdet.analysis.dataset import RULES
from etram_mmdet.analysis.dataset.census import UNUSED, UNUSED_FRAMES, Census
from etram_mmdet.analysis.dataset.strides import (
    FINE_STRIDES,
    STRIDES,
    need_finer,
    shares_under,
)
from etram_mmdet.analysis.dataset.thresholds import Thresholds, all_thresholds
from etram_mmdet.events.representations import build_representation
from etram_mmdet.models.backbones.partition import better_partition, padded_hw, partition_of
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.text import number, percent

REPRESENTATION = dict(type="StackedHistogram", bins=10, downsample="sum")
# Base config by the smallest number of labelled training frames for which it is taken.
BASES = {50_000: "baseline.py", 5_000: "baseline_small.py", 0: "baseline_tiny.py"}
CLIPS_PER_FRAME = 20  # clips for each labelled frame; a clip shows about three labelled frames
STEPS = (1_000, 100_000)  # least and most steps of a training
BATCH = 6
BATCH_OF_FINE = 2  # patch size 2 has four times the tokens
SHORT = 20_000  # with fewer steps the warm-up takes a larger share of them


@dataclass(frozen=True, eq=False)
class ConfigPlan:
    """Settings of a config for the recordings of a census, with the reason for each.

    Args:
        census: numbers of the recordings; boxes in network pixels of `REPRESENTATION`.
        class_set: class set as a config holds it, a name or a dict.
        source: the folder of recordings, as the user wrote it.
        data_root: folder in which the preprocessed recordings will lie.

    Raises:
        InputError: there are no training boxes, or the recordings differ in size.
    """

    census: Census
    class_set: str | dict
    source: str
    data_root: str

    def __post_init__(self) -> None:
        sizes = {r.size_px: f"{r.split}/{r.name}" for r in self.census.recordings}
        if len(sizes) > 1:
            listed = ", ".join(f"{w}x{h} ({name})" for (w, h), name in sizes.items())
            raise InputError(
                f"{self.source}: recordings of different sizes: {listed}; a network takes one "
                "size, so put the recordings of each size into a folder of their own"
            )
        all_thresholds(self.census)  # raises without training boxes

    @cached_property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the sensor."""
        return self.census.recordings[0].size_px

    @property
    def size_is_assumed(self) -> bool:
        """Whether the size of the sensor is a default because a file does not say it."""
        return any(r.size_is_assumed for r in self.census.recordings)

    @cached_property
    def hw(self) -> tuple[int, int]:
        """Height and width of a frame, in network pixels."""
        width, height = self.size_px
        return build_representation(REPRESENTATION, height, width).shape[1:]

    @cached_property
    def num_frames(self) -> int:
        """Number of labelled frames in the training split."""
        return sum(len(r.label_us) for r in self.census.of("train"))

    @property
    def base(self) -> str:
        """File name of the base config, chosen by the number of training frames."""
        return next(name for frames, name in BASES.items() if self.num_frames >= frames)

    @cached_property
    def is_fine(self) -> bool:
        """Whether the model gets patch size 2, because a split has many small boxes."""
        return need_finer(self.census, STRIDES)

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides of the model, in network pixels."""
        return FINE_STRIDES if self.is_fine else STRIDES

    @cached_property
    def partition(self) -> tuple[int, int]:
        """Rows and columns of an attention group, in cells of a feature map."""
        rule = partition_of(self.hw)
        return better_partition(self.hw, rule, self.strides[-1]) or rule

    @cached_property
    def thresholds(self) -> Thresholds:
        """Thresholds of the first rule whose ``small_area`` is below its ``medium_area``."""
        by_rule = {t.rule: t for t in all_thresholds(self.census)}
        in_order = [
            by_rule[rule] for rule in RULES if by_rule[rule].small_area < by_rule[rule].medium_area
        ]
        return (in_order or [by_rule[RULES[0]]])[0]

    @property
    def batch(self) -> int:
        """Clips of a training batch."""
        return BATCH_OF_FINE if self.is_fine else BATCH

    @cached_property
    def steps(self) -> int:
        """Steps of the training, rounded to two digits."""
        steps = np.clip(self.num_frames * CLIPS_PER_FRAME / self.batch, *STEPS)
        return int(float(f"{steps:.2g}"))

    def reasons(self) -> str:
        """Explains each setting by what was found in the recordings, one on each line."""
        width, height = self.size_px
        rows, columns = padded_hw(self.hw, [self.strides[-1] * cells for cells in self.partition])
        told = (
            "assumed, because the files do not hold it"
            if self.size_is_assumed
            else "from the recordings, the labels or --sensor"
        )
        t = self.thresholds
        small = shares_under(self.census, STRIDES[0])
        split = max(small, key=small.get)
        lines = [
            f"sensor: {width}x{height} pixels, {told}",
            f"frames: {self.hw[1]}x{self.hw[0]}, each pixel the sum of four (downsample sum)",
            f"model: {self.base}, for {number(self.num_frames)} labelled training frames",
            *self._unused(),
            f"strides: {', '.join(map(str, self.strides))}, because {percent(small[split], 0)} of "
            f"the boxes of {split} have a side under {STRIDES[0]} px of a frame",
            f"attention groups: {self.partition}, which pad a frame to {columns}x{rows}",
            f"size classes: small up to {t.small_area:.0f}, medium up to {t.medium_area:.0f} px² "
            "of a frame",
            *(f"  {note}" for note in t.notes),
            f"schedule: {number(self.steps)} steps of {self.batch} clips, "
            f"{self.steps * self.batch / self.num_frames:.0f} clips for each labelled frame",
        ]
        return "\n".join(lines)

    def _unused(self) -> list[str]:
        """Says how many labelled frames RVT's frame rule leaves out, where it does so."""
        unused, boxes = (
            sum((r.dropped or {}).get(rule, 0) for r in self.census.recordings)
            for rule in (UNUSED_FRAMES, UNUSED)
        )
        if not unused:
            return []
        used = sum(len(r.label_us) for r in self.census.recordings)
        return [
            f"labels: RVT's frame rule takes 10 frames a second, so {number(unused)} of the "
            f"{number(used + unused)} labelled frames of all splits, with {number(boxes)} boxes, "
            "are left out; tools/preprocess.py --frames all keeps them"
        ]
