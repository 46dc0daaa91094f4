"""Pictures of training batches: all clips in one picture, or one picture per time step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from etram_mmdet.evaluation.results import Boxes
from etram_mmdet.visualization.canvas import GAP_PX, INK, PAPER, STRIP_PX, grid, legend, paper
from etram_mmdet.visualization.draw import (
    BACKGROUND,
    NEGATIVE,
    POSITIVE,
    Colour,
    draw_boxes,
    draw_text,
    events_to_rgb,
    text_width,
)

WANTED_WIDTH_PX = 360
BORDER_PX = 4
CAPTION_PX = 40  # two lines
# borders of frames that begin a clip; no class has one of these colours
STREAM_STARTS: Colour = (0, 230, 118)
STREAM_GOES_ON: Colour = (240, 240, 240)
ON_ITS_OWN: Colour = (255, 0, 255)
HATCH: Colour = (74, 78, 90)
DIM: Colour = (140, 145, 155)
CLIP_GAP_PX = 24


class SeenFrame(NamedTuple):
    """A frame of a batch after augmentation and padding.

    Attributes:
        off_on: (2, H, W) off and on events, see `Representation.off_on`.
        boxes: labels, in pixels of the padded frame.
        hw: height and width without the padding, which lies right and below.
        recording: name of the recording.
        t_us: end of the window, in microseconds of the recording's clock.
        lane: number of the lane (row of the batch).
        starts_clip: whether the frame is the first one of its clip.
        is_first: whether the recurrent state is zero before the frame: it begins a stream or a
            random clip.
        is_labelled: whether the frame has labels, which may be zero boxes.
        is_padding: whether there is no frame, since the lane has no more data.
        streamed: whether the clip continues a stream; else it is a random clip.
    """

    off_on: np.ndarray
    boxes: Boxes
    hw: tuple[int, int]
    recording: str
    t_us: int
    lane: int
    starts_clip: bool
    is_first: bool
    is_labelled: bool
    is_padding: bool
    streamed: bool


Batch = Sequence[Sequence[SeenFrame]]  # one clip per lane


def clip_sheet(
    batches: Iterable[Batch], classes: Sequence[str], palette: Sequence[Colour]
) -> np.ndarray:
    """Draw batches in one picture: one row per lane, time to the right, and batches side by side.

    Args:
        batches: batches in order.
        classes: class names by label.
        palette: RGB colours of the classes by label.

    Returns:
        RGB image (H, W, 3) with a legend at its top.
    """
    columns = [_batch_column(i, batch, classes, palette) for i, batch in enumerate(batches)]
    sheet = np.hstack(columns)
    return np.vstack([legend(legend_entries(palette), sheet.shape[1]), sheet])


def clip_film(
    batches: Iterable[Batch], classes: Sequence[str], palette: Sequence[Colour]
) -> Iterator[np.ndarray]:
    """Draw batches as a film: one picture per time step, with all lanes side by side.

    Args:
        batches: batches in order.
        classes: class names by label.
        palette: RGB colours of the classes by label.

    Returns:
        RGB images (H, W, 3) with a legend at the bottom.
    """
    for i, batch in enumerate(batches):
        steps = list(zip(*batch, strict=True))
        for t, lanes in enumerate(steps):
            tiles = [clip_tile(frame, classes, palette) for frame in lanes]
            image = grid(tiles, math.ceil(math.sqrt(len(tiles))))
            head = _headline(f"batch {i}, frame {t + 1} of {len(steps)}", image.shape[1])
            yield np.vstack([head, image, legend(legend_entries(palette), image.shape[1])])


def _batch_column(
    number: int, batch: Batch, classes: Sequence[str], palette: Sequence[Colour]
) -> np.ndarray:
    rows = [
        grid([clip_tile(frame, classes, palette) for frame in clip], len(clip)) for clip in batch
    ]
    clips = np.vstack([_headline(f"batch {number}", rows[0].shape[1]), *rows])
    return np.hstack([clips, paper(len(clips), CLIP_GAP_PX)])


def _headline(text: str, width: int) -> np.ndarray:
    line = paper(STRIP_PX, width)
    draw_text(line, text, GAP_PX, STRIP_PX - 8, INK)
    return line


def enlargement(width: int) -> int:
    """The whole factor that brings frames closest to `WANTED_WIDTH_PX`, at least 1.

    Args:
        width: width of the frames in pixels.
    """
    return max(1, round(WANTED_WIDTH_PX / width))


def clip_tile(frame: SeenFrame, classes: Sequence[str], palette: Sequence[Colour]) -> np.ndarray:
    """Draw one frame of a batch, enlarged, with a caption of two lines above it.

    The border has the colour of `clip_start` if the frame begins a clip.

    Args:
        frame: frame to draw.
        classes: class names by label.
        palette: RGB colours of the classes by label.

    Returns:
        RGB image (H, W, 3).
    """
    scale = enlargement(frame.off_on.shape[2])
    image = events_to_rgb(frame.off_on).repeat(scale, 0).repeat(scale, 1)
    height, width = (scale * side for side in frame.hw)
    hatch(image[height:])
    hatch(image[:height, width:])
    if frame.is_padding:
        hatch(image)
    image = draw_boxes(image, frame.boxes, classes, palette, scale=scale)
    mark = clip_start(frame)
    bordered = np.full(
        [side + 2 * BORDER_PX for side in image.shape[:2]] + [3], mark or PAPER, np.uint8
    )
    bordered[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX] = image
    return np.vstack(
        [
            _caption_strip(frame, bordered.shape[1], mark or (INK if frame.is_labelled else DIM)),
            bordered,
        ]
    )


def clip_start(frame: SeenFrame) -> Colour | None:
    """Border colour of a frame that begins a clip; ``None`` for other frames and for padding.

    Args:
        frame: frame of a batch.
    """
    if not frame.starts_clip or frame.is_padding:
        return None
    if not frame.streamed:
        return ON_ITS_OWN
    return STREAM_STARTS if frame.is_first else STREAM_GOES_ON


def caption(frame: SeenFrame, width_px: int) -> str:
    """First line of a caption: lane, recording and seconds.

    If the line would be too wide, the beginning of the recording's name is replaced by two dots.

    Args:
        frame: frame of a batch.
        width_px: width that is available, in pixels.
    """
    before = f"lane {frame.lane}   "
    if frame.is_padding:
        return before
    name = frame.recording
    after = f"   {frame.t_us / 1e6:.2f} s"
    if text_width(before + name + after) <= width_px:
        return before + name + after
    while name and text_width(f"{before}..{name}{after}") > width_px:
        name = name[1:]
    return f"{before}..{name}{after}"


def what_it_teaches(frame: SeenFrame) -> str:
    """Second line of a caption: the kind of clip (if one begins), and the labels of the frame.

    Args:
        frame: frame of a batch.
    """
    if frame.is_padding:
        return "no frame"
    clip = {
        STREAM_STARTS: "stream starts, ",
        STREAM_GOES_ON: "stream goes on, ",
        ON_ITS_OWN: "random clip, ",
    }
    labels = f"labelled, boxes: {len(frame.boxes)}" if frame.is_labelled else "not labelled"
    return clip.get(clip_start(frame), "") + labels


def legend_entries(palette: Sequence[Colour]) -> list[tuple[np.ndarray, str]]:
    """Entries for `legend` that explain borders, hatching and colours.

    Args:
        palette: RGB colours of the classes; the first one is shown.
    """

    def sample(border: Colour, fill: Colour = BACKGROUND) -> np.ndarray:
        image = np.full((16, 26, 3), border, np.uint8)
        image[3:-3, 3:-3] = fill
        return image

    hatched = np.full((16, 26, 3), BACKGROUND, np.uint8)
    hatch(hatched)
    return [
        (sample(STREAM_STARTS), "first frame of a stream: state reset to zero"),
        (sample(STREAM_GOES_ON), "first frame of a clip within a stream: state kept"),
        (sample(ON_ITS_OWN), "first frame of a random clip: state reset to zero"),
        (hatched, "padding: zeros"),
        (sample(palette[0]), "label, in the colour of its class"),
        (sample(POSITIVE, POSITIVE), "events: brighter"),
        (sample(NEGATIVE, NEGATIVE), "events: darker"),
    ]


def hatch(image: np.ndarray) -> None:
    """Draw diagonal lines over an image.

    Args:
        image: RGB image (H, W, 3), changed in place.
    """
    y, x = np.indices(image.shape[:2])
    image[(x + y) % 8 < 2] = HATCH


def _caption_strip(frame: SeenFrame, width: int, colour: Colour) -> np.ndarray:
    strip = paper(CAPTION_PX, width)
    draw_text(strip, caption(frame, width - 2), 1, 14, INK)
    draw_text(strip, what_it_teaches(frame), 1, 32, colour)
    return strip
