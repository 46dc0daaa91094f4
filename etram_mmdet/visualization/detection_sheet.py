"""Contact sheet: many event frames with boxes in one picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from etram_mmdet.evaluation.predictions import load_predictions
from etram_mmdet.evaluation.results import FrameResult
from etram_mmdet.events.representations import Representation, build_representation
from etram_mmdet.utils.errors import InputError
from etram_mmdet.visualization.canvas import GAP_PX, INK, STRIP_PX, grid, legend, paper, write_png
from etram_mmdet.visualization.draw import (
    BACKGROUND,
    MISSED,
    NEGATIVE,
    POSITIVE,
    WHITE,
    Colour,
    draw_dashed_rectangle,
    draw_frame,
    draw_rectangle,
    draw_text,
)

if TYPE_CHECKING:
    from etram_mmdet.datasets.etram_dataset import ETraMDataset
    from etram_mmdet.datasets.recording_frames import RecordingFrames

WIDTH_PX = 1400


def contact_sheet(
    frames: Sequence[tuple[np.ndarray, FrameResult]],
    out_path: str | os.PathLike,
    classes: Sequence[str],
    palette: Sequence[Colour],
    columns: int = 3,
    min_score: float = 0.3,
) -> np.ndarray:
    """Draw frames side by side under a legend, with recording and time above each, and write a PNG.

    All frames are enlarged by one whole factor: the largest that keeps the sheet within `WIDTH_PX`,
    or 1 if it is wider anyway.

    Args:
        frames: pairs of events (2·D, H, W), as `draw_frame` takes them, and a frame.
        out_path: PNG file to write.
        classes: class names by label.
        palette: RGB colours of the classes by label.
        columns: frames per row. Default: 3.
        min_score: lowest score of a detection that is drawn. Default: 0.3.

    Returns:
        The sheet as RGB image (H, W, 3).

    Raises:
        InputError: there is no frame, or the file cannot be written.
    """
    if not frames:
        raise InputError(
            f"no frame to draw in {out_path}: expected at least one (off_on, frame) pair"
        )
    columns = min(columns, len(frames))
    widest_px = max(off_on.shape[2] for off_on, _ in frames)
    scale = max(1, ((WIDTH_PX - GAP_PX) // columns - GAP_PX) // widest_px)
    tiles = [
        _captioned(
            draw_frame(off_on, frame, classes, palette, scale, min_score),
            f"{frame.recording}   t = {frame.t_us / 1e6:.2f} s",
        )
        for off_on, frame in frames
    ]
    pictures = grid(tiles, columns)
    sheet = np.vstack([_legend(pictures.shape[1], min_score, palette[0]), pictures])
    write_png(sheet, Path(out_path))
    return sheet


def _captioned(image: np.ndarray, caption: str) -> np.ndarray:
    strip = paper(STRIP_PX, image.shape[1])
    draw_text(strip, caption, 1, STRIP_PX - 8, INK)
    return np.vstack([strip, image])


def _legend(width: int, min_score: float, colour: Colour) -> np.ndarray:
    return legend(_sheet_entries(min_score, colour), width)


def _sheet_entries(min_score: float, colour: Colour) -> Sequence[tuple[np.ndarray, str]]:
    events = np.full((16, 26, 3), BACKGROUND, np.uint8)
    truth = events.copy()
    missed = events.copy()
    detection = events.copy()
    draw_dashed_rectangle(truth, (2, 2, 23, 13), WHITE)
    draw_dashed_rectangle(missed, (2, 2, 23, 13), MISSED)
    draw_rectangle(detection, (3, 3, 22, 12), colour)
    return (
        (truth, "ground truth"),
        (missed, "missed ground truth"),
        (detection, f"detection in the colour of its class: score at least {min_score:.2f}"),
        (np.full_like(events, POSITIVE), "events: brighter"),
        (np.full_like(events, NEGATIVE), "events: darker"),
    )


def prediction_sheet(
    dataset: ETraMDataset,
    predictions: str | Path,
    out_path: str | Path,
    count: int = 12,
    min_score: float = 0.3,
) -> None:
    """Write a contact sheet of saved predictions, with frames that hold ground-truth boxes.

    Args:
        dataset: data set with the events and labels of the predicted frames.
        predictions: file that ``tools/test.py --out`` wrote.
        out_path: PNG file to write.
        count: number of frames, spread evenly over the predictions. Default: 12.
        min_score: lowest score of a detection that is drawn. Default: 0.3.

    Raises:
        InputError: the predictions cannot be read, no frame with boxes is among them, or the sheet
            cannot be written.
    """
    places = {
        (s.name, int(s.t_us[i])): (s, int(i))
        for s in dataset.sequences
        for i in s.labelled
        if len(s.boxes_of(i)[0])
    }
    shown = [frame for frame in load_predictions(Path(predictions)).frames if frame.key in places]
    chosen = np.linspace(0, len(shown) - 1, min(count, len(shown))).round().astype(int)
    shows = build_representation(dataset.representation, 2, 2)
    frames = [(_events(*places[shown[k].key], shows), shown[k]) for k in chosen]
    contact_sheet(
        frames,
        out_path,
        dataset.metainfo["classes"],
        dataset.metainfo["palette"],
        min_score=min_score,
    )


def _events(sequence: RecordingFrames, index: int, shows: Representation) -> np.ndarray:
    return shows.off_on(sequence.read(index, index + 1)[0])
