"""Export of event pictures at chosen times, to be labelled in another program."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from etram_mmdet.events.label_formats.clock import MAP_NAME, write_frame_times
from etram_mmdet.events.recording import Events, Recording
from etram_mmdet.utils.errors import InputError
from etram_mmdet.visualization.canvas import write_png
from etram_mmdet.visualization.draw import events_to_rgb
from etram_mmdet.visualization.video import write_mp4

MAX_FRAMES = 1_000_000


def regular_times(
    recording: Recording, every_us: float, start_us: int | None = None, stop_us: int | None = None
) -> np.ndarray:
    """Regular end times of windows in a recording.

    Args:
        recording: an open recording.
        every_us: microseconds from one window to the next, at least 1. It may be a fraction: only
            the times are rounded, so the rounding does not add up.
        start_us: time in microseconds; the first window ends ``every_us`` later. Default: the first
            event.
        stop_us: time in microseconds; no window ends later. Default: the last event.

    Returns:
        (F,) int64 microseconds.

    Raises:
        InputError: there would be no frame, or more than `MAX_FRAMES`.
    """
    first = recording.t_first_us if start_us is None else start_us
    last = recording.t_last_us if stop_us is None else stop_us
    num_frames = int((last - first) / every_us) if every_us >= 1 else MAX_FRAMES + 1
    if not 1 <= num_frames <= MAX_FRAMES:
        raise InputError(
            f"{recording.path}: a frame every {every_us:g} us from {first} to {last} us would make "
            f"{num_frames:,} frames, expected 1 to {MAX_FRAMES:,}; choose another --fps, --start-s "
            "or --stop-s"
        )
    return first + np.rint(every_us * np.arange(1, num_frames + 1)).astype(np.int64)


def event_frames(
    recording: Recording, times_us: np.ndarray, window_us: int
) -> Iterator[np.ndarray]:
    """Draw the events of one window before each time.

    Args:
        recording: an open recording.
        times_us: (F,) end times of the windows in microseconds.
        window_us: length of a window in microseconds.

    Returns:
        F RGB pictures (H, W, 3), uint8.
    """
    for end_us in np.asarray(times_us).tolist():
        events = recording.read(end_us - window_us, end_us)
        yield events_to_rgb(counts_of(events, recording.width, recording.height))


def counts_of(events: Events, width: int, height: int) -> np.ndarray:
    """Count the events of each pixel: (2, H, W) int64, off events first.

    Args:
        events: events inside the sensor.
        width: width of the sensor in pixels.
        height: height of the sensor in pixels.
    """
    place = (
        events.p.astype(np.int64) * (width * height) + events.y.astype(np.int64) * width + events.x
    )
    return np.bincount(place, minlength=2 * width * height).reshape(2, height, width)


def export_frames(
    recording: Recording,
    times_us: np.ndarray,
    window_us: int,
    out: Path,
    fps: float,
    progress: Callable[[Iterable], Iterable] = iter,
) -> list[Path]:
    """Write pictures, and a CSV file with the time in microseconds of each picture's number.

    Args:
        recording: an open recording.
        times_us: (F,) end times of the windows in microseconds.
        window_us: length of a window in microseconds.
        out: film (a name that ends in ``.mp4``), or folder for files such as ``frame_000012.png``.
        fps: frames per second of the film; it changes the film's speed only.
        progress: function that wraps the pictures in a progress bar. Default: none.

    Returns:
        The film or folder, and the CSV file, in which frame 0 is the first picture.

    Raises:
        InputError: a file cannot be written.
    """
    frames = progress(event_frames(recording, times_us, window_us))
    if out.suffix.lower() == ".mp4":
        write_mp4(frames, out, fps)
        times_file = out.with_name(f"{out.stem}_{MAP_NAME}")
    else:
        for number, image in enumerate(frames):
            write_png(image, out / f"frame_{number:06d}.png")
        times_file = out / MAP_NAME
    write_frame_times(times_file, np.column_stack([np.arange(len(times_us)), times_us]))
    return [out, times_file]
