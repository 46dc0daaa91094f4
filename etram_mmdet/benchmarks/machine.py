"""What a measurement was made on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

from etram_mmdet.benchmarks import cuda


def machine(device: torch.device) -> dict[str, str]:
    """Processor or GPU, threads and versions, for the head of every table."""
    return dict(
        device=cuda.name(device) or _processor(),
        threads=str(torch.get_num_threads()),
        cores=str(os.cpu_count()),
        python=platform.python_version(),
        torch=torch.__version__,
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
