"""Where detections in a recording go: a film, a file of predictions, or a table.

A file appears under its name when it is complete; a run that is stopped leaves none.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from etram_mmdet.utils.files import atomic_write

# What computes is imported where it is used: tools ask for the suffixes alone.
if TYPE_CHECKING:
    from etram_mmdet.deploy.inferencer import Inferencer, Window
    from etram_mmdet.evaluation.results import FrameResult
    from etram_mmdet.events.recording import Recording
    from etram_mmdet.events.representations import Representation

    # path, windows of the recording, what detects in them, the recording -> words for the user
    Sink = Callable[[Path, Iterable[Window], Inferencer, Recording], str]


def write_film(
    path: Path, windows: Iterable[Window], inferencer: Inferencer, recording: Recording
) -> str:
    """An MP4 with one image per window, at the speed of the recording; returns the codec."""
    from etram_mmdet.visualization.detection_film import detection_film
    from etram_mmdet.visualization.video import write_mp4

    representation = inferencer.representation(recording.height, recording.width)
    windows, fps = _with_rate(windows, inferencer.step_us)
    frames = (
        (representation.off_on(w.image), frame_of(w, recording, representation, inferencer.step_us))
        for w in windows
    )
    palette = inferencer.palette
    film = detection_film(frames, inferencer.classes, palette, with_truth=False)
    return f"codec: {write_mp4(film, path, fps)}"


def _with_rate(windows: Iterable[Window], step_us: int) -> tuple[Iterable[Window], float]:
    """The windows, and how many of them end in a second by the first two; by ``step_us`` where there is one only."""
    windows = iter(windows)
    first = list(islice(windows, 2))
    step_us = first[1].t_us - first[0].t_us if len(first) == 2 else step_us
    return chain(first, windows), 1e6 / step_us


def write_predictions(
    path: Path, windows: Iterable[Window], inferencer: Inferencer, recording: Recording
) -> str:
    """The JSON file that ``tools/test.py --out`` writes, without truth."""
    from etram_mmdet.evaluation.predictions import save_predictions

    representation = inferencer.representation(recording.height, recording.width)
    frames = [frame_of(w, recording, representation, inferencer.step_us) for w in windows]
    test_cfg = dict(operating_points=inferencer.operating_points.as_config())
    save_predictions(path, frames, inferencer.classes, test_cfg)
    return ""


def write_table(
    path: Path, windows: Iterable[Window], inferencer: Inferencer, recording: Recording
) -> str:
    """A CSV file with one row per box: microseconds, sides in sensor pixels, score, class name."""
    with atomic_write(path) as aside, aside.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["t_us", "x1", "y1", "x2", "y2", "score", "class"])
        for window in windows:
            boxes = window.boxes
            rows = zip(boxes.bboxes_xyxy, boxes.scores, boxes.names, strict=True)
            for box, score, name in rows:
                writer.writerow(
                    [window.t_us, *(f"{side:.2f}" for side in box), f"{score:.4f}", name]
                )
    return ""


# A new form of output is one function here.
SINKS: dict[str, Sink] = {".mp4": write_film, ".json": write_predictions, ".csv": write_table}


def frame_of(
    window: Window, recording: Recording, representation: Representation, step_us: int
) -> FrameResult:
    """The detections of a window as an evaluated frame without truth, in pixels of the network's ``representation``."""
    from etram_mmdet.evaluation.results import Boxes, FrameResult
    from etram_mmdet.events.preprocessing.frame_times import start_us
    from etram_mmdet.events.preprocessing.sources import name_of

    return FrameResult(
        recording=name_of(recording.path),
        t_us=window.t_us,
        truth=Boxes.empty(),
        found=window.found,
        scale=representation.scale,
        hw=tuple(representation.shape[1:]),
        start_us=start_us(recording.t_first_us),
        step_us=step_us,
    )
