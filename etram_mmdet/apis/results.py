"""Detections as columns, pandas or supervision objects, and a summary of how many were found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from etram_mmdet.deploy.inferencer import Window
from etram_mmdet.evaluation.operating_points.points import OperatingPoints
from etram_mmdet.utils.lazy import load

if TYPE_CHECKING:
    from pandas import DataFrame
    from supervision import Detections


def to_numpy(windows: Window | Iterable[Window]) -> dict[str, np.ndarray]:
    """Convert the boxes of one or many windows to NumPy columns.

    Args:
        windows: one window or several, from :meth:`Inferencer.windows`.

    Returns:
        N boxes in the order of the windows: ``t_us`` (N,) int64 microseconds, ``bboxes_xyxy``
        (N, 4) float32 sensor pixels, ``scores`` (N,) float32, ``labels`` (N,) int64 class numbers,
        ``names`` (N,) class names.
    """
    windows = [windows] if isinstance(windows, Window) else windows
    found = [(window.t_us, window.boxes) for window in windows]
    empty = np.empty(0, np.float32)
    return dict(
        t_us=np.repeat(
            np.array([t_us for t_us, _ in found], np.int64), [len(boxes) for _, boxes in found]
        ),
        bboxes_xyxy=np.concatenate(
            [np.empty((0, 4), np.float32), *(boxes.bboxes_xyxy for _, boxes in found)]
        ),
        scores=np.concatenate([empty, *(boxes.scores for _, boxes in found)]),
        labels=np.concatenate([empty.astype(np.int64), *(boxes.labels for _, boxes in found)]),
        names=np.array([name for _, boxes in found for name in boxes.names], np.str_),
    )


def to_pandas(windows: Window | Iterable[Window]) -> DataFrame:
    """Convert the boxes of one or many windows to a pandas table, one row per box.

    The columns are those of the CSV file of ``tools/detect.py``: ``t_us``, ``x1``, ``y1``, ``x2``,
    ``y2``, ``score``, ``class``. Units are as for :func:`to_numpy`.

    Args:
        windows: one window or several, from :meth:`Inferencer.windows`.

    Raises:
        InputError: pandas is not installed.
    """
    pandas = load("pandas", "pandas")
    found = to_numpy(windows)
    sides = dict(zip(("x1", "y1", "x2", "y2"), found["bboxes_xyxy"].T, strict=True))
    return pandas.DataFrame(
        {"t_us": found["t_us"], **sides, "score": found["scores"], "class": found["names"]}
    )


def to_supervision(windows: Window | Iterable[Window]) -> Detections:
    """Convert the boxes to ``supervision.Detections``, for its annotators, zones and trackers.

    Boxes are in sensor pixels; ``data`` holds ``class_name`` and ``t_us`` of each. Trackers need
    one window at a time.

    Args:
        windows: one window or several, from :meth:`Inferencer.windows`.

    Raises:
        InputError: supervision is not installed.
    """
    supervision = load("supervision", "supervision")
    found = to_numpy(windows)
    return supervision.Detections(
        xyxy=found["bboxes_xyxy"],
        confidence=found["scores"],
        class_id=found["labels"],
        data=dict(class_name=found["names"], t_us=found["t_us"]),
    )


class Tally:
    """Counts windows and boxes of a recording while it is followed; ``str()`` is the summary.

    Args:
        points: operating points by which the boxes were selected; the summary names the thresholds.
    """

    def __init__(self, points: OperatingPoints) -> None:
        self.points = points
        self.num_windows = 0
        self.boxes: Counter[str] = Counter()  # by class
        self.highest = 0.0  # highest score of any box that the network predicted
        self.highest_class = ""

    def count(self, windows: Iterable[Window]) -> Iterator[Window]:
        """Yield the same windows, and count them.

        Args:
            windows: windows of a recording, from :meth:`Inferencer.windows`.
        """
        for window in windows:
            self.num_windows += 1
            self.boxes.update(window.boxes.names)
            if window.seen.scores.max(initial=0.0) > self.highest:
                best = int(window.seen.scores.argmax())
                self.highest = float(window.seen.scores[best])
                self.highest_class = window.seen.names[best]
            yield window

    def __str__(self) -> str:
        from_score = {
            name: _threshold_text(row)
            for name, row in zip(self.points.classes, self.points.score_thr, strict=True)
        }
        is_common = len(set(from_score.values())) == 1
        total = f"{self.boxes.total()} boxes in {self.num_windows} windows"
        if is_common:
            common = next(iter(from_score.values()))
            each = (f"{name} {self.boxes[name]}" for name in from_score)
            text = f"found {total} with scores of at least {common}: {', '.join(each)}"
        else:
            each = (
                f"{name} {self.boxes[name]} (scores of at least {thr})"
                for name, thr in from_score.items()
            )
            text = f"found {total}: {', '.join(each)}"
        return text if self.boxes else f"{text}\n{self._highest()}"

    def _highest(self) -> str:
        if not self.num_windows:
            return (
                "no window ends in this part of the recording; choose another --start-s, "
                "--duration-s or --step-ms"
            )
        if not self.highest_class:
            return (
                "the network predicted no box, not even one of a low score (the lowest score kept "
                "is model.test_cfg.score_thr)"
            )
        return (
            f"the highest score was {self.highest:.3g} ({self.highest_class}); to see boxes of "
            f"lower scores, use --score-thr {self.highest / 2:.1g}"
        )


def _threshold_text(thresholds: np.ndarray) -> str:
    """The threshold in words: one number, or lowest and highest if they differ by box size."""
    return " to ".join(
        f"{number:.3g}" for number in np.unique(thresholds)[[0, -1]][: 1 + (np.ptp(thresholds) > 0)]
    )
