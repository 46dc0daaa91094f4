"""One file with predictions and ground truth of every evaluated frame: JSON, or NumPy's ``.npz``.

    {"format_version": 2, "classes": [...], "test_cfg": {...},
     "checkpoint": "work_dirs/demo/iter_2000.pth",
     "frames": [{"recording": ..., "t_us": ..., "start_us": 0, "step_us": 50000, "scale": 2,
     "hw": [64, 96], "bboxes": [[x1, y1, x2, y2], ...], "scores": [...], "class_scores": [...],
     "labels": [...], "gt_bboxes": [...], "gt_labels": [...],
     "ignored_bboxes": [...], "ignored_labels": [...]}, ...]}

Boxes are in network pixels. ``scale`` is the number of sensor pixels per network pixel.
``start_us`` is the time on the recording's clock at which the recording begins (default: 0).
``step_us`` is the time from one window of the stream to the next (default: 50 ms). ``hw``,
``scale``, ``class_scores``, ``ignored_*``, ``test_cfg`` and ``checkpoint`` are optional. The truth
is optional if a data set provides it.

Version 2 holds detections as the network predicted them, also beyond the border of the frame. A
file without a version holds detections that were clipped to the frame.

A ``.npz`` file holds the same numbers as columns, see :mod:`etram_mmdet.evaluation.prediction_npz`.
It is a third as large and read many times as fast.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from etram_mmdet.evaluation import prediction_json, prediction_npz
from etram_mmdet.evaluation.frame_columns import FrameColumns
from etram_mmdet.evaluation.prediction_checks import check_pixels
from etram_mmdet.evaluation.prediction_values import WRONG_VALUES
from etram_mmdet.evaluation.results import FrameResult, place_of
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import atomic_write
from etram_mmdet.utils.json_files import read_json

if TYPE_CHECKING:
    from etram_mmdet.evaluation.protocols import Protocol

FORMAT_VERSION = 2
_CLIPPED_VERSION = 1  # of files without format_version
NPZ = ".npz"
SUFFIXES = (".json", NPZ)


class Predictions(NamedTuple):
    """Content of a file of predictions.

    Attributes:
        classes: names of the classes.
        frames: evaluated frames, sorted by (recording, t_us).
        test_cfg: ``test_cfg`` of the model that made the predictions; empty if the file does not
            hold it.
        is_clipped: whether the detections were clipped to the frame before they were saved.
        checkpoint: path of the checkpoint that made the predictions; empty if the file does not
            hold it.
    """

    classes: tuple[str, ...]
    frames: list[FrameResult]
    test_cfg: dict
    is_clipped: bool = False
    checkpoint: str = ""


def save_predictions(
    path: Path,
    frames: Iterable[FrameResult] | FrameColumns,
    classes: Sequence[str],
    test_cfg: dict,
    checkpoint: str = "",
) -> None:
    """Save predictions and truth of evaluated frames.

    Args:
        path: file to write, with one of `SUFFIXES`. JSON is written frame by frame.
        frames: evaluated frames.
        classes: names of the classes.
        test_cfg: ``test_cfg`` of the model, such as its NMS settings.
        checkpoint: path of the checkpoint that made the predictions. Default: not known.

    Raises:
        InputError: the file cannot be written.
    """
    header = dict(
        format_version=FORMAT_VERSION,
        classes=list(classes),
        test_cfg=test_cfg,
        checkpoint=checkpoint,
    )
    with atomic_write(path) as aside:
        if path.suffix == NPZ:
            prediction_npz.write(aside, header, frames)
            return
        each = frames.each() if isinstance(frames, FrameColumns) else frames
        with aside.open("w", encoding="utf-8") as file:
            file.writelines(prediction_json.pieces_of(header, each))


def load_predictions(path: Path, with_truth: bool = True) -> Predictions:
    """Read and check a file of predictions.

    Args:
        path: file, as `save_predictions` writes it.
        with_truth: whether the file must hold ground truth. Default: true.

    Raises:
        InputError: the file is missing, is no file of predictions or is of a later version; it
            holds no frame, the same frame twice, lists of different lengths, values that are not
            finite, unknown labels, boxes that end before they begin, truth outside the frame, or
            detections in other pixels; the memory does not suffice. The message names the place.
    """
    try:
        return _loaded(path, with_truth)
    except MemoryError as error:
        raise InputError(
            f"{path}: no memory is left to read its {path.stat().st_size:,} bytes; end other "
            "programs, then run the same command again"
        ) from error


def _loaded(path: Path, with_truth: bool) -> Predictions:
    if not path.exists():
        raise InputError(
            f"{path}: no such file; make it with tools/test.py CHECKPOINT --out {path}"
        )
    content = _content(path)
    try:
        version = _version(content)
        classes = _names(content["classes"])
        test_cfg = _optional(content, "test_cfg", dict, "an object")
        checkpoint = _optional(content, "checkpoint", str, "a path")
        reader = prediction_npz if path.suffix == NPZ else prediction_json
        frames = reader.frames_of(content["frames"], with_truth, len(classes))
        check_pixels(frames)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except KeyError as error:
        raise InputError(
            f"{path}: the file of predictions has no {error}; {_remedy(path)}"
        ) from error
    except WRONG_VALUES as error:
        raise InputError(
            f"{path}: not a file of predictions ({error!s:.300}); {_remedy(path)}"
        ) from error
    if not frames:
        raise InputError(f"{path}: holds no frame, so there is nothing to measure; {_remedy(path)}")
    times = Counter(frame.key for frame in frames)
    twice = [key for key, number in times.items() if number > 1]
    if twice:
        raise InputError(
            f"{path}: {len(twice)} frames occur twice, such as {twice[0]}; {_remedy(path)}"
        )
    return Predictions(
        classes,
        sorted(frames, key=lambda frame: frame.key),
        test_cfg,
        version == _CLIPPED_VERSION,
        checkpoint,
    )


def load_together(paths: Sequence[Path], with_truth: bool = True) -> Predictions:
    """Read files of predictions of several recordings, as `load_predictions` reads one.

    Args:
        paths: files of the same detector.
        with_truth: whether each file must hold ground truth. Default: true.

    Raises:
        InputError: a file is wrong, the files have other classes than the first, two of them hold
            the same frame, or only some hold clipped detections.
    """
    first, *others = (load_predictions(path, with_truth) for path in paths)
    frames = {frame.key: frame for frame in first.frames}
    for path, saved in zip(paths[1:], others, strict=True):
        if saved.classes != first.classes:
            raise InputError(
                f"{path}: has the classes {', '.join(saved.classes)}, but {paths[0]} has "
                f"{', '.join(first.classes)}; evaluate predictions of one detector at a time"
            )
        if saved.is_clipped != first.is_clipped:
            raise InputError(
                f"{path} and {paths[0]}: only one of them has format_version {FORMAT_VERSION}, so "
                f"the detections of the other were clipped to the frame; {_remedy(path)}"
            )
        for frame in saved.frames:
            if frame.key in frames:
                raise InputError(
                    f"{path}: {place_of(*frame.key)} is in another of the files, too; give the "
                    "predictions of each recording once"
                )
            frames[frame.key] = frame
    return first._replace(frames=[frames[key] for key in sorted(frames)])


def check_may_judge(saved: Predictions, protocols: Iterable[Protocol], path: Path) -> None:
    """Check that protocols which need unclipped detections do not get clipped ones.

    Args:
        saved: content of the file of predictions.
        protocols: protocols to evaluate under. Those that do not clip, such as RVT's, need whole
            detections.
        path: the file, for the message.

    Raises:
        InputError: a protocol needs whole detections, but the saved ones are clipped.
    """
    wanted = [protocol.name for protocol in protocols if not protocol.clips]
    if saved.is_clipped and wanted:
        raise InputError(
            f"{path}: states no format_version, so its detections were clipped to the frame, but "
            f"{', '.join(wanted)} evaluates unclipped detections, as the reference does; "
            f"{_remedy(path)}. If another detector wrote unclipped detections, put "
            f'"format_version": {FORMAT_VERSION} into the file'
        )


def with_truth_of(
    frames: Sequence[FrameResult], truth: dict[tuple[str, int], FrameResult], path: Path | str
) -> list[FrameResult]:
    """Join the ground truth of a data set with saved detections.

    Args:
        frames: frames with detections.
        truth: frames with ground truth, by (recording, t_us).
        path: file of the detections, or a word for several, for messages.

    Returns:
        The frames of ``truth`` with the detections of ``frames``. Frames between labels, which
        ``tools/detect.py`` also writes, are left out.

    Raises:
        InputError: a recording is missing in the data, a labelled frame in the predictions, frames
            differ in size, or detections are in other pixels.
    """
    found = {frame.key: frame for frame in frames}
    recordings = {recording for recording, _ in truth}
    for keys, what in (
        (
            {key for key in found if key[0] not in recordings},
            "predicted frames are of recordings that the evaluated data do not hold",
        ),
        (truth.keys() - found.keys(), "labelled frames of the evaluated data have no predictions"),
    ):
        if keys:
            first = min(keys)
            raise InputError(
                f"{path}: {len(keys)} {what}; the first is {first[0]!r} at t_us={first[1]}"
            )
    joined = [frame._replace(found=found[key].found) for key, frame in truth.items()]
    for frame in joined:
        said = found[frame.key].hw
        if said is not None and said != tuple(frame.hw):
            raise InputError(
                f"{path}: {place_of(*frame.key)} has boxes in a frame of {said[1]}x{said[0]} "
                f"pixels, but a frame of the network has {frame.hw[1]}x{frame.hw[0]}; scale the "
                "boxes to these pixels, or, if they already are in them, leave out hw"
            )
    try:
        check_pixels(joined)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return joined


def _content(path: Path) -> dict:
    if path.suffix == NPZ:
        return prediction_npz.read(path, _remedy(path))
    return read_json(path, _remedy(path), most_bytes=None, object_hook=prediction_json.with_arrays)


def _version(content: dict) -> int:
    if not isinstance(content, dict):
        raise ValueError(f"{content!r:.80}, expected an object with classes and frames")
    version = content.get("format_version", _CLIPPED_VERSION)
    if type(version) is not int or version not in (_CLIPPED_VERSION, FORMAT_VERSION):
        raise InputError(
            f"format_version {version!r:.80}, expected {FORMAT_VERSION}; read the file with the "
            "version of this project that wrote it, or a later one"
        )
    return version


def _names(classes: object) -> tuple[str, ...]:
    """Names of the classes, each once: numbers of two classes of one name could not be told."""
    is_list = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    if not is_list or not classes or len(set(classes)) < len(classes):
        raise ValueError(f"classes: {classes!r:.80}, expected a list of names, each once")
    return tuple(classes)


def _optional(content: dict, key: str, kind: type, expected: str) -> object:
    """The value under a key, or an empty one where there is none."""
    value = content.get(key)
    if value is not None and not isinstance(value, kind):
        raise ValueError(f"{key}: {value!r:.80}, expected {expected}")
    return value or kind()


def _remedy(path: Path) -> str:
    return f"make it again with tools/test.py CHECKPOINT --out {path}"
