"""Frames of predictions in a JSON file, see :mod:`etram_mmdet.evaluation.predictions`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from etram_mmdet.evaluation.box_columns import BoxColumns
from etram_mmdet.evaluation.frame_columns import FrameColumns
from etram_mmdet.evaluation.prediction_checks import are_sound, check_frame
from etram_mmdet.evaluation.results import FrameResult, make_boxes, place_of
from etram_mmdet.events.preprocessing.frame_times import STEP_US

_TRUTH = ("gt_bboxes", "gt_labels")
_IGNORED = ("ignored_bboxes", "ignored_labels")
_LARGEST = 2**53  # float64 represents every whole number up to here
# Errors of values that are not what a frame holds.
WRONG_VALUES = (
    ValueError,
    TypeError,
    AttributeError,
    OverflowError,
    IndexError,
    RecursionError,
)


def pieces_of(header: dict, frames: Iterable[FrameResult]) -> Iterator[str]:
    """Text of a file of predictions, frame by frame, so that it is never in memory as a whole.

    Args:
        header: content of the file beside its frames.
        frames: evaluated frames.
    """
    yield f'{json.dumps(header)[:-1]}, "frames": ['
    for i, frame in enumerate(frames):
        yield (", " if i else "") + _text_of(frame)
    yield "]}"


def _text_of(frame: FrameResult) -> str:
    found = frame.found
    scalars = dict(
        recording=frame.recording,
        t_us=frame.t_us,
        start_us=frame.start_us,
        scale=frame.scale,
        hw=frame.hw,
        step_us=frame.step_us,
    )
    columns = dict(
        bboxes=_numbers(found.bboxes_xyxy),
        scores=_numbers(found.scores),
        class_scores="null" if found.class_scores is None else _numbers(found.class_scores),
        labels=str(found.labels.tolist()),
        gt_bboxes=_numbers(frame.truth.bboxes_xyxy),
        gt_labels=str(frame.truth.labels.tolist()),
        ignored_bboxes=_numbers(frame.ignored.bboxes_xyxy),
        ignored_labels=str(frame.ignored.labels.tolist()),
    )
    texts = ", ".join(f'"{name}": {text}' for name, text in columns.items())
    return f"{json.dumps(scalars)[:-1]}, {texts}}}"


def _numbers(values: np.ndarray) -> str:
    """JSON of an array (N,) or (N, 4), with nine digits: enough to restore any float32."""
    row = "%.9g" if values.ndim == 1 else "[%.9g, %.9g, %.9g, %.9g]"
    return f"[{', '.join([row] * len(values))}]" % tuple(values.ravel().tolist())


def with_arrays(saved: dict) -> dict:
    """Replace the lists of one frame by arrays, while the rest of the file is still being read.

    A list of numbers takes ten times the memory of an array. A list that is no array of numbers
    stays, so that `frames_of` can say what is wrong.

    Args:
        saved: an object of the JSON file; objects other than frames are not changed.
    """
    if "bboxes" in saved:
        for name, convert in _CONVERTERS.items():
            if isinstance(saved.get(name), list):
                try:
                    saved[name] = convert(saved[name])
                except WRONG_VALUES:
                    continue
    return saved


def frames_of(saved: list[dict], with_truth: bool, num_classes: int) -> list[FrameResult]:
    """Frames from the objects of a JSON file, checked.

    All frames are converted and checked at once. Only if that fails they are checked one by one,
    to find the first wrong value.

    Args:
        saved: objects of the frames, from `with_arrays`.
        with_truth: whether each must hold ground truth.
        num_classes: number of classes.

    Raises:
        InputError: a value is wrong; with recording and time.
        KeyError: a frame lacks a key.
        ValueError: a value is not what a frame holds; so are the other `WRONG_VALUES`.
    """
    try:
        columns = _columns_of(saved, with_truth)
        if are_sound(columns, num_classes):
            return columns.frames()
    except (KeyError, *WRONG_VALUES):
        pass
    frames = [_frame_of(each, with_truth) for each in saved]
    for frame in frames:
        check_frame(frame, num_classes)
    return frames


def _columns_of(saved: list[dict], with_truth: bool) -> FrameColumns:
    """Frames as columns; an error says no more than that a frame is wrong or unusual."""
    nothing = dict(bboxes=_corners([]), labels=_whole_list([]))
    sizes = [each.get("hw") for each in saved]
    hw = np.zeros((len(saved), 2), np.int64)
    known = np.array([size is not None for size in sizes], bool)
    if known.any():
        given = _positive([size for size in sizes if size is not None])
        if given.shape != (known.sum(), 2):
            raise ValueError("frames with another hw than two numbers")
        hw[known] = given
    scores = [each["scores"] for each in saved]
    class_scores = [
        each.get("class_scores", None if len(of_frame) else of_frame)
        for each, of_frame in zip(saved, scores, strict=True)
    ]
    has_class_scores = np.array([values is not None for values in class_scores], bool)
    filled = [
        of_frame if values is None else values
        for values, of_frame in zip(class_scores, scores, strict=True)
    ]
    found = _box_columns(saved, "", {})._replace(
        scores=_joined(scores, np.float32),
        class_scores=_joined(filled, np.float32),
        has_class_scores=has_class_scores,
    )
    lengths = [list(map(len, values)) for values in (scores, filled)]
    if any(each != found.counts.tolist() for each in lengths):
        raise ValueError("frames with more or fewer scores than labels")
    recordings = [str(each["recording"]) for each in saved]
    number = {name: i for i, name in enumerate(dict.fromkeys(recordings))}
    return FrameColumns(
        names=list(number),
        recordings=np.array([number[name] for name in recordings], np.int64),
        t_us=_of_frames([each["t_us"] for each in saved]),
        start_us=_of_frames([each.get("start_us", 0) for each in saved]),
        step_us=_of_frames([each.get("step_us") or STEP_US for each in saved], _positive),
        scales=_of_frames([each.get("scale") or 1 for each in saved], _positive),
        hw=hw,
        found=found,
        truth=_box_columns(saved, "gt_", {} if with_truth else nothing),
        ignored=_box_columns(saved, "ignored_", nothing),
    )


def _of_frames(values: list, convert=None) -> np.ndarray:
    """Whole numbers (F,), one of each frame."""
    array = (convert or _whole)(values)
    if array.shape != (len(values),):
        raise ValueError("frames with lists where a number is expected")
    return array


def _box_columns(saved: list[dict], prefix: str, default: dict[str, np.ndarray]) -> BoxColumns:
    """Boxes of one kind of all frames; ``default`` is what a frame without them gets."""
    columns = [
        [each.get(key, default[name]) if default else each[key] for each in saved]
        for name, key in (("bboxes", f"{prefix}bboxes"), ("labels", f"{prefix}labels"))
    ]
    counts = [list(map(len, column)) for column in columns]
    if counts[0] != counts[1]:
        raise ValueError("frames with more or fewer boxes than labels")
    bboxes, labels = columns
    return BoxColumns(
        np.array(counts[0], np.int64), _joined(bboxes, np.float32), _joined(labels, np.int64)
    )


def _joined(arrays: list[np.ndarray], dtype: type) -> np.ndarray:
    joined = np.concatenate(arrays)
    if joined.dtype != dtype or not all(isinstance(array, np.ndarray) for array in arrays):
        raise TypeError(f"frames with other values than {dtype.__name__}")
    return joined


def _frame_of(saved: dict, with_truth: bool) -> FrameResult:
    truth = {key: saved[key] if with_truth else saved.get(key, []) for key in _TRUTH}
    recording = str(saved["recording"])
    t_us = int(_whole(saved["t_us"]))
    boxes = make_boxes(
        place_of(recording, t_us),
        truth=_boxes(truth["gt_bboxes"], truth["gt_labels"]),
        found=_boxes(saved["bboxes"], saved["labels"]) | _scores(saved),
        ignored=_boxes(*(saved.get(key, []) for key in _IGNORED)),
    )
    hw = saved.get("hw")
    return FrameResult(
        recording=recording,
        t_us=t_us,
        **boxes,
        scale=int(_positive(saved.get("scale") or 1)),
        hw=None if hw is None else tuple(_positive(hw).reshape(2).tolist()),
        start_us=int(_whole(saved.get("start_us", 0))),
        step_us=int(_positive(saved.get("step_us") or STEP_US)),
    )


def _boxes(bboxes: Sequence, labels: Sequence) -> dict[str, np.ndarray]:
    return dict(bboxes_xyxy=_corners(bboxes), labels=_whole_list(labels))


def _scores(saved: dict) -> dict[str, np.ndarray]:
    scores = _floats(saved["scores"])
    class_scores = saved.get("class_scores", None if len(scores) else [])
    if class_scores is None:
        return dict(scores=scores)
    return dict(scores=scores, class_scores=_floats(class_scores))


def _corners(values: Sequence) -> np.ndarray:
    return np.array(values, np.float32).reshape(-1, 4)


def _floats(values: Sequence) -> np.ndarray:
    return np.array(values, np.float32).reshape(-1)


def _whole_list(values: Sequence) -> np.ndarray:
    array = np.array(values)
    is_done = array.dtype == np.int64 and (np.abs(array) < _LARGEST).all()
    return (array if is_done else _whole(values)).reshape(-1)


def _whole(values: object) -> np.ndarray:
    array = np.array(values, np.float64)
    if not (np.isfinite(array) & (array == np.round(array)) & (np.abs(array) < _LARGEST)).all():
        shown = values.tolist() if isinstance(values, np.ndarray) else values
        raise ValueError(f"{shown!r}, expected whole numbers")
    return array.astype(np.int64)


def _positive(values: object) -> np.ndarray:
    array = _whole(values)
    if (array < 1).any():
        raise ValueError(f"{values!r}, expected numbers of at least 1")
    return array


_CONVERTERS = dict(
    bboxes=_corners,
    gt_bboxes=_corners,
    ignored_bboxes=_corners,
    labels=_whole_list,
    gt_labels=_whole_list,
    ignored_labels=_whole_list,
    scores=_floats,
    class_scores=_floats,
)
