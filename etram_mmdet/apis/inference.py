"""Detection in recordings and camera streams, window by window."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from etram_mmdet.deploy.engines import (
    Engine,
    is_exported,
    open_engine,
    refuse_torch_options,
)
from etram_mmdet.deploy.export.describe import describe
from etram_mmdet.deploy.inferencer import Inferencer, Window
from etram_mmdet.deploy.streams import EventStream, StreamBatch
from etram_mmdet.engine.checkpoints.opening import init_detector
from etram_mmdet.evaluation.operating_points import SCORE_THR
from etram_mmdet.evaluation.operating_points.file import load_operating_points
from etram_mmdet.evaluation.results import Boxes
from etram_mmdet.models.inference import Streamer
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.transfer import all_to_host, to_device

__all__ = [
    "SCORE_THR",
    "Boxes",
    "EventInferencer",
    "EventStream",
    "StreamBatch",
    "TorchEngine",
    "Window",
    "init_detector",
    "load_operating_points",
]

States = tuple[tuple[Tensor, ...], ...]  # of each stage: tensors (B, C, H, W)


class TorchEngine(Engine):
    """Runs a detector by PyTorch.

    Args:
        detector: detector from :func:`init_detector`.
        options: ``precision``, ``fuse``, ``compiled``, ``cuda_graphs``, as for :class:`Streamer`.
    """

    def __init__(self, detector: nn.Module, **options) -> None:
        super().__init__(describe(detector))
        self.streamer = Streamer(detector, **options)

    def __call__(self, frames: np.ndarray, states: States | None) -> tuple[list[Boxes], States]:
        there = to_device(torch.from_numpy(frames), self.streamer.device)
        found, states = self.streamer(there, states)
        columns = [each[name] for each in found for name in ("bboxes", "labels", "scores")]
        arrays = [column.numpy() for column in all_to_host(columns)]  # a GPU is read once
        rows = zip(arrays[::3], arrays[1::3], arrays[2::3], strict=True)
        return [Boxes(*row, classes=self.description.classes) for row in rows], states

    def joined(self, states: Sequence[States | None]) -> States | None:
        known = next((state for state in states if state is not None), None)
        if known is None:
            return None
        blank = tuple(tuple(torch.zeros_like(row) for row in stage) for stage in known)
        rows = [blank if state is None else state for state in states]
        return tuple(
            tuple(map(torch.cat, zip(*stages, strict=True))) for stages in zip(*rows, strict=True)
        )

    def split(self, states: States, batch: int) -> list[States]:
        return [
            tuple(tuple(rows[i : i + 1] for rows in stage) for stage in states)
            for i in range(batch)
        ]


class EventInferencer(Inferencer):
    """Detects objects in streams of events, window by window.

    Every stream has a recurrent state of its own. ``precision``, ``fuse`` and ``compiled`` make
    detection faster, see :class:`Streamer`. With their defaults, boxes and scores equal those of an
    evaluation up to rounding, if the windows are those of the evaluation (:meth:`times`).

    Args:
        model: a detector from :func:`init_detector`, its first argument (a checkpoint, a config or
            a work folder), or a file of tools/export.py.
        device: device on which the model is built, such as ``cuda:0``. Default: that of
            :func:`init_detector`. Not used if ``model`` is already a detector.
        score_thr: lowest score of a returned box, for all classes. Default: thresholds from
            ``operating_points``, else from the model's ``test_cfg``, else `SCORE_THR` (0.3).
        operating_points: file that ``tools/tune_thresholds.py`` wrote. Default: none.
        step_us: microseconds from the end of one window to the end of the next. Default: as in
            training, if the checkpoint or its config states it; else, with a warning, 50 ms or the
            length of a window if that is shorter.
        precision: number format of the network, such as ``float16``. Default: float32.
        fuse: whether norms are folded into convolutions. Default: no.
        compiled: whether ``torch.compile`` is used. Default: no.
        cuda_graphs: whether a GPU launches the network as one CUDA graph. Default: no.
        backend: program that runs the network, ``torch``, ``onnx`` or ``openvino``. Default:
            ``onnx`` (onnxruntime) for a file of tools/export.py, else ``torch``.

    Raises:
        InputError: the model cannot be built or does not fit the backend, the file of operating
            points cannot be used, or ``device`` is a checkpoint.

    Examples:
        >>> inferencer = EventInferencer("work_dirs/demo/iter_850.pth")
        >>> for t_us, boxes in inferencer.stream("recording.h5"):
        ...     print(t_us, boxes.names, boxes.scores)

    With a camera, take ``representation = inferencer.representation()`` (or
    ``inferencer.representation(height, width)`` if the sensor is not that of the training). Call
    ``image = representation(events, (t0_us, t1_us))`` and ``inferencer.detect(image)`` for every
    window. With several cameras, make a stream for each: ``camera = inferencer.new_stream()``, then
    ``camera.detect(image)``. If a recording does not state the size of its sensor, that of the
    training is assumed.
    """

    def __init__(
        self,
        model: nn.Module | str | Path,
        device: str | None = None,
        score_thr: float | None = None,
        operating_points: str | Path | None = None,
        step_us: int | None = None,
        precision: str = "float32",
        fuse: bool = False,
        compiled: bool = False,
        backend: str | None = None,
        cuda_graphs: bool = False,
    ) -> None:
        if str(device).endswith(".pth"):
            raise InputError(
                f"EventInferencer: device is {device}, a checkpoint; for a config and its weights "
                f"write EventInferencer(init_detector({str(model)!r}, {str(device)!r}))"
            )
        options = dict(precision=precision, fuse=fuse, compiled=compiled, cuda_graphs=cuda_graphs)
        if not isinstance(model, nn.Module) and is_exported(model):
            engine = open_engine(model, backend or "onnx")
            refuse_torch_options(
                model,
                dict(
                    device=device not in (None, "cpu"),
                    precision=precision != "float32",
                    fuse=fuse,
                    compiled=compiled,
                    cuda_graphs=cuda_graphs,
                ),
            )
        else:
            if backend not in (None, "torch"):
                raise InputError(
                    f"backend={backend!r} runs files of tools/export.py, not a checkpoint; export "
                    f"it first: tools/export.py CHECKPOINT OUT.onnx"
                )
            self.model = (
                model if isinstance(model, nn.Module) else init_detector(model, device=device)
            )
            engine = TorchEngine(self.model, **options)
        super().__init__(engine, score_thr, operating_points, step_us)
