"""Batches of clips in one picture, or one picture per time step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from .clip_tile import SeenFrame, clip_tile, legend_entries
from .draw import Colour, draw_text
from .paper import GAP_PX, INK, STRIP_PX, grid, legend, paper

Batch = Sequence[Sequence[SeenFrame]]  # one clip per lane
CLIP_GAP_PX = 24


def clip_sheet(batches: Iterable[Batch], classes: Sequence[str], palette: Sequence[Colour]) -> np.ndarray:
    """One row per lane in which time runs to the right, one column of clips per batch; (H, W, 3) under a legend."""
    columns = [_batch_column(i, batch, classes, palette) for i, batch in enumerate(batches)]
    sheet = np.hstack(columns)
    return np.vstack([legend(legend_entries(palette), sheet.shape[1]), sheet])


def clip_film(batches: Iterable[Batch], classes: Sequence[str], palette: Sequence[Colour]) -> Iterator[np.ndarray]:
    """One (H, W, 3) image per time step, all lanes side by side, over a legend."""
    for i, batch in enumerate(batches):
        steps = list(zip(*batch, strict=True))
        for t, lanes in enumerate(steps):
            tiles = [clip_tile(frame, classes, palette) for frame in lanes]
            image = grid(tiles, math.ceil(math.sqrt(len(tiles))))
            head = _headline(f"batch {i}, frame {t + 1} of {len(steps)}", image.shape[1])
            yield np.vstack([head, image, legend(legend_entries(palette), image.shape[1])])


def _batch_column(number: int, batch: Batch, classes: Sequence[str], palette: Sequence[Colour]) -> np.ndarray:
    rows = [grid([clip_tile(frame, classes, palette) for frame in clip], len(clip)) for clip in batch]
    clips = np.vstack([_headline(f"batch {number}", rows[0].shape[1]), *rows])
    return np.hstack([clips, paper(len(clips), CLIP_GAP_PX)])


def _headline(text: str, width: int) -> np.ndarray:
    line = paper(STRIP_PX, width)
    draw_text(line, text, GAP_PX, STRIP_PX - 8, INK)
    return line
