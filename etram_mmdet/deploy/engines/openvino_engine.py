"""Run an exported graph by OpenVINO."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from etram_mmdet.deploy.description import read_description
from etram_mmdet.deploy.engines.base import GraphEngine, States, cause_of, stated_threads
from etram_mmdet.deploy.graph_check import Tensor, check_graph
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.lazy import load
from etram_mmdet.utils.signal_stack import kept_signal_stack


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


def _from_openvino(tensor) -> Tensor:
    shape = tensor.partial_shape
    sides = tuple(side.get_length() if side.is_static else None for side in shape)
    try:
        dtype = tensor.element_type.to_dtype().name
    except RuntimeError:  # NumPy has no such format
        dtype = tensor.element_type.get_type_name()
    return Tensor(tuple(sorted(tensor.names)), sides, dtype)
