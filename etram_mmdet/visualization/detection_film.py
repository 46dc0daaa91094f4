"""Pictures and films of event frames with ground truth and detections."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from etram_mmdet.evaluation.results import FrameResult
from etram_mmdet.events.representations import build_representation
from etram_mmdet.visualization.canvas import GAP_PX, INK, STRIP_PX, legend, paper
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
    is_picture,
)
from etram_mmdet.visualization.video import FRAMES_PER_S, write_mp4

if TYPE_CHECKING:
    from etram_mmdet.datasets.etram_dataset import ETraMDataset

WANTED_WIDTH_PX = 960


def write_film(
    path: Path,
    dataset: ETraMDataset,
    frames: Sequence[FrameResult],
    classes: Sequence[str],
    palette: Sequence[Colour],
    min_score: float,
) -> str:
    """Write a film of detections in one recording, at the speed of the recording.

    Args:
        path: MP4 file to write.
        dataset: data set with the events of the recording.
        frames: frames of one recording, in order of time.
        classes: class names by label.
        palette: RGB colours of the classes by label.
        min_score: lowest score of a detection that is drawn.

    Returns:
        Name of the codec.

    Raises:
        InputError: the file cannot be written.
    """
    film = detection_film(with_events(dataset, frames), classes, palette, min_score)
    steps_us = np.diff([frame.t_us for frame in frames])
    return write_mp4(
        film, path, 1e6 / float(np.median(steps_us)) if len(steps_us) else FRAMES_PER_S
    )


def readable_score(frames: Sequence[FrameResult], score: float) -> float:
    """Pick the score threshold of a film so that its boxes do not hide the picture.

    A weak detector has its largest F1 at a score so low that boxes cover everything.

    Args:
        frames: frames of the film.
        score: wanted threshold, such as that of the largest F1.

    Returns:
        ``score``, or a higher threshold if more detections would pass than twice the number of
        ground-truth boxes or the number of frames, whichever is larger.
    """
    most = max(2 * sum(len(frame.truth) for frame in frames), len(frames))
    scores = np.sort(np.concatenate([frame.found.scores for frame in frames]))[::-1]
    return max(score, float(scores[most - 1])) if len(scores) > most else score


def with_events(
    dataset: ETraMDataset, frames: Sequence[FrameResult]
) -> Iterator[tuple[np.ndarray, FrameResult]]:
    """Read the events of frames from a data set.

    Args:
        dataset: data set that holds the recording.
        frames: frames of one recording.

    Returns:
        Pairs of off and on events (2, H, W) and the frame.
    """
    sequence = next(s for s in dataset.sequences if s.name == frames[0].recording)
    shows = build_representation(dataset.representation, 2, 2)
    indices = np.searchsorted(sequence.t_us, [frame.t_us for frame in frames]).tolist()
    for i, frame in zip(indices, frames, strict=True):
        yield shows.off_on(sequence.read(i, i + 1)[0]), frame


def detection_film(
    frames: Iterable[tuple[np.ndarray, FrameResult]],
    classes: Sequence[str],
    palette: Sequence[Colour],
    min_score: float = 0.0,
    with_truth: bool = True,
) -> Iterator[np.ndarray]:
    """Draw frames one by one, each as `detection_picture` does.

    Args:
        frames: pairs of off and on events (2, H, W) and a frame.
        classes: class names by label.
        palette: RGB colours of the classes by label.
        min_score: lowest score of a detection that is drawn. Default: 0, which draws all.
        with_truth: whether the legend names ground truth and missed boxes. Default: true.

    Returns:
        RGB images (H, W, 3).
    """
    for off_on, frame in frames:
        yield detection_picture(off_on, frame, classes, palette, min_score, with_truth)


def detection_picture(
    off_on: np.ndarray,
    frame: FrameResult,
    classes: Sequence[str],
    palette: Sequence[Colour],
    min_score: float,
    with_truth: bool,
    mark_missed: bool = True,
) -> np.ndarray:
    """Draw one frame with recording and time above it and a legend below.

    It is enlarged by the whole factor that brings it closest to `WANTED_WIDTH_PX`.

    Args:
        off_on: events or an RGB picture, as `draw_frame` takes them.
        frame: ground truth and detections, recording and time. A negative ``t_us`` is not shown.
        classes: class names by label.
        palette: RGB colours of the classes by label.
        min_score: lowest score of a detection that is drawn.
        with_truth: whether the legend names ground truth.
        mark_missed: whether missed ground truth is marked, and named in the legend, see
            `draw_frame`. Default: true.

    Returns:
        RGB image (H, W, 3).
    """
    width = off_on.shape[1 if is_picture(off_on) else 2]
    scale = max(1, round(WANTED_WIDTH_PX / width))
    image = draw_frame(off_on, frame, classes, palette, scale, min_score, mark_missed)
    head = paper(STRIP_PX, image.shape[1])
    time = f"   t = {frame.t_us / 1e6:.2f} s" if frame.t_us >= 0 else ""
    draw_text(head, f"{frame.recording}{time}", GAP_PX, STRIP_PX - 8, INK)
    entries = _entries(classes, palette, with_truth, with_truth and mark_missed, min_score)
    return np.vstack([head, image, legend(entries, image.shape[1])])


def _entries(
    classes: Sequence[str],
    palette: Sequence[Colour],
    with_truth: bool,
    with_missed: bool,
    min_score: float,
) -> list[tuple[np.ndarray, str]]:
    empty = np.full((16, 26, 3), BACKGROUND, np.uint8)
    truth = empty.copy()
    draw_dashed_rectangle(truth, (2, 2, 23, 13), WHITE)
    missed = empty.copy()
    draw_dashed_rectangle(missed, (2, 2, 23, 13), MISSED)
    entries = [(truth, "ground truth")] if with_truth else []
    entries += [(missed, "missed")] if with_missed else []
    for name, colour in zip(classes, palette, strict=True):
        box = empty.copy()
        draw_rectangle(box, (3, 3, 22, 12), colour)
        entries.append((box, name))
    if min_score > 0:
        entries.append((empty[:, :0], f"detections: score at least {min_score:.2f}"))
    brighter = np.full_like(empty, POSITIVE)
    darker = np.full_like(empty, NEGATIVE)
    return [*entries, (brighter, "events: brighter"), (darker, "events: darker")]
