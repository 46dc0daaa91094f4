"""The labelled frames of an evaluation: what the ground truth holds and what the detector said."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from etram_mmdet.utils.errors import InputError


class Frame(NamedTuple):
    """One labelled frame; boxes are x1 y1 x2 y2 in network pixels, N ground-truth boxes and M detections."""

    recording: str
    t_us: int
    gt_bboxes_xyxy: np.ndarray  # (N, 4) float32
    gt_labels: np.ndarray  # (N,) int64
    bboxes_xyxy: np.ndarray  # (M, 4) float32
    scores: np.ndarray  # (M,) float32
    labels: np.ndarray  # (M,) int64
    scale: int = 1  # sensor pixels per network pixel
    class_scores: np.ndarray | None = None  # (M,) float32, class probability alone, from heads that tell it
    hw: tuple[int, int] | None = None  # network pixels

    @property
    def key(self) -> tuple[str, int]:
        """What makes a frame the same frame on every worker and rank."""
        return self.recording, self.t_us


def merge(frames: Iterable[Frame]) -> dict[tuple[str, int], Frame]:
    """Each frame once, sorted by (recording, t_us), so that no metric depends on how the work was spread.

    A frame may come twice (shards are padded to equal length) if it says the same; else ``InputError``.
    """
    merged: dict[tuple[str, int], Frame] = {}
    for frame in frames:
        other = merged.setdefault(frame.key, frame)
        if other is not frame and not all(map(np.array_equal, frame, other)):
            raise InputError(
                f"{place_of(frame)} reached the metric twice with different boxes ({len(other.scores)} and "
                f"{len(frame.scores)} detections): one stream was read by two lanes or ranks. Expected each labelled "
                "frame once: let the sampler mark repeated frames with is_padding=True"
            )
    return dict(sorted(merged.items()))


def check_frame(frame: Frame, num_classes: int) -> None:
    """Raises ``InputError`` with recording and time for a value that is not finite and for a label without class."""
    for name in ("gt_bboxes_xyxy", "bboxes_xyxy", "scores", "class_scores"):
        values = getattr(frame, name)
        bad = ~np.isfinite([] if values is None else values)
        if bad.any():
            raise InputError(
                f"{place_of(frame)}: {name} holds {bad.sum()} values that are NaN or infinite, expected none. If "
                "training diverged, lower the learning rate or resume from an earlier checkpoint"
            )
    for name in ("gt_labels", "labels"):
        labels = getattr(frame, name)
        unknown = np.unique(labels[(labels < 0) | (labels >= num_classes)])
        if unknown.size:
            raise InputError(
                f"{place_of(frame)}: {name} holds the labels {unknown.tolist()}, expected 0 to {num_classes - 1} "
                f"({num_classes} classes). Make the dataset's class_set and the head's num_classes fit the label files"
            )


def place_of(frame: Frame) -> str:
    """Recording and time, as errors name them."""
    return f"recording {frame.recording!r} at t_us={frame.t_us}"
