"""Background, grid of tiles, legend and PNG output, shared by all pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from etram_mmdet.utils.files import atomic_write
from etram_mmdet.visualization.draw import Colour, draw_text, text_width

GAP_PX = 10
STRIP_PX = 24  # height of a line of text
PAPER: Colour = (43, 46, 54)
INK: Colour = (222, 226, 232)


def paper(height: int, width: int) -> np.ndarray:
    """Create an empty RGB image (height, width, 3) in the background colour `PAPER`.

    Args:
        height: height in pixels.
        width: width in pixels.
    """
    return np.full((height, width, 3), PAPER, np.uint8)


def grid(tiles: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Arrange tiles row by row, in cells as large as the largest tile.

    There is a margin of `GAP_PX` between cells and on every side but the top.

    Args:
        tiles: RGB images (h, w, 3), which may differ in size.
        columns: tiles per row.

    Returns:
        RGB image (H, W, 3).
    """
    height, width = np.max([tile.shape[:2] for tile in tiles], axis=0) + GAP_PX
    rows = -(-len(tiles) // columns)
    image = paper(rows * height, GAP_PX + columns * width)
    for i, tile in enumerate(tiles):
        y, x = i // columns * height, GAP_PX + i % columns * width
        image[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    return image


def legend(entries: Sequence[tuple[np.ndarray, str]], width: int) -> np.ndarray:
    """Draw a legend, on as many lines as its width requires.

    Args:
        entries: pairs of a sample image (h, w, 3) and the text that explains it.
        width: width of the legend in pixels.

    Returns:
        RGB image (H, width, 3).
    """
    placed = []
    x = GAP_PX
    y = 10
    for sample, text in entries:
        entry_width = sample.shape[1] + 8 + text_width(text)
        if x > GAP_PX and x + entry_width > width:
            x, y = GAP_PX, y + STRIP_PX
        placed.append((sample, text, x, y))
        x += entry_width + 28
    image = paper(y + STRIP_PX, width)
    for sample, text, x, y in placed:
        image[y : y + sample.shape[0], x : x + sample.shape[1]] = sample
        draw_text(image, text, x + sample.shape[1] + 8, y + 12, INK)
    return image


def write_png(image: np.ndarray, path: Path) -> None:
    """Write an image as PNG.

    Args:
        image: RGB image (H, W, 3), uint8.
        path: file to write.

    Raises:
        InputError: the file cannot be written.
    """
    with atomic_write(path) as aside:
        aside.write_bytes(png_bytes(image))


def png_bytes(image: np.ndarray) -> bytes:
    """Encode an image as the content of a PNG file.

    Args:
        image: RGB image (H, W, 3), uint8.
    """
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
