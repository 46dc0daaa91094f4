"""Check whether labels and events fit together; report doubts with likely cause and remedy.

A wrong unit, clock, order or box format raises no error: the dataset would be made from wrong
moments or places.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from etram_mmdet.events.preprocessing.plausibility.boxes import doubts_about_boxes
from etram_mmdet.events.preprocessing.plausibility.times import (
    doubts_about_times,
    is_worth_a_look,
    times_of,
)
from etram_mmdet.events.recording import Recording


def doubts_before_reading(
    recording: Recording,
    labels: np.ndarray,
    label_us: np.ndarray,
    box_format: str,
    place_of: Callable[[int], str],
) -> list[str]:
    """Doubts about labels before the recording is read, one sentence each.

    If label times are very odd, the whole recording is read for the time of its last event.

    Args:
        recording: the open recording.
        labels: boxes with finite numbers (``BBOX_DTYPE``, sensor pixels).
        label_us: all times that were labelled, sorted (L,), in microseconds.
        box_format: ``xywh``, ``cxcywh`` or ``xyxy``, as the labels were read.
        place_of: function that gives the place of a label time in its file, as text.
    """
    to_the_end = is_worth_a_look(label_us, recording.t_first_us)
    return [
        *doubts_about_times(times_of(recording, label_us, place_of, to_the_end=to_the_end)),
        *doubts_about_boxes(labels, recording.width, recording.height, box_format),
    ]
