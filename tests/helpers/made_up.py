"""Data sets of a few numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from etram_mmdet.analysis.dataset.census import BoxSizes, Census, RecordingCensus
from etram_mmdet.events.class_sets import get_class_set


def boxes(*rows: tuple[int, float, float], times: int = 1) -> BoxSizes:
    """From (label, width, height), all of them ``times`` times."""
    labels, widths, heights = (np.repeat(column, times) for column in zip(*rows, strict=True))
    return BoxSizes(labels.astype(np.int64), widths.astype(float), heights.astype(float))


ALL_CLASSES = boxes(*((label, 20 + 10 * label, 40) for label in range(8)), times=20)


def recording(
    split: str, name: str | None = None, of: BoxSizes = ALL_CLASSES, **known
) -> RecordingCensus:
    return RecordingCensus(
        split, name or f"{split}_day_0001", of, np.array([100_000, 200_000, 300_000]), **known
    )


def census(
    *recordings: RecordingCensus, class_set: str = "etram8", problems: tuple[str, ...] = ()
) -> Census:
    info = get_class_set(class_set).metainfo
    return Census(
        Path("data"), class_set, info["classes"], info["palette"], list(recordings), list(problems)
    )
