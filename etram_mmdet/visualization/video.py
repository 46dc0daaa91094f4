"""Films that every player shows: H.264 where there is an encoder, else what OpenCV brings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import atomic_write

FRAMES_PER_S = 10  # half the speed of RVT's windows: slow enough to see clips begin


def write_mp4(images: Iterable[np.ndarray], path: Path, fps: float = FRAMES_PER_S) -> str:
    """Write (H, W, 3) RGB images of one size, one per frame, to ``path``; returns the name of the codec.

    Odd sides grow by a pixel, since H.264 takes even ones; MPEG-4 wants a rate of few digits. Raises ``InputError``
    where ``path`` cannot be written, or where there is no image.
    """
    images = map(_even, images)
    first = next(images, None)
    if first is None:
        raise InputError(f"{path}: there is no frame to show; choose a longer part of the recording")
    codec, write = (
        ("H.264", _write_h264) if has_h264() else ("mp4v; pip install imageio-ffmpeg gives H.264", _write_mpeg4)
    )
    with atomic_write(path) as aside:
        write(chain([first], images), aside, (first.shape[1], first.shape[0]), round(fps, 2))
    return codec


def has_h264() -> bool:
    """Whether imageio-ffmpeg and its encoder are installed."""
    try:
        import imageio_ffmpeg

        return bool(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        return False


def _even(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    return cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)


def _write_h264(images: Iterator[np.ndarray], path: Path, size_wh: tuple[int, int], fps: float) -> None:
    import imageio_ffmpeg

    film = imageio_ffmpeg.write_frames(
        path, size_wh, fps=fps, codec="libx264", quality=8, macro_block_size=2, ffmpeg_log_level="error"
    )
    with closing(film):  # waits for the encoder
        film.send(None)
        for image in images:
            film.send(np.ascontiguousarray(image))


def _write_mpeg4(images: Iterator[np.ndarray], path: Path, size_wh: tuple[int, int], fps: float) -> None:
    film = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), fps, size_wh)
    if not film.isOpened():
        raise InputError(f"{path}: OpenCV cannot write MP4 here; pip install imageio-ffmpeg, or name a .png file")
    for image in images:
        film.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    film.release()
