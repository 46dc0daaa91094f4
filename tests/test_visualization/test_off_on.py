"""Off and on channels of each representation, on images made by hand and on two events."""

from __future__ import annotations

import numpy as np
import pytest

from etram_mmdet.events.recording import Events
from etram_mmdet.events.representations import (
    MixedDensityEventStack,
    StackedHistogram,
    TernaryVolume,
    TimeSurface,
    build_representation,
)
from etram_mmdet.visualization.draw import BACKGROUND, NEGATIVE, POSITIVE, events_to_rgb


def column(*values, dtype):
    """An image of one pixel."""
    return np.array(values, dtype).reshape(-1, 1, 1)


@pytest.mark.parametrize(
    ("representation", "values", "off_on"),
    [
        (StackedHistogram(1, 1, bins=2), column(200, 100, 1, 2, dtype=np.uint8), (300, 3)),
        (MixedDensityEventStack(1, 1, bins=3), column(7, 5, -4, dtype=np.int8), (4, 0)),
        (MixedDensityEventStack(1, 1, bins=2), column(-9, 6, dtype=np.int8), (0, 6)),
        (
            MixedDensityEventStack(1, 1, bins=1, count_cutoff=None),
            column(-128, dtype=np.int8),
            (128, 0),
        ),
        (TernaryVolume(1, 1, bins=4), column(-1, 0, 1, -1, dtype=np.int8), (2, 1)),
        (TimeSurface(1, 1), column(255, 0, dtype=np.uint8), (4, 0)),
        (TimeSurface(1, 1), column(51, 102, dtype=np.uint8), (0.8, 1.6)),
    ],
)
def test_values_by_hand(representation, values, off_on):
    maps = representation.off_on(values)
    assert maps.dtype == np.float32 and maps.shape == (2, 1, 1)
    assert maps.ravel() == pytest.approx(off_on)


@pytest.mark.parametrize(
    "name", ["StackedHistogram", "MixedDensityEventStack", "TernaryVolume", "TimeSurface"]
)
def test_off_event_and_on_event_are_where_they_fell(name):
    """Also in the network's input, which is padded and of float type."""
    representation = build_representation(dict(type=name), height=4, width=6)
    events = Events(
        np.array([10, 20]),
        np.array([2, 5], np.uint16),
        np.array([1, 3], np.uint16),
        np.uint8([0, 1]),
    )
    image = representation(events, (0, 50_000))
    maps = representation.off_on(np.pad(image, ((0, 0), (0, 2), (0, 1))).astype(np.float32))
    assert maps.shape == (2, 6, 7)
    assert [place.tolist() for place in np.argwhere(maps > 0)] == [[0, 1, 2], [1, 3, 5]]
    assert (maps[:, :4, :6] == representation.off_on(image)).all() and (maps >= 0).all()


def test_half_an_event_has_the_colour_of_one():
    image = events_to_rgb(np.array([[[0.5, 0]], [[0, 0.5]]], np.float32))
    strength = 1 - 0.5**0.5
    for pixel, colour in zip(image[0], (NEGATIVE, POSITIVE), strict=True):
        assert pixel == pytest.approx(
            np.array(BACKGROUND) + strength * (np.array(colour) - BACKGROUND), abs=1
        )
