"""The machine and version that this package runs on, and the folder of its configs and tools."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_PACKAGE = Path(__file__).parents[1]
# Configs and tools are beside the package in a checkout, in its folder .mim in an installed wheel.
ROOT = _PACKAGE / ".mim" if (_PACKAGE / ".mim").is_dir() else _PACKAGE.parent


def find_config(path: str | Path) -> Path:
    """``path`` if there is such a file, else the config of this name that comes with the package.

    Args:
        path: path of a config, such as ``configs/patch2_sizeaware.py``.
    """
    bundled = ROOT / path
    return bundled if bundled.is_file() and not Path(path).is_file() else Path(path)


def machine(device: torch.device) -> dict[str, str]:
    """Processor or GPU, threads and versions, for the head of every table.

    Args:
        device: device that was measured.
    """
    import torch  # not needed to read recordings

    return dict(
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        threads=str(torch.get_num_threads()),
        cores=str(os.cpu_count()),
        python=platform.python_version(),
        torch=torch.__version__,
    )


def _processor() -> str:
    lines = (
        Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    )
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def commit() -> str:
    """Short hash of the checked-out commit of this package.

    A + follows when files differ from the commit. The text is empty without git.
    """
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        )
        changed = subprocess.run(
            [*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head.stdout.strip() + "+" * bool(changed.stdout.strip())
