"""Read a file of operating points."""

from __future__ import annotations

from pathlib import Path

from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.plain_config import read_plain_config


def load_operating_points(path: str | Path) -> dict:
    """Read a file of operating points: thresholds per class, as a config defines them.

    Args:
        path: file that ``tools/tune_thresholds.py`` wrote.

    Raises:
        InputError: the file cannot be read, or defines no operating points.
    """
    try:
        tuned = read_plain_config(path).get("operating_points")
    except InputError as error:
        raise InputError(
            f"{error}; expected a file of operating points, as tools/tune_thresholds.py writes it"
        ) from error
    if not isinstance(tuned, dict):
        raise InputError(
            f"{path}: defines no operating_points; expected a file of tools/tune_thresholds.py"
        )
    return tuned
