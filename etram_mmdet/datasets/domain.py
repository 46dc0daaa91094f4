"""The range of box sizes and event rates in the training data, and whether other data fit it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from etram_mmdet.events.representations import Representation, build_representation
from etram_mmdet.utils.text import percent

if TYPE_CHECKING:
    from etram_mmdet.datasets.etram_dataset import ETraMDataset

SIDES, EVENTS = "side_px", "events_per_px"  # keys of a domain; each has its lower and upper number
_SPANS = {SIDES: (1, 99), EVENTS: (5, 95)}  # percentiles of the training data
MOST_FRAMES = 64  # frames of a data set that are read, spread over its recordings
MOST_BEYOND = 0.1  # share of boxes out of range that is reported; in training it is 0.01 a side
LEAST_BOXES = 20  # number of boxes from which their share means anything
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


def frames_shown(dataset: ETraMDataset) -> np.ndarray:
    """Events per pixel (n,) of up to `MOST_FRAMES` labelled frames of a data set.

    The frames are spread evenly over its recordings. See :func:`events_per_px`.

    Args:
        dataset: data set whose frames are read.
    """
    places = [(s, int(frame)) for s in dataset.sequences for frame in s.labelled]
    chosen = np.linspace(0, len(places) - 1, min(len(places), MOST_FRAMES)).astype(int)
    shown = build_representation(dataset.representation, 2, 2)
    read = (places[i][0].read(places[i][1], places[i][1] + 1)[0] for i in chosen)
    return np.array([events_per_px(shown, image) for image in read])


def domain_of(dataset: ETraMDataset) -> dict[str, list[float]]:
    """The range of the training data, as plain numbers for a checkpoint, in pixels of a frame.

    ``side_px`` holds the two sides between which 98 % of the boxes lie. ``events_per_px`` holds the
    two numbers of events per pixel between which 90 % of the labelled frames lie. A key is missing
    when there is nothing to measure.

    Args:
        dataset: training data.
    """
    values = {SIDES: sides_of(dataset.box_statistics().sizes_px), EVENTS: frames_shown(dataset)}
    spans = {
        key: np.percentile(values[key], _SPANS[key]).tolist() for key in values if len(values[key])
    }
    return {key: [float(f"{number:.4g}") for number in span] for key, span in spans.items()}


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
            (np.mean(sides_px < low), "smaller", f"from {low:.0f} px of a frame on"),
            (np.mean(sides_px > high), "larger", f"up to {high:.0f} px of a frame"),
        ):
            if share > MOST_BEYOND:
                sentences.append(
                    f"{percent(share, 0)} of the boxes are {word} than those that the checkpoint was trained on (99 % "
                    f"of them have sides {limit}); objects of such sizes are mostly missed"
                )
    if EVENTS in trained and len(events):
        low, high = trained[EVENTS]
        median = float(np.median(events))
        if not low / MOST_TIMES <= median <= high * MOST_TIMES:
            sentences.append(
                f"a frame holds {median:.2g} events for each pixel, the checkpoint was trained on {low:.2g} to "
                f"{high:.2g}; another sensor, light or setting of the camera asks for training data of its own"
            )
    return sentences
