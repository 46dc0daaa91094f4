"""Read a file of operating points."""

from __future__ import annotations

from pathlib import Path

from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.plain_config import read_plain_config


def load_operating_points(path: str | Path) -> dict:
    """The ``operating_points`` in a file that ``tools/tune_thresholds.py`` wrote.

    Args:
        path: the file.

    Raises:
        InputError: the file defines no operating points.
    """
    try:
        tuned = read_plain_config(path).get("operating_points")
    except InputError as error:
        raise InputError(
            f"{error}: not a file of operating points; tools/tune_thresholds.py writes it"
        ) from error
    if not isinstance(tuned, dict):
        raise InputError(
            f"{path}: defines no operating_points; tools/tune_thresholds.py writes such a file"
        )
    return tuned
