"""The boxes of one recording whose classes a class set keeps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from etram_mmdet.analysis.dataset.box_events import BoxEvents
from etram_mmdet.analysis.dataset.census import BoxSizes
from etram_mmdet.datasets.recorded_boxes import class_labels
from etram_mmdet.events.class_mapping import LEFT_OUT, ClassSet, signed_ids
from etram_mmdet.events.representations import Representation

MOST_FRAMES = 60  # frames of a recording in which events in boxes are counted


class ClassBoxes(NamedTuple):
    """Boxes of one recording in sensor pixels, in time order.

    Attributes:
        rows: (n,) structured array with the fields t, x, y, w and h.
        labels: (n,) class number of each box.
        others: (k,) boxes that are not used, with the same fields as ``rows``, such as those of
            classes that the class set leaves out.
        left_out: number of boxes of classes that the class set leaves out, by name or id.
    """

    rows: np.ndarray
    labels: np.ndarray
    others: np.ndarray
    left_out: dict[str, int]

    @classmethod
    def of(
        cls,
        rows: np.ndarray,
        class_set: ClassSet,
        path: Path,
        id_names: Mapping[int, str] | None = None,
    ) -> ClassBoxes:
        """Sorts the boxes of a recording into those that the class set keeps and the others.

        Args:
            rows: (n,) structured array with the fields t, x, y, w, h and class_id.
            class_set: meaning of the class ids.
            path: label file, named in errors.
            id_names: name of each id, if the label file holds names. Default: those of the class
                set.
        """
        labels = class_labels(rows["class_id"], class_set, path, id_names)
        is_kept = labels != LEFT_OUT
        names = id_names or class_set.class_names
        left_out = Counter(
            names.get(i, str(i)) for i in signed_ids(rows["class_id"][~is_kept]).tolist()
        )
        return cls(rows[is_kept], labels[is_kept], rows[~is_kept], dict(left_out))

    def sizes(self, scale: int) -> BoxSizes:
        """Returns sizes in network pixels, each of which is ``scale`` sensor pixels wide."""
        sides = (self.rows[side].astype(np.float64) / scale for side in "wh")
        return BoxSizes(self.labels, *sides)

    def events_at(self, t_us: int, events: np.ndarray, scale: int, added_up: int) -> BoxEvents:
        """Returns the numbers of the frame that ends at ``t_us``, see :meth:`BoxEvents.of_frame`.

        Args:
            t_us: end of the frame, in microseconds.
            events: (H, W) number of events on each network pixel.
            scale: sensor pixels for the width of a network pixel.
            added_up: rows of the sensor whose events one network pixel counts.
        """
        bboxes, others = (_corners_at(rows, t_us, scale) for rows in (self.rows, self.others))
        return BoxEvents.of_frame(bboxes, events, others, added_up)


def _corners_at(rows: np.ndarray, t_us: int, scale: int) -> np.ndarray:
    """Returns corners (m, 4) in network pixels of the boxes at one time."""
    rows = rows[slice(*np.searchsorted(rows["t"], [t_us, t_us + 1]))]
    corners = [rows["x"], rows["y"], rows["x"] + rows["w"], rows["y"] + rows["h"]]
    return np.stack(corners, 1).astype(np.float64) / scale


def added_up(representation: Representation) -> int:
    """Counts the sensor rows whose events are added up in one pixel of a frame.

    Args:
        representation: how events become frames.

    Returns:
        The scale of the representation if it sums events, else 1.
    """
    return representation.scale if representation.downsample.startswith("sum") else 1


def some_of(label_us: np.ndarray) -> set[int]:
    """Picks at most `MOST_FRAMES` label times, spread evenly over the recording.

    Args:
        label_us: (F,) label times in ascending order, in microseconds.
    """
    places = np.linspace(0, len(label_us) - 1, min(len(label_us), MOST_FRAMES)).astype(int)
    return set(label_us[places].tolist())
