"""Are two data sets the same?"""

from __future__ import annotations

import hashlib
import json

import numpy as np
from torch.utils.data import Dataset

from etram_mmdet.datasets.etram_dataset import ETraMDataset


def fingerprint(dataset: ETraMDataset) -> dict[str, object]:
    """What a split holds, and a digest of its recordings, frame times, representation, boxes and classes.

    Frames themselves are not read: they follow from recording and representation.
    """
    digest = hashlib.sha256()
    description = [dataset.split, list(dataset.metainfo["classes"]), dataset.representation, dataset.window_us]
    digest.update(json.dumps(description, sort_keys=True, default=str).encode())
    boxes = 0
    for sequence in sorted(dataset.sequences, key=lambda s: s.name):
        digest.update(f"{sequence.name} {sequence.channels} {sequence.hw}".encode())
        for array in (sequence.t_us, sequence.labelled):
            digest.update(np.ascontiguousarray(array, np.int64).tobytes())
        for frame in sequence.labelled:
            bboxes, labels = sequence.boxes_of(frame)
            boxes += len(labels)
            digest.update(bboxes.tobytes() + labels.tobytes())
    return dict(
        split=dataset.split,
        recordings=len(dataset.sequences),
        labelled_frames=len(dataset),
        boxes=boxes,
        sha256=digest.hexdigest()[:16],
    )


def digest(dataset: Dataset) -> str:
    """``sha256`` of :func:`fingerprint`; empty for data of another kind."""
    return str(fingerprint(dataset)["sha256"]) if isinstance(dataset, ETraMDataset) else ""
