"""What a detector said about every evaluated frame, beside the truth, in one JSON file.

    {"classes": [...], "test_cfg": {...}, "frames": [{"recording": ..., "t_us": ..., "scale": 2, "hw": [64, 96],
     "bboxes": [[x1, y1, x2, y2], ...], "scores": [...], "class_scores": [...], "labels": [...],
     "gt_bboxes": [...], "gt_labels": [...]}, ...]}

Boxes are in network pixels, ``scale`` is sensor pixels per network pixel. ``hw``, ``scale``, ``class_scores`` and
``test_cfg`` may be missing, and the truth too where a data set gives it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from etram_mmdet.evaluation.results import Frame, check_frame, place_of
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import atomic_write, check_is_file

if TYPE_CHECKING:
    from etram_mmdet.datasets.etram_dataset import ETraMDataset

_TRUTH = ("gt_bboxes", "gt_labels")
_OUTSIDE_PX = 1.0  # more than rounding
_LARGEST = 2**53  # up to which every whole number is a float64


class Predictions(NamedTuple):
    """``frames`` sorted by (recording, t_us); ``test_cfg`` of the model that made them, where the file says it."""

    classes: tuple[str, ...]
    frames: list[Frame]
    test_cfg: dict


def save_predictions(path: Path, frames: Iterable[Frame], classes: Sequence[str], test_cfg: dict) -> None:
    """Raises ``InputError`` where ``path`` cannot be written."""
    content = dict(classes=list(classes), test_cfg=test_cfg, frames=[_as_dict(frame) for frame in frames])
    with atomic_write(path) as aside:
        aside.write_text(json.dumps(content))


def load_predictions(path: Path, with_truth: bool = True) -> Predictions:
    """Read and check a file; without ``with_truth`` boxes of the ground truth may be missing from it.

    Raises:
        InputError: for what is no such file, holds no frame, the same frame twice, lists of different lengths, values
            that are not finite, unknown labels or boxes inside out or outside the frame; with the place.
    """
    check_is_file(path)
    try:
        content = json.loads(path.read_text())
        classes, test_cfg = _names(content["classes"]), dict(content.get("test_cfg") or {})
        frames = [_as_frame(frame, with_truth) for frame in content["frames"]]
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; tools/test.py CHECKPOINT --out {path} makes one") from error
    except KeyError as error:
        raise InputError(f"{path}: a file of predictions without {error}; {_remedy(path)}") from error
    except (OSError, ValueError, TypeError, AttributeError, OverflowError, IndexError) as error:
        raise InputError(f"{path}: not a file of predictions ({error}); {_remedy(path)}") from error
    if not frames:
        raise InputError(f"{path}: holds no frame, so there is nothing to measure; {_remedy(path)}")
    times = Counter(frame.key for frame in frames)
    twice = [key for key, number in times.items() if number > 1]
    if twice:
        raise InputError(f"{path}: {len(twice)} frames stand twice in it, such as {twice[0]}; {_remedy(path)}")
    try:
        for frame in frames:
            _check(frame, len(classes))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return Predictions(classes, sorted(frames, key=lambda frame: frame.key), test_cfg)


def truth_of(dataset: ETraMDataset) -> dict[tuple[str, int], Frame]:
    """Every labelled frame of a data set by key, without detections."""
    nothing = np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64)
    frames = (
        Frame(s.name, int(s.t_us[i]), *s.boxes_of(i), *nothing, scale=s.scale, class_scores=nothing[1], hw=s.hw)
        for s in dataset.sequences
        for i in s.labelled
    )
    return {frame.key: frame for frame in frames}


def with_truth_of(frames: Sequence[Frame], truth: dict[tuple[str, int], Frame], path: Path) -> list[Frame]:
    """The frames of ``truth`` (by key) with the detections of ``frames``.

    Raises:
        InputError: naming frames that the data do not have, or that have no predictions.
    """
    found = {frame.key: frame for frame in frames}
    for keys, what in (
        (found.keys() - truth.keys(), "frames that the evaluated data do not have, predictions of other recordings"),
        (truth.keys() - found.keys(), "labelled frames of the evaluated data missing"),
    ):
        if keys:
            first = min(keys)
            raise InputError(f"{path}: {len(keys)} {what}; the first is {first[0]!r} at t_us={first[1]}")
    kept = ("bboxes_xyxy", "scores", "labels", "class_scores")
    joined = [frame._replace(**{name: getattr(found[key], name) for name in kept}) for key, frame in truth.items()]
    for frame in joined:
        said = found[frame.key].hw
        if said is not None and said != tuple(frame.hw):
            raise InputError(
                f"{path}: {place_of(frame)} has boxes in a frame of {said[1]}x{said[0]} pixels, but the network's has "
                f"{frame.hw[1]}x{frame.hw[0]}; scale the boxes, or leave out hw if they are in these"
            )
        _check_inside(frame, "bboxes_xyxy", path)
    return joined


def _as_dict(frame: Frame) -> dict:
    return dict(
        recording=frame.recording,
        t_us=frame.t_us,
        scale=frame.scale,
        hw=frame.hw,
        bboxes=[_short(box) for box in frame.bboxes_xyxy],
        scores=_short(frame.scores),
        class_scores=None if frame.class_scores is None else _short(frame.class_scores),
        labels=frame.labels.tolist(),
        gt_bboxes=[_short(box) for box in frame.gt_bboxes_xyxy],
        gt_labels=frame.gt_labels.tolist(),
    )


def _short(values: np.ndarray) -> list[float]:
    """Nine digits tell any two float32 apart; json would write seventeen."""
    return [float(f"{value:.9g}") for value in values.tolist()]


def _names(classes: object) -> tuple[str, ...]:
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ValueError(f"classes: {classes!r}, expected a list of names")
    return tuple(classes)


def _as_frame(saved: dict, with_truth: bool) -> Frame:
    truth = {key: saved[key] if with_truth else saved.get(key, []) for key in _TRUTH}
    hw, scores = saved.get("hw"), np.array(saved["scores"], np.float32).reshape(-1)
    class_scores = saved.get("class_scores", [] if not len(scores) else None)
    return Frame(
        recording=str(saved["recording"]),
        t_us=int(_whole(saved["t_us"])),
        gt_bboxes_xyxy=np.array(truth["gt_bboxes"], np.float32).reshape(-1, 4),
        gt_labels=_whole(truth["gt_labels"]).reshape(-1),
        bboxes_xyxy=np.array(saved["bboxes"], np.float32).reshape(-1, 4),
        scores=scores,
        labels=_whole(saved["labels"]).reshape(-1),
        scale=int(_positive(saved.get("scale") or 1)),
        class_scores=None if class_scores is None else np.array(class_scores, np.float32).reshape(-1),
        hw=None if hw is None else tuple(_positive(hw).reshape(2).tolist()),
    )


def _whole(values: object) -> np.ndarray:
    array = np.array(values, np.float64)
    if not (np.isfinite(array) & (array == np.round(array)) & (np.abs(array) < _LARGEST)).all():
        raise ValueError(f"{values!r}, expected whole numbers")
    return array.astype(np.int64)


def _positive(values: object) -> np.ndarray:
    array = _whole(values)
    if (array < 1).any():
        raise ValueError(f"{values!r}, expected numbers of at least 1")
    return array


def _check(frame: Frame, num_classes: int) -> None:
    class_scores = frame.scores if frame.class_scores is None else frame.class_scores
    counts = {len(frame.bboxes_xyxy), len(frame.scores), len(frame.labels), len(class_scores)}
    if len(counts) > 1 or len(frame.gt_bboxes_xyxy) != len(frame.gt_labels):
        raise InputError(f"{place_of(frame)} has other numbers of boxes than of scores or labels")
    check_frame(frame, num_classes)
    for name in ("bboxes_xyxy", "gt_bboxes_xyxy"):
        boxes = getattr(frame, name)
        inside_out = (boxes[:, 2:] < boxes[:, :2]).any(1)
        if inside_out.any():
            raise InputError(
                f"{place_of(frame)}: {name} holds {inside_out.sum()} boxes that end before they begin, such as "
                f"{boxes[inside_out][0].tolist()}; expected x1 y1 x2 y2, not x y width height"
            )
        if frame.hw is not None:
            _check_inside(frame, name)


def _check_inside(frame: Frame, name: str, path: Path | str = "") -> None:
    boxes, limit = getattr(frame, name), np.array([frame.hw[1], frame.hw[0]] * 2, np.float32) + _OUTSIDE_PX
    outside = ((boxes < -_OUTSIDE_PX) | (boxes > limit)).any(1)
    if outside.any():
        raise InputError(
            f"{path}{': ' if path else ''}{place_of(frame)}: {name} holds {outside.sum()} boxes outside the frame of "
            f"{frame.hw[1]}x{frame.hw[0]} network pixels, such as {boxes[outside][0].tolist()}; expected x1 y1 x2 y2 "
            "in these pixels"
        )


def _remedy(path: Path) -> str:
    return f"make it anew with tools/test.py CHECKPOINT --out {path}"
