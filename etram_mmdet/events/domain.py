"""Box sizes and event rates of some data, and whether they fit those of a training."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from etram_mmdet.events.representations import Representation
from etram_mmdet.utils.text import percent

SIDES, EVENTS = "side_px", "events_per_px"  # keys of a domain; each has its lower and upper number
MOST_BEYOND = 0.1  # share of boxes out of range that is reported; in training it is 0.01 a side
LEAST_BOXES = 20  # with fewer boxes their share is not judged
MOST_TIMES = 2.0  # factor by which the median frame may lie outside the range of training


def sides_of(sizes_px: np.ndarray) -> np.ndarray:
    """Square roots of the areas of boxes: (n,), in the unit of ``sizes_px``.

    Args:
        sizes_px: (n, 2) widths and heights, usually in pixels of a frame.
    """
    return np.sqrt(sizes_px.prod(1))


def events_per_px(representation: Representation, image: np.ndarray) -> float:
    """Number of events per pixel that an image shows.

    Args:
        representation: representation that made the image.
        image: (C, H, W).
    """
    return float(representation.off_on(image).sum() / image[0].size)


def outside(trained: Mapping, sides_px: np.ndarray, events: np.ndarray) -> list[str]:
    """One sentence for each property in which data lie outside the range of the training data.

    Args:
        trained: result of :func:`domain_of`; a key that it lacks is not judged.
        sides_px: (n,) sides of boxes, in pixels of a frame.
        events: (m,) events per pixel of some frames.
    """
    sentences = []
    if SIDES in trained and len(sides_px) >= LEAST_BOXES:
        low, high = trained[SIDES]
        for share, word, limit in (
            (np.mean(sides_px < low), "smaller", f"of at least {low:.0f} px of a frame"),
            (np.mean(sides_px > high), "larger", f"of at most {high:.0f} px of a frame"),
        ):
            if share > MOST_BEYOND:
                sentences.append(
                    f"{percent(share, 0)} of the boxes are {word} than those in the checkpoint's "
                    f"training data (99 % of which have sides {limit}); the detector misses most "
                    "objects of such sizes, train on data that hold them"
                )
    if EVENTS in trained and len(events):
        low, high = trained[EVENTS]
        median = float(np.median(events))
        if not low / MOST_TIMES <= median <= high * MOST_TIMES:
            sentences.append(
                f"a frame holds {median:.2g} events per pixel, but {low:.2g} to {high:.2g} in the "
                "checkpoint's training data; train on data of this sensor, light and camera setting"
            )
    return sentences
