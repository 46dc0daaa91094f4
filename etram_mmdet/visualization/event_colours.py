"""Colours of events in pictures; needs NumPy only."""

from __future__ import annotations

import numpy as np

Colour = tuple[int, int, int]

BACKGROUND: Colour = (18, 20, 26)
# events are grey and a quiet blue: saturated colours are those of the classes
POSITIVE: Colour = (186, 194, 206)
NEGATIVE: Colour = (62, 88, 150)


def events_to_rgb(off_on: np.ndarray) -> np.ndarray:
    """Colour each pixel by the polarity of its events, more strongly the more there are.

    Args:
        off_on: (2·D, H, W) event counts, the D maps of off events first. `Representation.off_on`
            returns D = 1.

    Returns:
        RGB image (H, W, 3), uint8; pixels without events have the colour `BACKGROUND`.
    """
    half = len(off_on) // 2
    negative, positive = (
        part.sum(0, dtype=np.float32)[..., None] for part in (off_on[:half], off_on[half:])
    )
    total = negative + positive
    colour = (negative * NEGATIVE + positive * POSITIVE) / np.where(total > 0, total, 1)
    strength = 1 - 0.5**total  # one event shows at half strength, five nearly at full
    return (BACKGROUND + strength * (colour - BACKGROUND)).round().astype(np.uint8)
