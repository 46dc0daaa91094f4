"""Write one step of a detector as an ONNX file."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from etram_mmdet.deploy.description import (
    METADATA_KEY,
    OPSET,
    Description,
    State,
    check_sidecar_free,
    from_json,
    sidecar_of,
    write_sidecar,
)
from etram_mmdet.deploy.description_checks import is_nms
from etram_mmdet.deploy.export.describe import describe
from etram_mmdet.deploy.export.step import Step
from etram_mmdet.deploy.onnx_metadata import sealed
from etram_mmdet.engine.checkpoints.folder import checkpoint_file
from etram_mmdet.engine.checkpoints.release import digest
from etram_mmdet.events.representations import build_representation
from etram_mmdet.models.inference import fused
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import atomic_write
from etram_mmdet.utils.locks import changing

if TYPE_CHECKING:
    from onnx import ModelProto

OUTPUTS = ("boxes", "objectness", "class_scores")
MOST_STREAMS = 1024  # in one call
_VERSIONED_PACKAGES = ("etram_mmdet", "torch", "onnx", "onnxscript", "numpy")


def export_detector(
    detector: nn.Module,
    path: str | Path,
    *,
    sensor_px: tuple[int, int] | None = None,
    opset: int = OPSET,
    precision: str = "float32",
    batch: int | None = 1,
    checkpoint: str | Path | None = None,
) -> Description:
    """Write one step of a detector to an ONNX file, and its description beside it.

    The graph takes ``frames`` (batch, C, H, W), as the representation makes them, and one tensor
    for each state, zeros at the start of a stream. It returns ``boxes`` (batch, P, 4) in pixels of
    the frame, ``objectness`` (batch, P), ``class_scores`` (batch, P, K) and the states after the
    frame. Thresholds and NMS are left to the runtime, which finds their settings in the
    description. BatchNorm is folded into the convolutions. Heads with more than one classifier
    export the branch that tests use.

    Args:
        detector: from :func:`init_detector`, on the CPU.
        path: file to write; its suffix is ``.onnx``.
        sensor_px: width and height of the sensor. Default: that of the training.
        opset: version of ONNX's operators, one of `OPSETS`. Default: `OPSET`.
        precision: ``float32`` or ``float16``; the cells of the LSTM stay in float32. Default:
            float32.
        batch: number of streams in a call; None lets every call choose. Default: 1.
        checkpoint: file whose name and SHA-256 the description states. Default: none.

    Returns:
        The description.

    Raises:
        InputError: the head or the kind of NMS cannot be exported, the sensor's size is not known,
            ``batch`` is out of range, a package is missing, or the graph needs an operator that is
            not in the standard.
    """
    description = describe(detector)
    _check_choices(description, batch)
    sensor_px = sensor_px or description.sensor_px
    if sensor_px is None:
        raise InputError(
            "the checkpoint does not say how large its sensor is, and a graph has a fixed size; "
            "state it: --sensor WIDTH HEIGHT"
        )
    representation = build_representation(description.representation, sensor_px[1], sensor_px[0])
    dtype = getattr(torch, precision)
    step = Step(fused(detector, dtype, linear=False), dtype)
    shape = (batch or 2, *representation.shape)  # a free batch is traced with more than one
    frames = torch.from_numpy(np.zeros(shape, representation.dtype))
    states = step.first_states(frames)
    description = replace(
        description,
        sensor_px=tuple(sensor_px),
        frame_shape=representation.shape,
        frame_dtype=np.dtype(representation.dtype).name,
        batch=batch,
        states=_described_states(states),
        precision=precision,
        opset=opset,
        checkpoint=_identity(checkpoint),
        versions=installed(_VERSIONED_PACKAGES),
    )
    rows = tuple(tensor for state in states for tensor in state)
    model = step_graph(step, (frames, *rows), description)
    write_model(model, description, Path(path))
    return description


def _check_choices(description: Description, batch: int | None) -> None:
    if batch is not None and not 1 <= batch <= MOST_STREAMS:
        raise InputError(
            f"a batch of {batch} streams, expected 1 to {MOST_STREAMS}, or free: --batch free"
        )
    if not is_nms(description.nms):
        raise InputError(
            f"test_cfg.nms={description.nms or None} cannot be exported: the runtime knows the "
            "type 'nms' with iou_threshold and class_agnostic only, so boxes would differ; put "
            "dict(type='nms', iou_threshold=0.45) into a config and name that before the checkpoint"
        )


def write_model(model: ModelProto, description: Description, path: Path) -> None:
    """Write a graph with its description, and the description beside it.

    Args:
        model: the graph.
        description: what to write into its metadata.
        path: the ONNX file.

    Raises:
        InputError: the graph needs operators outside the standard, the description could not be
            read again, or a file cannot be written.
    """
    import onnx

    foreign = {node.domain for node in model.graph.node if node.domain not in ("", "ai.onnx")}
    if foreign or len(model.functions):
        raise InputError(
            f"the graph needs operators outside ONNX's standard ({', '.join(sorted(foreign))}), so "
            "few runtimes could run it; replace the layer that brings them"
        )
    content = description.as_json()
    from_json(content, path)  # what could not be read is not written
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(content)})
    model.producer_name = "etram_mmdet"
    model.producer_version = description.versions.get("etram_mmdet", "")
    onnx.checker.check_model(model)
    data = sealed(model.SerializeToString())
    beside = sidecar_of(path)
    check_sidecar_free(path)
    with changing(path):  # so that two exports at once leave a pair of files
        with atomic_write(path, len(data)) as aside:
            aside.write_bytes(data)
            # At no moment does a file lie beside the JSON of another, also if this is killed.
            beside.unlink(missing_ok=True)
        write_sidecar(path, description)


def installed(packages: tuple[str, ...]) -> dict[str, str]:
    """Versions of those packages that are installed.

    Args:
        packages: their names.
    """
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _identity(checkpoint: str | Path | None) -> dict:
    if checkpoint is None:
        return {}
    path = checkpoint_file(checkpoint)
    return dict(name=path.name, sha256=digest(path))


def _described_states(states: tuple[tuple[torch.Tensor, ...], ...]) -> tuple[State, ...]:
    return tuple(
        State(f"{part}{stage}", tuple(tensor.shape[1:]), str(tensor.dtype).removeprefix("torch."))
        for stage, state in enumerate(states, start=1)
        for part, tensor in zip(("hidden", "cell"), state, strict=True)
    )


def step_graph(step: Step, inputs: tuple, description: Description) -> ModelProto:
    """The ONNX graph of one step.

    Args:
        step: the function.
        inputs: frames (B, C, H, W) and the states before them, which give the sizes.
        description: gives the names of the states, ``batch`` and ``opset``.

    Raises:
        InputError: a package is missing.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401  torch asks for them in the middle of the export
    except ImportError as error:
        raise InputError(
            f"{error.name} is missing, which writes ONNX files; pip install onnx onnxscript"
        ) from error
    names = [state.name for state in description.states]
    shapes = None
    if description.batch is None:
        streams = torch.export.Dim("batch", min=1, max=MOST_STREAMS)
        shapes = ({0: streams}, tuple({0: streams} for _ in names))
    with _quiet(), torch.no_grad():
        step(*inputs)  # what is wrong with the detector is said here, not by the exporter
        program = torch.onnx.export(
            step.eval(),
            inputs,
            dynamo=True,
            opset_version=description.opset,
            input_names=["frames", *names],
            output_names=[*OUTPUTS, *(f"next_{name}" for name in names)],
            dynamic_shapes=shapes,
            verbose=False,
        )
    model = program.model_proto
    for node in model.graph.node:  # places in our code are of no use to others
        del node.metadata_props[:]
        node.doc_string = ""
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep words of torch's exporter about its own code from the console."""
    loud = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loud]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loud:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loud, levels, strict=True):
                logger.setLevel(level)
