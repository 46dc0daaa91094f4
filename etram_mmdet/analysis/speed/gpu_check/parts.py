"""The parts of the GPU check, the most valuable first.

Listing the parts does not load PyTorch, measuring does.
"""

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
    """One part of the GPU check.

    Attributes:
        name: name of the part, and of its function in the module.
        title: title in the report.
        limit_s: seconds after which the part is ended.
        module: module in this package that holds the function.
    """

    name: str
    title: str
    limit_s: float
    module: str

    def measure(self, device: torch.device, size: Size, folder: Path) -> Iterator[dict]:
        """Yields rows of figures by name as soon as they are measured.

        ``holds`` in a row says whether the row's requirement is met.

        Args:
            device: device to measure.
            size: how much the part does.
            folder: folder into which the part may write files.
        """
        module = import_module(f"etram_mmdet.analysis.speed.gpu_check.{self.module}")
        return getattr(module, self.name)(device, size, folder)


PARTS = {
    part.name: part
    for part in (
        Part("tests", "The tests that need a GPU", 360, "programs"),
        Part("agreement", "Maps and boxes compared with the CPU's", 240, "same_numbers"),
        Part(
            "training",
            "A training step compared with the CPU's, and many in mixed precision",
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
    """Returns the parts with these names, in the order of `PARTS`.

    Args:
        names: names of parts.

    Raises:
        InputError: there is no part of such a name.
    """
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        raise InputError(
            f"--parts {' '.join(unknown)}: no such part; expected some of {', '.join(PARTS)}"
        )
    return [part for name, part in PARTS.items() if name in names]
