"""Runs one part of the GPU check in this process.

Run as ``python -m etram_mmdet.analysis.speed.gpu_check.work PART DEVICE SIZE FOLDER [RVT]``.

`launch` starts it. Every row is written to the part's file as soon as it is known, so that it is
kept when the process is ended.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import torch

from etram_mmdet.analysis.speed import cuda
from etram_mmdet.analysis.speed.gpu_check.parts import PARTS, Part
from etram_mmdet.analysis.speed.gpu_check.report import row_text
from etram_mmdet.analysis.speed.gpu_check.result import Result
from etram_mmdet.analysis.speed.gpu_check.size import SIZES, Size
from etram_mmdet.utils.environment import commit, machine


def work(part: Part, device: torch.device, size: Size, folder: Path) -> Result:
    """Measures one part and writes its rows as they come.

    It exits with a sentence if a row does not meet its requirement.

    Args:
        part: the part.
        device: device to measure.
        size: how much the part does.
        folder: folder for the result.
    """
    result = Result(
        part.name,
        device.type,
        size.name,
        started=f"{datetime.now():%Y-%m-%d %H:%M}",
        commit=commit(),
    )
    result.machine = machine(device) | cuda.facts(device)
    result.write(folder)
    for row in part.measure(device, size, folder):
        result.rows.append(row)
        result.write(folder)
        print(row_text(row), flush=True)
    broken = [row for row in result.rows if not row.get("holds", True)]
    if broken:
        sys.exit(
            f"{len(broken)} of {len(result.rows)} rows do not meet their requirement, the first: "
            f"{row_text(broken[0])}"
        )
    return result


if __name__ == "__main__":
    name, device, size, folder, *rvt = sys.argv[1:]
    chosen = replace(SIZES[size], reference=Path(rvt[0]) if rvt else None)
    work(PARTS[name], torch.device(device), chosen, Path(folder))
