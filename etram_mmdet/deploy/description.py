"""What a program must know about a detector to run it: the JSON beside an exported graph."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, fields
from math import prod
from pathlib import Path

from etram_mmdet.deploy.onnx_metadata import check_self_contained, read_metadata
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import write_json
from etram_mmdet.utils.json_files import read_json
from etram_mmdet.utils.text import changes, printable

FORMAT_VERSION = 1
OPSETS = (18, 19, 20, 21)
OPSET = 20  # the first that has GELU as one operator
METADATA_KEY = "etram_mmdet"  # of the description in the metadata of an ONNX file
_EXPORT_AGAIN = "export the checkpoint again: tools/export.py CHECKPOINT OUT.onnx"


@dataclass(frozen=True)
class State:
    """One tensor of the recurrent state of a stream.

    Args:
        name: name of the graph's input; its output is called ``next_NAME``.
        shape: (C, H, W) without the batch.
        dtype: number format, by NumPy's name.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Description:
    """Everything about a detector that is not in its weights.

    Args:
        classes: class names, by label.
        palette: colour (red, green, blue) of each class.
        representation: config of the representation that makes the frames.
        window_us: length of the events in a frame, in microseconds.
        step_us: time from the end of one window to the end of the next in training, in
            microseconds; None if it is not known.
        sensor_px: width and height of the sensor; None if it is not known.
        score_thr: detections with a lower score are dropped before NMS.
        nms: ``iou_threshold``, and ``class_agnostic`` if boxes of different classes may suppress
            each other.
        nms_pre: largest number of boxes that reach NMS; -1 for no limit.
        operating_points: tuned thresholds, as tools/tune_thresholds.py writes them; None if the
            model has none.
        trained_on: range of box sizes and event rates of the training data; empty if not known.
        data: settings of the evaluated data set that decide at which times windows end.
        frame_shape: (C, H, W) of the frames that an exported graph takes; None for a checkpoint,
            which takes any size. So with all fields below.
        frame_dtype: number format of the frames, by NumPy's name.
        batch: number of streams in a call; None if any number may be given.
        states: the recurrent state, in the order of the graph's inputs.
        precision: number format of the network: float32, float16 or int8.
        opset: version of ONNX's operators.
        checkpoint: name and SHA-256 of the checkpoint.
        versions: versions of the packages that wrote the file.
    """

    classes: tuple[str, ...]
    palette: tuple[tuple[int, ...], ...]
    representation: dict
    window_us: int
    step_us: int | None
    sensor_px: tuple[int, int] | None
    score_thr: float
    nms: dict
    nms_pre: int = -1
    operating_points: dict | None = None
    trained_on: dict = field(default_factory=dict)
    data: dict = field(default_factory=dict)
    frame_shape: tuple[int, int, int] | None = None
    frame_dtype: str = "uint8"
    batch: int | None = 1
    states: tuple[State, ...] = ()
    precision: str = "float32"
    opset: int = OPSET
    checkpoint: dict = field(default_factory=dict)
    versions: dict = field(default_factory=dict)

    def summary(self) -> str:
        """Inputs and classes of an exported graph, in two lines for a person."""
        channels, height, width = self.frame_shape
        states_mb = sum(
            prod(state.shape) * (4 if state.dtype == "float32" else 2) for state in self.states
        )
        return (
            f"frames: {channels}x{height}x{width} {self.frame_dtype} of a sensor of "
            f"{self.sensor_px[0]}x{self.sensor_px[1]} pixels, {self.batch or 'any number of'} "
            f"per call; state: {len(self.states)} tensors, {states_mb / 1e6:.1f} MB per stream\n"
            f"classes: {', '.join(self.classes)}"
        )

    def as_json(self) -> dict:
        """The description as JSON holds it: lists for tuples, and the format's version."""
        return json.loads(json.dumps(dict(format_version=FORMAT_VERSION, **asdict(self))))


