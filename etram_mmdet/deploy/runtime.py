"""Follow recordings and cameras with an exported detector, without PyTorch.

It needs NumPy, numba and onnxruntime (or OpenVINO). HDF5 recordings need h5py and hdf5plugin.
"""

from __future__ import annotations

from pathlib import Path

from etram_mmdet.deploy.engines import open_engine
from etram_mmdet.deploy.inferencer import Inferencer, Window
from etram_mmdet.deploy.streams import EventStream, StreamBatch
from etram_mmdet.evaluation.results import Boxes

__all__ = ["Boxes", "EventInferencer", "EventStream", "StreamBatch", "Window"]


class EventInferencer(Inferencer):
    """:class:`etram_mmdet.apis.EventInferencer` for exported detectors: same names, no PyTorch.

    Args:
        model: file of tools/export.py.
        score_thr: lowest score of a box. Default: thresholds of ``operating_points``, else those
            that were exported, else 0.3.
        operating_points: a file that ``tools/tune_thresholds.py`` wrote. Default: none.
        step_us: microseconds from the end of one window to the end of the next. Default: the step
            of the training.
        backend: ``onnx`` (onnxruntime) or ``openvino``. Default: onnx.

    Raises:
        InputError: the file does not fit, or the backend is not installed.

    Examples:
        >>> inferencer = EventInferencer("demo.onnx")
        >>> for t_us, boxes in inferencer.stream("recording.raw"):
        ...     print(t_us, boxes.names, boxes.scores)
    """

    def __init__(
        self,
        model: str | Path,
        score_thr: float | None = None,
        operating_points: str | Path | None = None,
        step_us: int | None = None,
        backend: str = "onnx",
    ) -> None:
        super().__init__(open_engine(model, backend), score_thr, operating_points, step_us)
