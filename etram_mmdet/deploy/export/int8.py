"""Store the weights and maps of an exported graph in 8 bits (post-training quantisation)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from etram_mmdet.deploy.description import Description
from etram_mmdet.deploy.engines import OnnxEngine
from etram_mmdet.deploy.export.int8_graph import (
    bend_by_tanh,
    byte_map,
    folded,
    keep_bytes,
    kept_in_floats,
)
from etram_mmdet.deploy.export.onnx_file import write_model
from etram_mmdet.deploy.inferencer import Inferencer
from etram_mmdet.events.formats import open_recording
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.lazy import load

WINDOWS = 100  # of each recording, from its start
# Convolutions and products hold nearly all of the work. The rest, and the LSTM's cells, which add
# up over a stream, stay in float32.
OPERATORS = ("Conv", "MatMul", "Gemm")


def check_recordings(recordings: Sequence[str | Path]) -> None:
    """Check before a long export that :func:`quantize` can begin.

    Args:
        recordings: recordings for :func:`quantize`.

    Raises:
        InputError: a recording cannot be read or holds no events, or a package is missing.
    """
    load("onnxruntime.quantization", "onnxruntime onnx")
    for path in recordings:
        open_recording(path).close()


def quantize(
    path: str | Path, recordings: Sequence[str | Path], out: str | Path | None = None
) -> Description:
    """Write a float32 graph in 8 bits; its convolutions and matrix products use 8 bits.

    The ranges of the maps are measured while the float32 graph follows the recordings, with its
    state carried from window to window. Weights have a range for each output channel.

    Args:
        path: file of :func:`export_detector`.
        recordings: recordings of the kind that the detector will see; the first `WINDOWS` windows
            of each are used.
        out: file to write. Default: ``path`` is replaced.

    Returns:
        The description of the new file.

    Raises:
        InputError: a recording cannot be used, or onnxruntime is missing.
    """
    path = Path(path)
    tools = load("onnxruntime.quantization", "onnxruntime onnx")
    onnx = load("onnx", "onnx")
    engine = OnnxEngine(path)
    if engine.description.precision != "float32":
        raise InputError(f"{path}: is in {engine.description.precision}, expected float32")
    with TemporaryDirectory() as folder:
        prepared = str(Path(folder) / "prepared.onnx")
        quantized = str(Path(folder) / "quantized.onnx")
        graph = folded(path, folder)
        bend_by_tanh(graph.graph)
        onnx.save(graph, prepared)
        tools.quantize_static(
            prepared,
            quantized,
            _Inputs(engine, recordings),
            quant_format=tools.QuantFormat.QDQ,
            op_types_to_quantize=list(OPERATORS),
            nodes_to_exclude=kept_in_floats(graph.graph),
            per_channel=True,
            activation_type=tools.QuantType.QUInt8,
            weight_type=tools.QuantType.QInt8,
            # Sums of products of two bytes overflow on processors without VNNI otherwise.
            reduce_range=True,
            extra_options=dict(
                ActivationSymmetric=False,
                WeightSymmetric=True,
                # Linear layers give floats to what follows, which adds or bends them.
                OpTypesToExcludeOutputQuantization=["Gemm"],
                TensorQuantOverrides=_unscaled(byte_map(graph.graph)),
            ),
        )
        model = onnx.load(quantized)
    keep_bytes(model.graph)
    description = replace(engine.description, precision="int8")
    write_model(model, description, path if out is None else Path(out))
    return description


def _unscaled(name: str | None) -> dict:
    """Settings of onnxruntime by which a tensor of bytes keeps its values; none for None."""
    if name is None:
        return {}
    return {name: [dict(scale=np.array(1, np.float32), zero_point=np.array(0, np.uint8))]}


class _Inputs:
    """Inputs of the graph for each window of some recordings, as onnxruntime asks for them."""

    def __init__(self, engine: OnnxEngine, recordings: Sequence[str | Path]) -> None:
        self._inputs = calibration_inputs(engine, recordings)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._inputs, None)


def calibration_inputs(
    engine: OnnxEngine, recordings: Sequence[str | Path]
) -> Iterator[dict[str, np.ndarray]]:
    """Inputs of a graph, by name, for the first `WINDOWS` windows of each recording.

    Args:
        engine: the float32 graph, which gives the states.
        recordings: recordings to follow.

    Raises:
        InputError: a recording cannot be read, comes from another sensor, or holds no window.
    """
    inferencer = Inferencer(engine)
    names = ["frames", *(state.name for state in engine.description.states)]
    streams = engine.description.batch or 1  # all of them see the same
    for path in recordings:
        with open_recording(path) as recording:
            inferencer.fit_sensor(recording)
            inferencer.check_sensor(recording)
            representation = inferencer.representation(recording.height, recording.width)
            states = engine.blank(streams)
            times = inferencer.times(recording)
            if not len(times):
                raise InputError(
                    f"{path}: ends before its first window of {inferencer.step_us / 1000:g} ms, so "
                    "nothing can be measured on it; name a longer recording behind --int8"
                )
            for t_us in islice(times, WINDOWS):
                window = t_us - inferencer.window_us, t_us
                frame = representation(recording.read(*window), window)
                frames = np.repeat(frame[None], streams, axis=0)
                yield dict(zip(names, (frames, *states), strict=True))
                states = tuple(engine.network(frames, states)[3:])
