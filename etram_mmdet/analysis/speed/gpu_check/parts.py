"""The parts of the GPU check, in order of value. Listing them loads no PyTorch, measuring does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from etram_mmdet.utils.errors import InputError

if TYPE_CHECKING:
    import torch

    from etram_mmdet.analysis.speed.gpu_check.size import Size


@dataclass(frozen=True)
class Part:
    """One part: the function ``name`` of the module ``module`` beside this file.

    A part that takes longer than ``limit_s`` is ended.
    """

    name: str
    title: str
    limit_s: float
    module: str

    def measure(self, device: torch.device, size: Size, folder: Path) -> Iterator[dict]:
        """Yields rows as they come: figures by name. ``holds`` in a row says whether what was asked holds.

        A part may leave files in ``folder``.
        """
        module = import_module(f"etram_mmdet.analysis.speed.gpu_check.{self.module}")
        return getattr(module, self.name)(device, size, folder)


PARTS = {
    part.name: part
    for part in (
        Part("tests", "The tests that need a GPU", 360, "programs"),
        Part("agreement", "Maps and boxes beside the CPU's", 240, "same_numbers"),
        Part(
            "training",
            "A training step beside the CPU's, and many in mixed precision",
            240,
            "same_numbers",
        ),
        Part("memory", "Peak memory of the config that ran out of it", 120, "speed"),
        Part("streaming", "Latency of one stream, milliseconds per window", 480, "speed"),
        Part("throughput", "Training steps in mixed precision", 240, "speed"),
        Part("demo", "The demo, from simulation to AP", 480, "programs"),
    )
}


def chosen_parts(names: list[str]) -> list[Part]:
    """In the order of `PARTS`; raises ``InputError`` for a name that is not there."""
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        raise InputError(f"--parts {' '.join(unknown)}: no such part; there are {', '.join(PARTS)}")
    return [part for name, part in PARTS.items() if name in names]
