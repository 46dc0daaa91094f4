"""A contact sheet of evaluated frames from saved predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from etram_mmdet.datasets.etram_dataset import ETraMDataset
from etram_mmdet.datasets.sequence import Sequence
from etram_mmdet.evaluation.predictions import load_predictions
from etram_mmdet.events.representations import Representation, build_representation
from etram_mmdet.visualization.contact_sheet import contact_sheet


def prediction_sheet(
    dataset: ETraMDataset, predictions: str | Path, out_path: str | Path, count: int = 12, min_score: float = 0.3
) -> None:
    """Draw ``count`` frames that hold boxes, evenly spread over the predictions that ``tools/test.py --out`` saved."""
    places = {
        (s.name, int(s.t_us[i])): (s, int(i)) for s in dataset.sequences for i in s.labelled if len(s.boxes_of(i)[0])
    }
    shown = [frame for frame in load_predictions(Path(predictions)).frames if frame.key in places]
    chosen = np.linspace(0, len(shown) - 1, min(count, len(shown))).round().astype(int)
    shows = build_representation(dataset.representation, 2, 2)
    frames = [(_events(*places[shown[k].key], shows), shown[k]) for k in chosen]
    contact_sheet(frames, out_path, dataset.metainfo["classes"], dataset.metainfo["palette"], min_score=min_score)


def _events(sequence: Sequence, index: int, shows: Representation) -> np.ndarray:
    return shows.off_on(sequence.read(index, index + 1)[0])
