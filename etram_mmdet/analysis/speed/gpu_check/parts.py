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
        needs_reference: whether it executes a clone of RVT.
    """

    name: str
    title: str
    limit_s: float
    module: str
    needs_reference: bool = False

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
        Part("prediction", "Memory of a training step beside its prediction", 180, "beside"),
        Part("streaming", "Latency of one stream, milliseconds per window", 480, "speed"),
        Part("graphs", "Latency through CUDA graphs, milliseconds per window", 180, "beside"),
        Part("throughput", "Training steps in mixed precision", 240, "speed"),
        Part(
            "reference",
            "Beside RVT's own code, in turns",
            240,
            "beside",
            needs_reference=True,
        ),
        Part("demo", "The demo, from simulation to AP", 480, "programs"),
    )
}


def chosen_parts(names: list[str] | None, reference: Path | None = None) -> list[Part]:
    """Returns the parts with these names, in the order of `PARTS`.

    Args:
        names: names of parts. Default: all that need no clone of RVT, or have one.
        reference: a clone of RVT. Default: none.

    Raises:
        InputError: there is no part of such a name, or a part needs a clone of RVT.
    """
    if names is None:
        names = [name for name, part in PARTS.items() if reference or not part.needs_reference]
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        raise InputError(
            f"--parts {' '.join(unknown)}: no such part; expected some of {', '.join(PARTS)}"
        )
    parts = [part for name, part in PARTS.items() if name in names]
    for part in parts:
        if part.needs_reference and not reference:
            raise InputError(
                f"--parts {part.name}: it executes RVT's code; add --reference with a clone of "
                "https://github.com/uzh-rpg/RVT"
            )
    return parts
