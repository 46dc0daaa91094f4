"""The parts of the GPU check, in order of value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from etram_mmdet.analysis.speed.gpu_check import programs, same_numbers, speed
from etram_mmdet.analysis.speed.gpu_check.size import Size
from etram_mmdet.utils.errors import InputError


@dataclass(frozen=True)
class Part:
    """``measure`` yields rows as it gets them: figures by name. ``holds`` in a row says whether what was asked holds.

    It may leave files in the folder that it is given. A part that takes longer than ``limit_s`` is ended.
    """

    name: str
    title: str
    limit_s: float
    measure: Callable[[torch.device, Size, Path], Iterator[dict]]


PARTS = {
    part.name: part
    for part in (
        Part("tests", "The tests that need a GPU", 360, programs.tests),
        Part("agreement", "Maps and boxes beside the CPU's", 240, same_numbers.agreement),
        Part("training", "A training step beside the CPU's, and many in mixed precision", 240, same_numbers.training),
        Part("memory", "Peak memory of the config that ran out of it", 120, speed.memory),
        Part("streaming", "Latency of one stream, milliseconds per window", 480, speed.streaming),
        Part("throughput", "Training steps in mixed precision", 240, speed.throughput),
        Part("demo", "The demo, from simulation to AP", 480, programs.demo),
    )
}


def chosen_parts(names: list[str]) -> list[Part]:
    """In the order of `PARTS`; raises ``InputError`` for a name that is not there."""
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        raise InputError(f"--parts {' '.join(unknown)}: no such part; there are {', '.join(PARTS)}")
    return [part for name, part in PARTS.items() if name in names]
