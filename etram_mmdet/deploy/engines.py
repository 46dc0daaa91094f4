"""Programs that run an exported graph: onnxruntime and OpenVINO."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from etram_mmdet.deploy.description import Description, read_description
from etram_mmdet.deploy.graph_check import Tensor, check_graph
from etram_mmdet.deploy.post_processing import to_boxes
from etram_mmdet.evaluation.results import Boxes
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.lazy import load
from etram_mmdet.utils.signal_stack import kept_signal_stack

_MOST_LETTERS = 200  # of an engine's own words in a message
States = tuple[np.ndarray, ...]  # each (B, C, H, W), one row per stream


class Engine(ABC):
    """Runs one step of a detector for several streams at once. The caller keeps the states.

    Args:
        description: of the detector.
    """

    def __init__(self, description: Description) -> None:
        self.description = description

    @abstractmethod
    def __call__(self, frames: np.ndarray, states: tuple | None) -> tuple[list[Boxes], tuple]:
        """Detect boxes in the next frame of each stream.

        Args:
            frames: (B, C, H, W) frames of the representation.
            states: the states that the call before returned. None: the streams begin.

        Returns:
            Boxes of each frame after the lowest threshold and NMS, in pixels of the frame, and the
            states after these frames.
        """

    @abstractmethod
    def joined(self, states: Sequence[tuple | None]) -> tuple | None:
        """The states of several streams as one batch. None stands for a stream that begins."""

    @abstractmethod
    def split(self, states: tuple, batch: int) -> list[tuple]:
        """The state of each of ``batch`` streams."""


class GraphEngine(Engine):
    """Runs an exported graph. A subclass for another program implements :meth:`network`."""

    @abstractmethod
    def network(self, frames: np.ndarray, states: States) -> list[np.ndarray]:
        """Outputs of the graph: boxes, objectness, class scores and the next states."""

    def __call__(self, frames: np.ndarray, states: States | None) -> tuple[list[Boxes], States]:
        self._check(frames)
        states = self.blank(len(frames)) if states is None else states
        self._check_states(len(frames), states)
        try:
            outputs = self.network(frames, states)
        except InputError:
            raise
        except Exception as error:  # every program has classes of its own
            raise InputError(
                f"{type(self).__name__} cannot run the graph ({cause_of(error)}); try another "
                "backend, or export the checkpoint again: tools/export.py CHECKPOINT OUT.onnx"
            ) from error
        if not np.isfinite(outputs[1]).all():
            raise InputError(
                "the graph returned scores that are not finite (NaN or infinity), and its state "
                "will not recover; export a checkpoint whose weights are finite, with --precision "
                f"float32 (this graph is in {self.description.precision})"
            )
        boxes = [to_boxes(*rows, self.description) for rows in zip(*outputs[:3], strict=True)]
        return boxes, tuple(outputs[3:])

    def blank(self, batch: int) -> States:
        """States of ``batch`` streams that have seen nothing yet."""
        return tuple(
            np.zeros((batch, *state.shape), state.dtype) for state in self.description.states
        )

    def joined(self, states: Sequence[States | None]) -> States:
        rows = [self.blank(1) if state is None else state for state in states]
        return tuple(np.concatenate(tensors) for tensors in zip(*rows, strict=True))

    def split(self, states: States, batch: int) -> list[States]:
        return [tuple(tensor[i : i + 1] for tensor in states) for i in range(batch)]

    def _check(self, frames: np.ndarray) -> None:
        description = self.description
        if description.batch not in (None, len(frames)):
            raise InputError(
                f"frames of {len(frames)} streams, but the graph takes {description.batch} in "
                "every call; export it with --batch free"
            )
        expected = (len(frames), *description.frame_shape)
        if frames.shape != expected or frames.dtype != description.frame_dtype:
            raise InputError(
                f"frames of {frames.dtype} {frames.shape}, expected {description.frame_dtype} "
                f"{expected} (streams, channels, height, width), for a sensor of "
                f"{'x'.join(map(str, description.sensor_px))} pixels; make them with "
                "EventInferencer.representation(), or export the checkpoint for another sensor: "
                "tools/export.py CHECKPOINT OUT.onnx --sensor WIDTH HEIGHT"
            )

    def _check_states(self, batch: int, states: States) -> None:
        expected = [((batch, *each.shape), each.dtype) for each in self.description.states]
        found = [(each.shape, each.dtype) for each in states if isinstance(each, np.ndarray)]
        if len(found) != len(states) or found != expected:
            raise InputError(
                "the states are not those that the call before returned for as many streams "
                f"({len(expected)} arrays); give these, or None to begin a stream"
            )


class OnnxEngine(GraphEngine):
    """Runs a graph by onnxruntime.

    Args:
        path: file of tools/export.py.
        threads: number of threads. Default: ``OMP_NUM_THREADS``, else all cores.

    Raises:
        InputError: onnxruntime is not installed, or the file does not fit.
    """

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        super().__init__(read_description(path))
        onnxruntime = load("onnxruntime", "onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or stated_threads()
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has a class for every cause
            raise InputError(
                f"{path}: onnxruntime {onnxruntime.__version__} cannot open it "
                f"({cause_of(error)}); an older onnxruntime may need an older --opset of "
                "tools/export.py"
            ) from error
        tensors = [
            [_from_onnxruntime(each) for each in sort]
            for sort in (self._session.get_inputs(), self._session.get_outputs())
        ]
        check_graph(path, self.description, *tensors)
        self._inputs = [each.names[0] for each in tensors[0]]

    def network(self, frames: np.ndarray, states: States) -> list[np.ndarray]:
        return self._session.run(None, dict(zip(self._inputs, (frames, *states), strict=True)))


class OpenVinoEngine(GraphEngine):
    """Runs a graph by OpenVINO, compiled once for each number of streams that is asked for.

    OpenVINO 2026.4 cannot compile the grid attention for a free number of streams, and a fixed one
    is faster.

    Args:
        path: file of tools/export.py.
        threads: number of threads. Default: ``OMP_NUM_THREADS``, else OpenVINO's own choice.

    Raises:
        InputError: OpenVINO is not installed, or the file does not fit.
    """

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        super().__init__(read_description(path))
        self._openvino = load("openvino", "openvino")
        self._path = path
        self._threads = threads or stated_threads()
        self._requests = {}  # by number of streams
        self._compiled(self.description.batch or 1)

    def network(self, frames: np.ndarray, states: States) -> list[np.ndarray]:
        found = self._compiled(len(frames)).infer([frames, *states], share_inputs=True)
        return [found[number].copy() for number in range(len(found))]

    def _compiled(self, batch: int):
        if batch in self._requests:
            return self._requests[batch]
        openvino = self._openvino
        settings = {"PERFORMANCE_HINT": "LATENCY"}
        if self.description.precision != "int8":
            # Without this hint OpenVINO computes in bfloat16 where the processor can. Beside 8 bits
            # that loses nothing, and saves a fifth of the time.
            settings["INFERENCE_PRECISION_HINT"] = "f32"
        settings |= {"INFERENCE_NUM_THREADS": self._threads} if self._threads else {}
        try:
            with kept_signal_stack():
                core = openvino.Core()
                model = core.read_model(str(self._path))
                tensors = [[_from_openvino(t) for t in s] for s in (model.inputs, model.outputs)]
                check_graph(self._path, self.description, *tensors)
                model.reshape(
                    {each: [batch, *list(each.partial_shape)[1:]] for each in model.inputs}
                )
                compiled = core.compile_model(model, "CPU", settings)
                self._requests[batch] = compiled.create_infer_request()
        except RuntimeError as error:
            raise InputError(
                f"{self._path}: OpenVINO {openvino.__version__} cannot run it "
                f"({cause_of(error)}); try another --opset of tools/export.py, or backend onnx"
            ) from error
        return self._requests[batch]


def cause_of(error: Exception) -> str:
    """The line of an engine's error that says most, cut to `_MOST_LETTERS`.

    OpenVINO puts places in its own code before it.

    Args:
        error: what the engine raised.
    """
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.startswith("Exception from ")]
    return (said or [type(error).__name__])[0][:_MOST_LETTERS]


def stated_threads() -> int:
    """Number of threads that ``OMP_NUM_THREADS`` states; 0 if it states none.

    OpenMP allows a list, one number for each level of nesting; the first counts. What it would
    ignore is ignored here, too. More threads than cores would wait for each other.
    """
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(int(first), os.cpu_count() or 1) if first.isdecimal() else 0


def _from_onnxruntime(tensor) -> Tensor:
    sides = tuple(side if isinstance(side, int) else None for side in tensor.shape)
    kind = tensor.type.removeprefix("tensor(").removesuffix(")")
    return Tensor((tensor.name,), sides, {"float": "float32"}.get(kind, kind))


def _from_openvino(tensor) -> Tensor:
    shape = tensor.partial_shape
    sides = tuple(side.get_length() if side.is_static else None for side in shape)
    try:
        dtype = tensor.element_type.to_dtype().name
    except RuntimeError:  # NumPy has no such format
        dtype = tensor.element_type.get_type_name()
    return Tensor(tuple(sorted(tensor.names)), sides, dtype)


# A further program is one class here.
ENGINES: dict[str, type[Engine]] = {"onnx": OnnxEngine, "openvino": OpenVinoEngine}


def open_engine(path: str | Path, backend: str = "onnx") -> Engine:
    """Open an exported graph.

    Args:
        path: file of tools/export.py.
        backend: one of `ENGINES`. Default: onnx.

    Raises:
        InputError: the backend is unknown or not installed, or the file does not fit.
    """
    if not isinstance(backend, str) or backend not in ENGINES:
        raise InputError(f"backend={backend!r}, expected one of {', '.join(ENGINES)}")
    return ENGINES[backend](path)


def is_exported(path: str | Path) -> bool:
    """Whether a path names a file of tools/export.py.

    Args:
        path: the path.
    """
    return str(path).lower().endswith(".onnx")


def refuse_torch_options(path: str | Path, given: dict[str, object]) -> None:
    """Refuse options that an exported detector cannot follow: they were chosen at the export.

    Args:
        path: file of tools/export.py.
        given: by the name of each option, something that is true if it was given.

    Raises:
        InputError: an option was given.
    """
    wrong = [name for name, is_given in given.items() if is_given]
    if wrong:
        raise InputError(
            f"{path}: is an exported detector, so {', '.join(wrong)} cannot be chosen any more; "
            "leave it out, or name the checkpoint"
        )
