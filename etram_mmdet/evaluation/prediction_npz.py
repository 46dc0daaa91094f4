"""Frames of predictions as columns in NumPy's ``.npz`` archive, without pickled objects.

``header`` holds JSON in UTF-8: what a JSON file of predictions holds beside its frames, and
``recordings``, the names. For F frames there are ``recording`` (F,), the numbers of these names,
``t_us``, ``start_us``, ``step_us``, ``scale`` (F,) and ``hw`` (F, 2), 0 if unknown. Boxes stand
frame by frame: ``num_boxes`` (F,), ``bboxes`` (N, 4), ``labels``, ``scores`` and ``class_scores``
(N,); ``has_class_scores`` (F,) says of which frames the latter are known. Ground truth has
``num_gt_boxes``, ``gt_bboxes`` and ``gt_labels``, ignored boxes the same with ``ignored``.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from etram_mmdet.evaluation.box_columns import BoxColumns
from etram_mmdet.evaluation.frame_columns import FrameColumns
from etram_mmdet.evaluation.prediction_checks import are_sound, check_frame
from etram_mmdet.evaluation.prediction_values import LARGEST
from etram_mmdet.evaluation.results import NO_BOXES, FrameResult
from etram_mmdet.events.formats.npy import open_archive, read_header
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import because, check_is_file, has_cause

_OF_FRAMES = dict(
    recording="recordings", t_us="t_us", start_us="start_us", step_us="step_us", scale="scales"
)
_KINDS = dict(found="", truth="gt_", ignored="ignored_")  # prefixes of the names


def write(path: Path, header: dict, frames: Iterable[FrameResult] | FrameColumns) -> None:
    """Write a file of predictions.

    Args:
        path: file to write; not atomic.
        header: content of the file beside its frames.
        frames: evaluated frames.
    """
    columns = frames if isinstance(frames, FrameColumns) else FrameColumns.of(list(frames))
    text = json.dumps(header | dict(recordings=columns.names)).encode()
    arrays = dict(header=np.frombuffer(text, np.uint8), hw=columns.hw)
    for name, attribute in _OF_FRAMES.items():
        arrays[name] = getattr(columns, attribute)
    for kind, prefix in _KINDS.items():
        boxes = getattr(columns, kind)
        arrays[f"num_{prefix}boxes"] = boxes.counts
        arrays[f"{prefix}bboxes"] = boxes.bboxes_xyxy.astype(np.float32)
        arrays[f"{prefix}labels"] = boxes.labels.astype(np.int32)
    for name in ("scores", "class_scores"):
        arrays[name] = getattr(columns.found, name).astype(np.float32)
    arrays["has_class_scores"] = columns.found.has_class_scores
    with path.open("wb") as file:
        np.savez(file, **arrays)


def read(path: Path, advice: str) -> dict:
    """Read the content of a file: its header, and its arrays under the key ``frames``.

    Args:
        path: the file.
        advice: next step for the user, the end of the error message.

    Raises:
        InputError: the file cannot be read or has no header.
    """
    check_is_file(path)
    try:
        with open_archive(path) as archive:
            arrays = _arrays(archive)
        return _content(arrays)
    except MemoryError:
        raise
    except Exception as error:  # a damaged archive may raise any error
        if has_cause(error):
            raise InputError(f"{path}: cannot be read: {because(error, path)}") from error
        why = str(error) or type(error).__name__
        raise InputError(
            f"{path}: not a readable file of predictions ({why:.200}); {advice}"
        ) from error


def _arrays(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    names = [name.removesuffix(".npy") for name in archive.namelist()]
    twice = [name for name, number in Counter(names).items() if number > 1]
    if twice:
        raise ValueError(f"holds {twice[0]!r:.80} twice")
    return {name: _array(archive, f) for name, f in zip(names, archive.namelist(), strict=True)}


def _content(arrays: dict[str, np.ndarray]) -> dict:
    if "header" not in arrays:
        raise ValueError("holds no header")
    header = json.loads(arrays.pop("header").tobytes())
    if not isinstance(header, dict) or "recordings" not in header:
        raise ValueError("its header holds no names of recordings")
    json.dumps(header, ensure_ascii=False).encode()  # no half characters
    return dict(header, frames=arrays | dict(names=header.pop("recordings")))


def _array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    size = archive.getinfo(name).file_size
    with archive.open(name) as file:
        shape, is_fortran, dtype = read_header(file, size)
        data = file.read(math.prod(shape) * dtype.itemsize)
    return np.frombuffer(data, dtype).reshape(shape, order="F" if is_fortran else "C")


def frames_of(
    arrays: dict[str, np.ndarray], with_truth: bool, num_classes: int
) -> list[FrameResult]:
    """Frames from the arrays of a file, checked.

    Args:
        arrays: arrays by name, and the names of the recordings under ``names``.
        with_truth: whether ground truth must be there.
        num_classes: number of classes.

    Raises:
        InputError: a value is wrong; with recording and time.
        KeyError: an array is missing.
        ValueError: an array has another shape or type.
    """
    names = arrays["names"]
    has_class_scores = arrays["has_class_scores"]
    if has_class_scores.dtype.kind != "b":
        raise ValueError(f"has_class_scores is of type {has_class_scores.dtype}, expected bool")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"recordings: {names!r:.80}, expected a list of names")
    count = arrays["recording"].size
    numbers = _of_frames(arrays, "recording", count)
    if (numbers >= len(names)).any():
        raise ValueError(f"recording holds {numbers.max()}, but there are {len(names)} names")
    columns = FrameColumns(
        names=names,
        recordings=numbers,
        t_us=_of_frames(arrays, "t_us", count, least=-LARGEST),
        start_us=_of_frames(arrays, "start_us", count, least=-LARGEST),
        step_us=_of_frames(arrays, "step_us", count, least=1),
        scales=_of_frames(arrays, "scale", count, least=1),
        hw=_sizes(arrays, count),
        found=_boxes(arrays, "", count)._replace(
            scores=_floats(arrays, "scores"),
            class_scores=_floats(arrays, "class_scores"),
            has_class_scores=has_class_scores,
        ),
        truth=_boxes(arrays, "gt_", count, is_optional=not with_truth),
        ignored=_boxes(arrays, "ignored_", count, is_optional=True),
    )
    for kind, prefix in _KINDS.items():
        _check_lengths(getattr(columns, kind), prefix)
    frames = columns.frames()
    if not are_sound(columns, num_classes):
        for frame in frames:  # one of them has a wrong value
            check_frame(frame, num_classes)
    return frames


def _check_lengths(boxes: BoxColumns, prefix: str) -> None:
    # summed up as Python's numbers, which cannot overflow
    count = sum(boxes.counts.tolist())
    shapes = dict(
        bboxes_xyxy=(count, 4),
        labels=(count,),
        scores=(count,),
        class_scores=(count,),
        has_class_scores=boxes.counts.shape,
    )
    for attribute, shape in shapes.items():
        column = getattr(boxes, attribute)
        if column is not None and column.shape != shape:
            name = prefix + attribute.removesuffix("_xyxy")
            raise ValueError(
                f"{name} has the shape {column.shape}, expected {shape} for {len(boxes.counts)} "
                "frames"
            )


def _sizes(arrays: dict, count: int) -> np.ndarray:
    hw = _of_frames(arrays, "hw", count, (2,))
    is_half_known = (hw > 0).any(1) & ~(hw > 0).all(1)
    if is_half_known.any():
        raise ValueError(
            f"hw holds {hw[is_half_known][0].tolist()}, expected height and width of at least 1, "
            "or 0 and 0 if unknown"
        )
    return hw


def _boxes(arrays: dict, prefix: str, count: int, is_optional: bool = False) -> BoxColumns:
    if is_optional and f"{prefix}bboxes" not in arrays:
        nothing = NO_BOXES.bboxes_xyxy, NO_BOXES.labels
        return BoxColumns(np.zeros(count, np.int64), *nothing)
    return BoxColumns(
        _of_frames(arrays, f"num_{prefix}boxes", count),
        _floats(arrays, f"{prefix}bboxes"),
        _whole(arrays, f"{prefix}labels"),
    )


def _of_frames(
    arrays: dict, name: str, count: int, more: tuple[int, ...] = (), least: int = 0
) -> np.ndarray:
    """Whole numbers (F, ...) of F frames, each at least ``least``."""
    array = _whole(arrays, name)
    if array.shape != (count, *more):
        raise ValueError(f"{name} has the shape {array.shape}, expected {(count, *more)}")
    if (array < least).any():
        raise ValueError(f"{name} holds {array.min()}, expected numbers of at least {least}")
    return array


def _whole(arrays: dict, name: str) -> np.ndarray:
    if arrays[name].dtype.kind not in "iu":
        raise ValueError(f"{name} is of type {arrays[name].dtype}, expected whole numbers")
    array = arrays[name]
    if array.size and not -LARGEST < array.min() <= array.max() < LARGEST:
        raise ValueError(f"{name} holds {array.min()} to {array.max()}, expected less than 2^53")
    return array.astype(np.int64)


def _floats(arrays: dict, name: str) -> np.ndarray:
    if arrays[name].dtype.kind != "f":
        raise ValueError(f"{name} is of type {arrays[name].dtype}, expected floats")
    with np.errstate(over="ignore"):  # what becomes infinite is refused
        return arrays[name].astype(np.float32, copy=False)
