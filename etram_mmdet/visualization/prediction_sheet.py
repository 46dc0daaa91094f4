"""A contact sheet of evaluated frames from saved predictions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from etram_mmdet.datasets.etram_dataset import ETraMDataset
from etram_mmdet.datasets.sequence import Sequence
from etram_mmdet.evaluation.frames import Frame
from etram_mmdet.events.representations import Representation, build_representation
from etram_mmdet.visualization.contact_sheet import contact_sheet


def prediction_sheet(
    dataset: ETraMDataset, predictions: str | Path, out_path: str | Path, count: int = 12, min_score: float = 0.3
) -> None:
    """Draw ``count`` frames that hold boxes, evenly spread over the predictions that ``tools/test.py --out`` saved."""
    places = {
        (s.name, int(s.t_us[i])): (s, int(i)) for s in dataset.sequences for i in s.labelled if len(s.boxes_of(i)[0])
    }
    saved = json.loads(Path(predictions).read_text())["frames"]
    shown = [frame for frame in saved if (frame["recording"], frame["t_us"]) in places]
    chosen = np.linspace(0, len(shown) - 1, min(count, len(shown))).round().astype(int)
    shows = build_representation(dataset.representation, 2, 2)
    frames = [_with_events(shown[k], *places[shown[k]["recording"], shown[k]["t_us"]], shows) for k in chosen]
    contact_sheet(frames, out_path, dataset.metainfo["classes"], dataset.metainfo["palette"], min_score=min_score)


def _with_events(saved: dict, sequence: Sequence, index: int, shows: Representation) -> tuple[np.ndarray, Frame]:
    gt_bboxes, gt_labels = sequence.boxes_of(index)
    frame = Frame(
        recording=saved["recording"],
        t_us=saved["t_us"],
        gt_bboxes_xyxy=gt_bboxes,
        gt_labels=gt_labels,
        bboxes_xyxy=np.array(saved["bboxes"], np.float32).reshape(-1, 4),
        scores=np.array(saved["scores"], np.float32),
        labels=np.array(saved["labels"], np.int64),
    )
    return shows.off_on(sequence.read(index, index + 1)[0]), frame
