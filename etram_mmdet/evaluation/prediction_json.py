"""Frames of predictions in a JSON file, see :mod:`etram_mmdet.evaluation.predictions`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import numpy as np

from etram_mmdet.evaluation.box_columns import BoxColumns
from etram_mmdet.evaluation.frame_columns import FrameColumns
from etram_mmdet.evaluation.prediction_checks import are_sound, check_frame
from etram_mmdet.evaluation.prediction_values import (
    DEFAULTS,
    LISTS,
    VALUES,
    WRONG_VALUES,
    frame_size,
    positive_numbers,
    recording_name,
    whole_numbers,
)
from etram_mmdet.evaluation.results import FrameResult, make_boxes, place_of


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
        for key, kind in LISTS.items():
            if isinstance(saved.get(key), list):
                try:
                    saved[key] = kind.convert(saved[key])
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
        ValueError: a frame lacks a key, or a value is not what a frame holds; with its place.
    """
    if not isinstance(saved, list):
        raise ValueError(f"frames: {saved!r:.80}, expected a list of frames")
    try:
        columns = _columns_of(saved, with_truth)
        if are_sound(columns, num_classes):
            return columns.frames()
    except (KeyError, *WRONG_VALUES):
        pass
    frames = [_frame_of(number, each, with_truth) for number, each in enumerate(saved)]
    for frame in frames:
        check_frame(frame, num_classes)
    return frames


def _columns_of(saved: list[dict], with_truth: bool) -> FrameColumns:
    """Frames as columns; an error says no more than that a frame is wrong or unusual."""
    nothing = {key: LISTS[key].convert([]) for key in ("bboxes", "labels")}
    sizes = [each.get("hw") for each in saved]
    hw = np.array([(0, 0) if each is None else frame_size(each) for each in sizes], np.int64)
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
    recordings = [recording_name(each["recording"]) for each in saved]
    number = {name: i for i, name in enumerate(dict.fromkeys(recordings))}
    return FrameColumns(
        names=list(number),
        recordings=np.array([number[name] for name in recordings], np.int64),
        t_us=whole_numbers([each["t_us"] for each in saved]),
        start_us=whole_numbers(_of_frames(saved, "start_us")),
        step_us=positive_numbers(_of_frames(saved, "step_us")),
        scales=positive_numbers(_of_frames(saved, "scale")),
        hw=hw,
        found=found,
        truth=_box_columns(saved, "gt_", {} if with_truth else nothing),
        ignored=_box_columns(saved, "ignored_", nothing),
    )


def _of_frames(saved: list[dict], key: str) -> list:
    values = [each.get(key) for each in saved]
    return [DEFAULTS[key] if value is None else value for value in values]


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
    if not all(isinstance(array, np.ndarray) for array in arrays):
        raise TypeError(f"frames with other values than {dtype.__name__}")
    return np.concatenate(arrays, dtype=dtype)


def _frame_of(number: int, saved: dict, with_truth: bool) -> FrameResult:
    if not isinstance(saved, dict):
        raise ValueError(f"frames[{number}] is {saved!r:.80}, expected an object")
    recording, t_us = (_value(saved, f"frames[{number}]", key) for key in ("recording", "t_us"))
    place = place_of(recording, t_us)
    boxes = make_boxes(
        place,
        truth=_boxes(saved, place, "gt_", not with_truth),
        found=_boxes(saved, place, "") | _scores(saved, place),
        ignored=_boxes(saved, place, "ignored_", True),
    )
    return FrameResult(
        recording=recording,
        t_us=t_us,
        **boxes,
        **{key: _value(saved, place, key) for key in DEFAULTS},
    )


def _value(saved: dict, place: str, key: str) -> object:
    """The converted value under a key of a frame; an error names the place and the key."""
    value = saved.get(key)
    if value is None and key in DEFAULTS:
        return DEFAULTS[key]
    if key not in saved:
        raise ValueError(f"{place} has no {key!r}")
    try:
        return value if isinstance(value, np.ndarray) else VALUES[key].convert(value)
    except WRONG_VALUES as error:
        expected = VALUES[key].expected
        raise ValueError(f"{place}: {key}: {value!r:.80}, expected {expected}") from error


def _boxes(
    saved: dict, place: str, prefix: str, is_optional: bool = False
) -> dict[str, np.ndarray]:
    given = {f"{prefix}bboxes": [], f"{prefix}labels": []} | saved if is_optional else saved
    bboxes, labels = (_value(given, place, f"{prefix}{key}") for key in ("bboxes", "labels"))
    return dict(bboxes_xyxy=bboxes, labels=labels)


def _scores(saved: dict, place: str) -> dict[str, np.ndarray]:
    scores = _value(saved, place, "scores")
    if saved.get("class_scores", None if len(scores) else []) is None:
        return dict(scores=scores)
    class_scores = _value(dict(class_scores=[]) | saved, place, "class_scores")
    return dict(scores=scores, class_scores=class_scores)
