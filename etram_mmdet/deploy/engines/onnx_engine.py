"""Run an exported graph by onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from etram_mmdet.deploy.description import read_description
from etram_mmdet.deploy.engines.base import GraphEngine, States, cause_of, stated_threads
from etram_mmdet.deploy.graph_check import Tensor, check_graph
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.lazy import load


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


def _from_onnxruntime(tensor) -> Tensor:
    sides = tuple(side if isinstance(side, int) else None for side in tensor.shape)
    kind = tensor.type.removeprefix("tensor(").removesuffix(")")
    return Tensor((tensor.name,), sides, {"float": "float32"}.get(kind, kind))
