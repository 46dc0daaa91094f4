"""Ground truth of a data set as an evaluation compares it with detections."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from etram_mmdet.evaluation.box_columns import BoxColumns
from etram_mmdet.evaluation.frame_columns import FrameColumns
from etram_mmdet.evaluation.results import Boxes, FrameResult

if TYPE_CHECKING:
    from etram_mmdet.datasets.etram_dataset import ETraMDataset
    from etram_mmdet.datasets.recording_frames import RecordingFrames


def truth_columns(dataset: ETraMDataset) -> FrameColumns:
    """Ground truth of every labelled frame of a data set, without detections.

    Args:
        dataset: data set with the labels.
    """
    sequences = {sequence.name: sequence for sequence in dataset.sequences}
    return FrameColumns.joined([_of(sequence) for sequence in sequences.values()])


def truth_of(dataset: ETraMDataset) -> dict[tuple[str, int], FrameResult]:
    """Ground truth as :func:`truth_columns` gives it, by (recording, t_us).

    Args:
        dataset: data set with the labels.
    """
    return {frame.key: frame for frame in truth_columns(dataset).frames()}


def _of(sequence: RecordingFrames) -> FrameColumns:
    arrays = sequence.arrays
    t_us = sequence.t_us[sequence.labelled]
    count = len(t_us)
    first, stop = (np.searchsorted(arrays["ignored_us"], at) for at in (t_us, t_us + 1))
    is_labelled = np.isin(arrays["ignored_us"], t_us)
    nothing = Boxes.empty()
    return FrameColumns(
        names=[sequence.name],
        recordings=np.zeros(count, np.int64),
        t_us=t_us,
        start_us=np.full(count, sequence.start_us, np.int64),
        step_us=np.full(count, sequence.step_us, np.int64),
        scales=np.full(count, sequence.scale, np.int64),
        hw=np.tile(np.array(sequence.hw, np.int64), (count, 1)),
        found=BoxColumns(
            np.zeros(count, np.int64),
            nothing.bboxes_xyxy,
            nothing.labels,
            nothing.scores,
            nothing.class_scores,
            np.ones(count, bool),
        ),
        truth=BoxColumns(
            np.diff(arrays["first_row"]), arrays["bboxes"], arrays["labels"].astype(np.int64)
        ),
        ignored=BoxColumns(
            stop - first,
            arrays["ignored_bboxes"][is_labelled],
            arrays["ignored_labels"][is_labelled].astype(np.int64),
        ),
    )
