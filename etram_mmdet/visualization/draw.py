"""Pictures of event frames with ground truth and detections; all images are (H, W, 3) uint8 RGB."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from etram_mmdet.evaluation.nms import iou
from etram_mmdet.evaluation.results import Boxes, FrameResult
from etram_mmdet.visualization.event_colours import (  # noqa: F401  others take them from here
    BACKGROUND,
    NEGATIVE,
    POSITIVE,
    Colour,
    events_to_rgb,
)

NamedBox = tuple[list[int], str, Colour]  # corners x1 y1 x2 y2 in pixels of the image, text, colour

WHITE: Colour = (255, 255, 255)
# ground truth that no drawn detection of its class overlaps with an IoU of at least 0.5
MISSED: Colour = (255, 214, 10)
BLACK: Colour = (0, 0, 0)
FONT = cv2.FONT_HERSHEY_SIMPLEX
FONT_SCALE = 0.42
TEXT_HEIGHT_PX = 10
DASH_PX = 5


def draw_boxes(
    image: np.ndarray,
    boxes: Boxes,
    classes: Sequence[str],
    palette: Sequence[Colour],
    dashed: bool = False,
    scale: int = 1,
) -> np.ndarray:
    """Draw boxes on a copy of the image, each with its class name, and its score if it has one.

    Args:
        image: (H·scale, W·scale, 3) RGB image, already enlarged.
        boxes: boxes in pixels of the frame before it was enlarged. The box of highest score is
            drawn last, on top.
        classes: class names by label.
        palette: RGB colours of the classes by label.
        dashed: whether to draw a thin dashed line with the name under the box, for ground truth
            beside detections. Default: false.
        scale: pixels of the image per pixel of the boxes. Default: 1.

    Returns:
        The copy.
    """
    image = image.copy()
    named = _named_boxes(image, boxes, classes, palette, scale)
    _draw_outlines(image, named, dashed)
    _draw_names(image, named, dashed)
    return image


def draw_frame(
    off_on: np.ndarray,
    frame: FrameResult,
    classes: Sequence[str],
    palette: Sequence[Colour],
    scale: int = 1,
    min_score: float = 0.3,
    mark_missed: bool = True,
) -> np.ndarray:
    """Draw one frame, enlarged: events, dashed ground truth, and detections in class colours.

    Args:
        off_on: event counts as `events_to_rgb` takes them, or the picture that it returns.
        frame: ground truth and detections, in pixels of the frame.
        classes: class names by label.
        palette: RGB colours of the classes by label.
        scale: pixels of the picture per pixel of the frame. Default: 1.
        min_score: lowest score of a detection that is drawn. Default: 0.3.
        mark_missed: whether ground truth is yellow and named "missed" if no drawn detection of its
            class overlaps it with an IoU of at least 0.5. Other ground truth is white. Default:
            true.

    Returns:
        RGB picture (H·scale, W·scale, 3), uint8.
    """
    picture = off_on if is_picture(off_on) else events_to_rgb(off_on)
    image = picture.repeat(scale, 0).repeat(scale, 1)
    sure = frame.found[frame.found.scores >= min_score]
    is_missed = _missed(frame.truth, sure.clipped(picture.shape[:2])) & mark_missed
    found, missed = frame.truth[~is_missed], frame.truth[is_missed]
    truth = _named_boxes(image, found, classes, [WHITE] * len(classes), scale)
    truth += _named_boxes(
        image, missed, [f"missed {name}" for name in classes], [MISSED] * len(classes), scale
    )
    detections = _named_boxes(image, sure, classes, palette, scale)
    # all outlines first, so that no line runs through a name
    for draw in (_draw_outlines, _draw_names):
        draw(image, truth, dashed=True)
        draw(image, detections, dashed=False)
    return image


def _missed(truth: Boxes, found: Boxes) -> np.ndarray:
    """Whether each true box has no detection of its class with an IoU of 0.5 or more: (M,) bool."""
    return np.array(
        [
            not any(
                found.labels[k] == truth.labels[i]
                and iou(truth.bboxes_xyxy[i], found.bboxes_xyxy[k]) >= 0.5
                for k in range(len(found))
            )
            for i in range(len(truth))
        ],
        bool,
    )


def is_picture(image: np.ndarray) -> bool:
    """Whether an array is an RGB picture (H, W, 3) rather than a frame (C, H, W).

    Args:
        image: array with three axes.
    """
    return image.shape[2] == 3


def draw_rectangle(image: np.ndarray, corners: Sequence[int], colour: Colour) -> None:
    """Draw a rectangle whose line is two pixels wide.

    Args:
        image: RGB image (H, W, 3), changed in place.
        corners: x1 y1 x2 y2 in pixels of the image.
        colour: RGB colour of the line.
    """
    cv2.rectangle(image, corners[:2], corners[2:], tuple(colour), 2)


def draw_dashed_rectangle(image: np.ndarray, corners: Sequence[int], colour: Colour) -> None:
    """Draw a dashed rectangle whose line is one pixel wide.

    Dashes alternate with black, so that they are visible over dense events.

    Args:
        image: RGB image (H, W, 3), changed in place.
        corners: x1 y1 x2 y2 in pixels of the image.
        colour: RGB colour of the dashes.
    """
    x1, y1, x2, y2 = corners
    for y in (y1, y2):
        image[y, x1 : x2 + 1] = _dashes(x2 + 1 - x1, colour)
    for x in (x1, x2):
        image[y1 : y2 + 1, x] = _dashes(y2 + 1 - y1, colour)


def draw_text(image: np.ndarray, text: str, left: int, baseline: int, colour: Colour) -> None:
    """Write a line of text in `FONT`.

    Args:
        image: RGB image (H, W, 3), changed in place.
        text: text to write.
        left: x of its left end, in pixels.
        baseline: y of its baseline, in pixels.
        colour: RGB colour.
    """
    cv2.putText(image, text, (left, baseline), FONT, FONT_SCALE, colour, 1, cv2.LINE_AA)


def text_width(text: str) -> int:
    """Width in pixels of a line of text as `draw_text` writes it.

    Args:
        text: the line.
    """
    return cv2.getTextSize(text, FONT, FONT_SCALE, 1)[0][0]


def _named_boxes(
    image: np.ndarray, boxes: Boxes, classes: Sequence[str], palette: Sequence[Colour], scale: int
) -> list[NamedBox]:
    """Corners, text and colour of each box, in drawing order; corners are clipped to the image.

    The arguments are those of `draw_boxes`.
    """
    corners = np.rint(boxes.bboxes_xyxy.astype(np.float64) * scale).astype(int)
    corners = corners.clip(0, np.tile([image.shape[1] - 1, image.shape[0] - 1], 2)).tolist()
    names = [classes[label] for label in boxes.labels]
    if boxes.scores is None:
        order = range(len(names))
    else:
        order = np.argsort(boxes.scores, kind="stable")
        names = [f"{name} {score:.2f}" for name, score in zip(names, boxes.scores, strict=True)]
    return [(corners[i], names[i], palette[boxes.labels[i]]) for i in order]


def _draw_outlines(image: np.ndarray, boxes: Sequence[NamedBox], dashed: bool) -> None:
    draw = draw_dashed_rectangle if dashed else draw_rectangle
    for corners, _, colour in boxes:
        draw(image, corners, colour)


def _draw_names(image: np.ndarray, boxes: Sequence[NamedBox], dashed: bool) -> None:
    draw = _label_below if dashed else _label_above
    for corners, name, colour in boxes:
        draw(image, name, corners, colour)


def _dashes(length: int, colour: Colour) -> np.ndarray:
    return np.where(np.arange(length)[:, None] // DASH_PX % 2 == 0, colour, BLACK)


def _label_above(image: np.ndarray, text: str, corners: Sequence[int], colour: Colour) -> None:
    """Write text on a plate in the box's colour, above the box or, without room, inside it."""
    width = text_width(text) + 5
    height = TEXT_HEIGHT_PX + 5
    left = max(0, min(corners[0] - 1, image.shape[1] - width))
    top = corners[1] - height if corners[1] >= height else corners[1]
    image[top : top + height, left : left + width] = colour
    bright = np.dot(colour, (0.299, 0.587, 0.114)) > 140
    draw_text(image, text, left + 3, top + TEXT_HEIGHT_PX + 1, BLACK if bright else WHITE)


def _label_below(image: np.ndarray, text: str, corners: Sequence[int], colour: Colour) -> None:
    """Write text on a dark plate, below the box or, if there is no room, inside it."""
    width = text_width(text) + 5
    height = TEXT_HEIGHT_PX + 5
    left = max(0, min(corners[0], image.shape[1] - width))
    top = (
        corners[3] + 2 if corners[3] + 2 + height <= image.shape[0] else max(0, corners[3] - height)
    )
    image[top : top + height, left : left + width] //= 4
    draw_text(image, text, left + 3, top + TEXT_HEIGHT_PX + 1, colour)
