"""Frames with boxes, one image after another, for a film."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .draw import BACKGROUND, POSITIVE, WHITE, Colour, draw_dashed_rectangle, draw_frame, draw_rectangle, draw_text
from .paper import GAP_PX, INK, STRIP_PX, legend, paper

if TYPE_CHECKING:
    from etram_mmdet.evaluation import Frame

WANTED_WIDTH_PX = 960


def detection_film(
    frames: Iterable[tuple[np.ndarray, Frame]],
    classes: Sequence[str],
    palette: Sequence[Colour],
    min_score: float = 0.0,
    with_truth: bool = True,
) -> Iterator[np.ndarray]:
    """One (H, W, 3) image per (off_on, frame), as `draw_frame` takes them, under recording and time, over a legend.

    All are enlarged by the whole factor that brings them closest to `WANTED_WIDTH_PX`.
    """
    entries = _entries(classes, palette, with_truth)
    foot = paper(0, 0)
    for off_on, frame in frames:
        scale = max(1, round(WANTED_WIDTH_PX / off_on.shape[2]))
        image = draw_frame(off_on, frame, classes, palette, scale, min_score)
        head = paper(STRIP_PX, image.shape[1])
        draw_text(head, f"{frame.recording}   t = {frame.t_us / 1e6:.2f} s", GAP_PX, STRIP_PX - 8, INK)
        if foot.shape[1] != image.shape[1]:
            foot = legend(entries, image.shape[1])
        yield np.vstack([head, image, foot])


def _entries(classes: Sequence[str], palette: Sequence[Colour], with_truth: bool) -> list[tuple[np.ndarray, str]]:
    empty = np.full((16, 26, 3), BACKGROUND, np.uint8)
    truth = empty.copy()
    draw_dashed_rectangle(truth, (2, 2, 23, 13), WHITE)
    entries = [(truth, "ground truth")] if with_truth else []
    for name, colour in zip(classes, palette, strict=True):
        box = empty.copy()
        draw_rectangle(box, (3, 3, 22, 12), colour)
        entries.append((box, name))
    return [*entries, (np.full_like(empty, POSITIVE), "events: brighter")]
