"""Writers of detections in a recording: film (MP4), predictions (JSON, .npz) or table (CSV).

Files are written atomically (temporary file, then rename), so an interrupted run leaves none.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from etram_mmdet.utils.files import atomic_write

# Slow imports stand inside the functions, since tools import this module for its suffixes alone.
if TYPE_CHECKING:
    from etram_mmdet.deploy.inferencer import Inferencer, Window
    from etram_mmdet.evaluation.results import FrameResult
    from etram_mmdet.events.recording import Recording
    from etram_mmdet.events.representations import Representation

    # path, windows of the recording, detector, recording -> message for the user
    Sink = Callable[[Path, Iterable[Window], Inferencer, Recording], str]


def write_film(
    path: Path, windows: Iterable[Window], inferencer: Inferencer, recording: Recording
) -> str:
    """Write an MP4 film with one picture per window, at the speed of the recording.

    Args:
        path: file to write.
        windows: windows with detections.
        inferencer: detector that found them; gives the class names, colours and step.
        recording: recording from which the windows come.

    Returns:
        A sentence that names the codec.

    Raises:
        InputError: there is no window, or the file cannot be written.
    """
    from etram_mmdet.deploy.film import film_of
    from etram_mmdet.events.preprocessing.sources import name_of
    from etram_mmdet.visualization.video import write_mp4

    windows, fps = _with_rate(windows, inferencer.step_us)
    film = film_of(windows, inferencer, name_of(recording.path))
    return f"codec: {write_mp4(film, path, fps)}"


def _with_rate(windows: Iterable[Window], step_us: int) -> tuple[Iterable[Window], float]:
    """The windows, and how many of them there are per second.

    The rate is that of the first two windows, or of ``step_us`` if there are fewer than two.
    """
    windows = iter(windows)
    first = list(islice(windows, 2))
    step_us = first[1].t_us - first[0].t_us if len(first) == 2 else step_us
    return chain(first, windows), 1e6 / step_us


def write_predictions(
    path: Path, windows: Iterable[Window], inferencer: Inferencer, recording: Recording
) -> str:
    """Write the detections in the format of ``tools/test.py --out``, without ground truth.

    Args:
        path: file to write, ``.json`` or ``.npz``.
        windows: windows with detections.
        inferencer: detector that found them; its operating points go into the file.
        recording: recording from which the windows come.

    Returns:
        An empty string.

    Raises:
        InputError: the file cannot be written.
    """
    from etram_mmdet.evaluation.predictions import save_predictions

    representation = inferencer.representation(recording.height, recording.width)
    frames = [frame_of(w, recording, representation, inferencer.step_us) for w in windows]
    test_cfg = dict(operating_points=inferencer.operating_points.as_config())
    save_predictions(path, frames, inferencer.classes, test_cfg)
    return ""


def write_table(
    path: Path, windows: Iterable[Window], inferencer: Inferencer, recording: Recording
) -> str:
    """Write a CSV file with one row per box: time in microseconds, corners, score, class name.

    Args:
        path: file to write.
        windows: windows with detections; corners x1 y1 x2 y2 are in sensor pixels.
        inferencer: not used.
        recording: not used.

    Returns:
        An empty string.

    Raises:
        InputError: the file cannot be written.
    """
    from etram_mmdet.deploy.box_table import COLUMNS, rows_of

    with atomic_write(path) as aside, aside.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for window in windows:
            writer.writerows(rows_of(window))
    return ""


# To add an output format, write a function like the ones above and register its suffix here.
SINKS: dict[str, Sink] = {
    ".mp4": write_film,
    ".json": write_predictions,
    ".csv": write_table,
    ".npz": write_predictions,
}


def frame_of(
    window: Window, recording: Recording, representation: Representation, step_us: int
) -> FrameResult:
    """Convert a window to a frame as evaluations use it, without ground truth.

    Args:
        window: window with detections.
        recording: recording from which it comes.
        representation: representation of the network, which gives the size of its images.
        step_us: microseconds from one window to the next.

    Returns:
        Frame with unclipped detections in network pixels.
    """
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
