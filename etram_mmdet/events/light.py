"""Day or night, as recordings are named."""

from __future__ import annotations

import re


def light_of(recording: str) -> str | None:
    """``"day"`` or ``"night"`` where the name tells."""
    found = re.search(r"(?<![a-z])(day|night)(?![a-z])", recording.lower())
    return found and found[1]
