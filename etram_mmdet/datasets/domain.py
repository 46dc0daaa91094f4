"""The range of box sizes and event rates in the training data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from etram_mmdet.events.domain import EVENTS, SIDES, events_per_px, sides_of
from etram_mmdet.events.representations import build_representation

if TYPE_CHECKING:
    from etram_mmdet.datasets.etram_dataset import ETraMDataset

_SPANS = {SIDES: (1, 99), EVENTS: (5, 95)}  # percentiles of the training data
MOST_FRAMES = 64  # frames of a data set that are read, spread over its recordings


def frames_shown(dataset: ETraMDataset) -> np.ndarray:
    """Events per pixel (n,) in up to `MOST_FRAMES` labelled frames of a data set, as it shows them.

    The frames are spread evenly over its recordings. See :func:`events_per_px`.

    Args:
        dataset: data set whose frames are read.
    """
    chosen = np.linspace(0, len(dataset) - 1, min(len(dataset), MOST_FRAMES)).astype(int)
    shown = build_representation(dataset.representation, 2, 2)
    places = (dataset.labelled_frame(i) for i in chosen.tolist())
    read = (dataset.sequences[number].read(frame, frame + 1)[0] for number, frame in places)
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
