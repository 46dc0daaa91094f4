"""Many event frames in one picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from etram_mmdet.events.errors import InputError

from .draw import (
    BACKGROUND,
    NEGATIVE,
    POSITIVE,
    WHITE,
    Colour,
    draw_dashed_rectangle,
    draw_frame,
    draw_rectangle,
    draw_text,
    text_width,
)

if TYPE_CHECKING:
    from etram_mmdet.evaluation import Frame

WIDTH_PX = 1400
GAP_PX = 10
STRIP_PX = 24  # height of a caption
PAPER: Colour = (43, 46, 54)
INK: Colour = (222, 226, 232)


def contact_sheet(
    frames: Sequence[tuple[np.ndarray, Frame]],
    out_path: str | os.PathLike,
    classes: Sequence[str],
    palette: Sequence[Colour],
    columns: int = 3,
    min_score: float = 0.3,
) -> np.ndarray:
    """Write a PNG of frames side by side under a legend, each captioned with recording and time; return its image.

    ``frames`` holds ((2·D, H, W) histogram, frame) pairs. All are enlarged by one whole factor, the largest that keeps
    the sheet within `WIDTH_PX` (1 if it is wider anyway). ``min_score`` is `draw_frame`'s.
    """
    if not frames:
        raise InputError(f"no frame to draw in {out_path}: expected at least one (histogram, frame) pair")
    columns = min(columns, len(frames))
    widest_px = max(histogram.shape[2] for histogram, _ in frames)
    scale = max(1, ((WIDTH_PX - GAP_PX) // columns - GAP_PX) // widest_px)
    tiles = [
        _captioned(
            draw_frame(histogram, frame, classes, palette, scale, min_score),
            f"{frame.recording}   t = {frame.t_us / 1e6:.2f} s",
        )
        for histogram, frame in frames
    ]
    grid = _grid(tiles, columns)
    sheet = np.vstack([_legend(grid.shape[1], min_score, palette[0]), grid])
    _write_png(sheet, Path(out_path))
    return sheet


def _captioned(image: np.ndarray, caption: str) -> np.ndarray:
    strip = _paper(STRIP_PX, image.shape[1])
    draw_text(strip, caption, 1, STRIP_PX - 8, INK)
    return np.vstack([strip, image])


def _grid(tiles: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Tiles row by row in cells as large as the largest tile, with a margin on every side but the top."""
    height, width = np.max([tile.shape[:2] for tile in tiles], axis=0) + GAP_PX
    rows = -(-len(tiles) // columns)
    grid = _paper(rows * height, GAP_PX + columns * width)
    for i, tile in enumerate(tiles):
        y, x = i // columns * height, GAP_PX + i % columns * width
        grid[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    return grid


def _legend(width: int, min_score: float, colour: Colour) -> np.ndarray:
    """What lines and colours mean, on as many lines as the sheet's width needs."""
    placed, x, y = [], GAP_PX, 10
    for sample, text in _legend_entries(min_score, colour):
        entry_width = sample.shape[1] + 8 + text_width(text)
        if x > GAP_PX and x + entry_width > width:
            x, y = GAP_PX, y + STRIP_PX
        placed.append((sample, text, x, y))
        x += entry_width + 28
    legend = _paper(y + STRIP_PX, width)
    for sample, text, x, y in placed:
        legend[y : y + sample.shape[0], x : x + sample.shape[1]] = sample
        draw_text(legend, text, x + sample.shape[1] + 8, y + 12, INK)
    return legend


def _legend_entries(min_score: float, colour: Colour) -> Sequence[tuple[np.ndarray, str]]:
    events = np.full((16, 26, 3), BACKGROUND, np.uint8)
    truth, detection = events.copy(), events.copy()
    draw_dashed_rectangle(truth, (2, 2, 23, 13), WHITE)
    draw_rectangle(detection, (3, 3, 22, 12), colour)
    return (
        (truth, "ground truth"),
        (detection, f"detection in its class's colour, score from {min_score:.2f}"),
        (np.full_like(events, POSITIVE), "events: brighter"),
        (np.full_like(events, NEGATIVE), "events: darker"),
    )


def _paper(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), PAPER, np.uint8)


def _write_png(image: np.ndarray, path: Path) -> None:
    """Written aside and moved into place, so that nobody meets half a picture."""
    encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    aside.write_bytes(encoded.tobytes())
    os.replace(aside, path)