def sidecar_of(path: Path) -> Path:
    """The JSON file beside an exported graph.

    Args:
        path: the ONNX file.
    """
    return path.with_suffix(".json")


def check_sidecar_free(path: Path) -> None:
    """Refuse to export over a JSON file that describes no detector, such as predictions.

    Args:
        path: the ONNX file to write.

    Raises:
        InputError: the JSON file beside it holds something else.
    """
    beside = sidecar_of(path)
    if not os.path.lexists(beside):
        return
    advice = f"write {path.name} under another name, or move {beside.name} away"
    content = read_json(beside, advice) if beside.is_file() else None
    if not isinstance(content, dict) or not {"format_version", "states"} <= content.keys():
        raise InputError(f"{beside}: exists, and is no description of a detector; {advice}")


def write_sidecar(path: Path, description: Description) -> None:
    """Write the description beside an exported graph, for people and for other programs.

    Args:
        path: the ONNX file.
        description: what to write.

    Raises:
        InputError: the file cannot be written.
    """
    write_json(sidecar_of(path), description.as_json())


def read_description(path: str | Path) -> Description:
    """Read the description in the metadata of an exported graph.

    The JSON file beside it holds the same and may be missing. If it differs, somebody changed one
    of the two, and the graph is refused: nobody could say which of them is right.

    Args:
        path: the ONNX file.

    Raises:
        InputError: the file is no graph that tools/export.py wrote, or its sidecar differs.
    """
    path = Path(path)
    text = read_metadata(path).get(METADATA_KEY)
    check_self_contained(path)
    if text is None:
        raise InputError(
            f"{path}: holds no description of a detector, so tools/export.py did not write it; "
            f"{_EXPORT_AGAIN}"
        )
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: its description is damaged ({error}); {_EXPORT_AGAIN}") from None
    description = from_json(content, path)
    beside = sidecar_of(path)
    if beside.is_file():
        theirs = read_json(beside, f"delete it; {path} holds the same")
        differing = changes(content, theirs) if isinstance(theirs, dict) else ["not a dict"]
        if differing:
            raise InputError(
                f"{beside}: differs from the description inside {path} "
                f"({'; '.join(differing[:3])}); delete {beside.name} to use the one inside, or "
                f"{_EXPORT_AGAIN}"
            )
    return description


def from_json(content: object, path: Path) -> Description:
    """Check a description and build it.

    Args:
        content: what the JSON held.
        path: where it comes from, for messages.

    Raises:
        InputError: a field is missing, unknown, of another type or out of range, or two fields
            contradict each other.
    """
    # It loads numba; a command line asks this module for its opsets only.
    from etram_mmdet.deploy.description_checks import contradiction, wrong_entries

    if not isinstance(content, dict):
        raise InputError(f"{path}: its description is no dict; {_EXPORT_AGAIN}")
    version = content.get("format_version")
    if version != FORMAT_VERSION or isinstance(version, bool):
        raise InputError(
            f"{path}: its description has format_version {version!r}, expected {FORMAT_VERSION}; "
            f"{_EXPORT_AGAIN}"
        )
    given = {key: value for key, value in content.items() if key != "format_version"}
    known = {f.name for f in fields(Description)}
    wrong = sorted(known ^ given.keys()) + wrong_entries(given)
    if wrong:
        raise InputError(
            f"{path}: its description has missing, unknown or wrong entries: "
            f"{printable(', '.join(wrong)):.200}; {_EXPORT_AGAIN}"
        )
    if problem := contradiction(given):
        raise InputError(f"{path}: its description contradicts itself: {problem}; {_EXPORT_AGAIN}")
    given["states"] = [
        State(each["name"], tuple(each["shape"]), each["dtype"]) for each in given["states"]
    ]
    return Description(**{key: _as_tuple(value) for key, value in given.items()})


def _as_tuple(value: object) -> object:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value
