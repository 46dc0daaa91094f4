"""MP4 films: H.264, which every player shows, or else the MPEG-4 encoder of OpenCV."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import atomic_write

# no messages from FFmpeg; `_check_whole` reports errors in a sentence
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
_PROBE_BYTES = 2**20  # more than an encoder writes at once
FRAMES_PER_S = 10  # half the speed of RVT's windows: slow enough to see clips begin


def write_mp4(images: Iterable[np.ndarray], path: Path, fps: float = FRAMES_PER_S) -> str:
    """Write images as the frames of an MP4 film.

    An odd width or height grows by one pixel, since H.264 needs even ones.

    Args:
        images: RGB images (H, W, 3), uint8, all of one size.
        path: file to write.
        fps: frames per second, rounded to two digits, which MPEG-4 needs. Default: `FRAMES_PER_S`.

    Returns:
        Name of the codec.

    Raises:
        InputError: there is no image, or the file cannot be written.
    """
    images = map(_even, images)
    first = next(images, None)
    if first is None:
        raise InputError(
            f"{path}: the film would have no frame; choose a longer part of the recording"
        )
    codec, write = (
        ("H.264", _write_h264)
        if has_h264()
        else ("mp4v; for H.264, which every player shows: pip install imageio-ffmpeg", _write_mpeg4)
    )
    with atomic_write(path) as aside, _silent():
        number = write(
            chain([first], images), aside, (first.shape[1], first.shape[0]), round(fps, 2)
        )
        _check_whole(aside, path, number)
    return codec


@contextmanager
def _silent() -> Iterator[None]:
    """Switch off OpenCV's log, which has a line for every image that cannot be written."""
    level = cv2.setLogLevel(0)
    try:
        yield
    finally:
        cv2.setLogLevel(level)


def _check_whole(film: Path, path: Path, number: int) -> None:
    """Raise an error if images are missing in ``film``: no writer reports a full disk.

    ``path`` is the name that the film will get, ``number`` the number of its images.
    """
    reader = cv2.VideoCapture(str(film))
    found = int(reader.get(cv2.CAP_PROP_FRAME_COUNT)) if reader.isOpened() else 0
    reader.release()
    if found == number > 0:
        return
    with film.open("ab") as file:  # raises the system's error if the disk is still full
        file.write(bytes(_PROBE_BYTES))
        os.fsync(file.fileno())
    raise InputError(
        f"{path}: cannot be written: only {found} of {number} images of the film are in it; free "
        "space on the disk, or install another encoder: pip install imageio-ffmpeg"
    )


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


def _write_h264(
    images: Iterator[np.ndarray], path: Path, size_wh: tuple[int, int], fps: float
) -> int:
    import imageio_ffmpeg

    film = imageio_ffmpeg.write_frames(
        path,
        size_wh,
        fps=fps,
        codec="libx264",
        quality=8,
        macro_block_size=2,
        ffmpeg_log_level="quiet",
    )
    number = 0
    with closing(film):  # waits for the encoder
        film.send(None)
        for image in images:
            number += 1
            try:
                film.send(np.ascontiguousarray(image))
            except OSError:  # the encoder has ended
                break
    return number


def _write_mpeg4(
    images: Iterator[np.ndarray], path: Path, size_wh: tuple[int, int], fps: float
) -> int:
    film = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), fps, size_wh)
    number = 0
    for image in images if film.isOpened() else ():
        number += 1
        film.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    film.release()
    return number
