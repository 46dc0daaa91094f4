"""Whether exported graphs give the boxes and the AP of their checkpoint.

    python tests/proofs/exported_agreement.py CHECKPOINT RAW DATA GRAPH.onnx ... [--openvino]

RAW is a folder of recordings with labels (RAW/val), DATA its preprocessed folder. Compares 200
windows of the first recording of the validation split, with the state carried on each side, and
the AP of the whole split under the protocol `coco`. Two minutes for the demo on two cores.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from etram_mmdet.apis import EventInferencer, init_detector
from etram_mmdet.apis.sinks import frame_of
from etram_mmdet.datasets.etram_dataset import ETraMDataset
from etram_mmdet.deploy.engines import ENGINES, GraphEngine
from etram_mmdet.deploy.export.step import Step
from etram_mmdet.deploy.inferencer import Inferencer, Window
from etram_mmdet.evaluation.coco import coco_metrics
from etram_mmdet.evaluation.ground_truth import truth_of
from etram_mmdet.evaluation.results import FrameResult
from etram_mmdet.events.formats import open_recording
from etram_mmdet.utils.text import table

WINDOWS = 200
NEAR_PX = 0.01
NEAR_SCORE = 1e-5


def followed(inferencer: Inferencer, path: Path, data: Path) -> Iterator[tuple[Window, tuple]]:
    """Windows of a recording that evaluation looks at, with the shape of its sensor."""
    with open_recording(path) as recording:
        inferencer.fit_sensor(recording)
        hw = recording.height, recording.width
        for window in inferencer.windows(recording, labels=data / "val" / name_of(path)):
            yield frame_of(window, recording, inferencer.representation(*hw), inferencer.step_us)


def name_of(path: Path) -> str:
    return path.stem.removesuffix("_td")


def average_precision(inferencer: Inferencer, recordings: list[Path], data: Path) -> float:
    truth = truth_of(ETraMDataset(data, "val", [], test_mode=True))
    found: list[FrameResult] = []
    for path in recordings:
        for frame in followed(inferencer, path, data):
            labelled = truth.get((frame.recording, frame.t_us))
            if labelled is not None:
                found.append(labelled._replace(found=frame.found.clipped(labelled.hw)))
    assert len(found) == len(truth), (len(found), len(truth))
    return coco_metrics(found, inferencer.classes)["AP"]


def before_nms(engine: GraphEngine, step: Step, frames: list[np.ndarray]) -> list[float]:
    """Largest differences of maps of the state, boxes in pixels, objectness and class scores."""
    rows = [t for state in step.first_states(torch.from_numpy(frames[0][None])) for t in state]
    states = engine.blank(1)
    worst = np.zeros(4)
    for frame in frames:
        with torch.no_grad():
            expected = step(torch.from_numpy(frame[None]), *rows)
        outputs = engine.network(frame[None], states)
        rows = expected[3:]
        states = tuple(outputs[3:])
        gaps = [np.abs(a.numpy() - b).max() for a, b in zip(expected, outputs, strict=True)]
        worst = np.maximum(worst, [max(gaps[3:], default=0), *gaps[:3]])
    return worst.tolist()


def share_alike(ours: list[Window], expected: list[Window]) -> float:
    """Share of the boxes after NMS that the other side has, too, whatever their order."""
    alike = total = 0
    for one, other in zip(ours, expected, strict=True):
        a, b = one.seen, other.seen
        total += max(len(a), len(b))
        near = np.abs(a.bboxes_xyxy[:, None] - b.bboxes_xyxy).max(2) <= NEAR_PX
        near &= np.abs(a.scores[:, None] - b.scores) <= NEAR_SCORE
        near &= a.labels[:, None] == b.labels
        alike += min(near.any(1).sum(), near.any(0).sum())
    return alike / total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("raw", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("graphs", nargs="+", type=Path)
    parser.add_argument("--openvino", action="store_true", help="also by OpenVINO")
    parser.add_argument("--windows", type=int, default=WINDOWS, help="to compare, at most")
    args = parser.parse_args()
    detector = init_detector(args.checkpoint, device="cpu")
    recordings = sorted((args.raw / "val").glob("*_td.h5"))
    torch_side = EventInferencer(detector, score_thr=0.0)
    start_stop = dict(start_us=0, stop_us=None)
    expected = list(islice(torch_side.windows(recordings[0], **start_stop), args.windows))
    frames = [window.image for window in expected]
    ap = average_precision(EventInferencer(detector, score_thr=0.0), recordings, args.data)
    rows = [
        ["graph", "engine", "windows", "state", "px", "objectness", "class", "same boxes", "AP"]
    ]
    rows.append([args.checkpoint, "torch", len(frames), "", "", "", "", "", f"{ap:.5f}"])
    for path in args.graphs:
        for name in ENGINES if args.openvino else ["onnx"]:
            inferencer = EventInferencer(path, score_thr=0.0, backend=name)
            step = Step(detector, torch.float32).eval()
            gaps = before_nms(inferencer.engine, step, frames)
            ours = list(islice(inferencer.windows(recordings[0], **start_stop), args.windows))
            found = average_precision(inferencer, recordings, args.data)
            rows.append(
                [
                    path.name,
                    name,
                    len(frames),
                    *(f"{gap:.1e}" for gap in gaps),
                    f"{share_alike(ours, expected):.5f}",
                    f"{found:.5f} ({found - ap:+.5f})",
                ]
            )
    print(table(rows))


if __name__ == "__main__":
    main()
