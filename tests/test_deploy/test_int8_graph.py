"""Graphs are rewritten so that their work runs in 8 bits, and compute the same."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from etram_mmdet.deploy.export.int8_graph import (
    byte_map,
    folded,
    keep_bytes,
    products_of_maps,
    split_gemms,
)

RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(size=(4, 3)).astype(np.float32)


def model_of(nodes, inputs, outputs, constants=()):
    def values(shapes):
        return [helper.make_tensor_value_info(n, kind, shape) for n, kind, shape in shapes]

    initializers = [numpy_helper.from_array(np.asarray(v), n) for n, v in constants]
    graph = helper.make_graph(nodes, "g", values(inputs), values(outputs), initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def run(model, **inputs):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, inputs)[0]


@pytest.mark.parametrize("turned", [0, 1])
def test_a_sum_of_products_is_split(turned, tmp_path):
    """As in an LSTM: the second product is added to the first; its weight is a turned constant."""
    nodes = [
        helper.make_node("Identity", ["stored"], ["weight"]),
        helper.make_node("Gemm", ["x", "weight", "other"], ["y"], name="lstm", transB=turned),
    ]
    stored = WEIGHT.T.copy() if turned else WEIGHT
    model = model_of(
        nodes,
        [("x", TensorProto.FLOAT, (2, 4)), ("other", TensorProto.FLOAT, (2, 3))],
        [("y", TensorProto.FLOAT, (2, 3))],
        [("stored", stored)],
    )
    onnx.save(model, tmp_path / "g.onnx")
    split = folded(tmp_path / "g.onnx")
    split_gemms(split.graph)
    onnx.checker.check_model(split)
    assert [node.op_type for node in split.graph.node] == ["MatMul", "Add"]
    assert len(split.graph.initializer) == 1
    x, other = RNG.normal(size=(2, 4)), RNG.normal(size=(2, 3))
    inputs = dict(x=x.astype(np.float32), other=other.astype(np.float32))
    np.testing.assert_allclose(run(split, **inputs), x @ WEIGHT + other, rtol=1e-5, atol=1e-6)
    assert [each.name for each in (tmp_path).iterdir()] == ["g.onnx"]


def test_scaled_sums_and_constant_sums_stay():
    nodes = [
        helper.make_node("Gemm", ["x", "weight", "other"], ["a"], alpha=2.0),
        helper.make_node("Gemm", ["x", "weight", "bias"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    model = model_of(
        nodes,
        [("x", TensorProto.FLOAT, (2, 4)), ("other", TensorProto.FLOAT, (2, 3))],
        [("y", TensorProto.FLOAT, (2, 3))],
        [("weight", WEIGHT), ("bias", np.zeros(3, np.float32))],
    )
    split_gemms(model.graph)
    assert [node.op_type for node in model.graph.node] == ["Gemm", "Gemm", "Add"]


def test_products_of_two_maps_are_named():
    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["a"], name="linear"),
        helper.make_node("MatMul", ["a", "other"], ["y"], name="attention"),
    ]
    model = model_of(
        nodes,
        [("x", TensorProto.FLOAT, (2, 4)), ("other", TensorProto.FLOAT, (3, 2))],
        [("y", TensorProto.FLOAT, (2, 2))],
        [("weight", WEIGHT)],
    )
    assert products_of_maps(model.graph) == ["attention"]


def frames_model(kind, scale=1.0, quantized=True):
    """Frames to floats, rounded as quantisation does, to a convolution."""
    nodes = [helper.make_node("Cast", ["frames"], ["cast"], to=TensorProto.FLOAT)]
    nodes.append(helper.make_node("Unsqueeze", ["cast", "axis"], ["map"]))
    if quantized:
        nodes.append(helper.make_node("QuantizeLinear", ["map", "scale", "zero"], ["q"]))
        nodes.append(helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["dq"]))
    last = nodes[-1].output[0]
    nodes.append(helper.make_node("Conv", [last, "kernel"], ["y"]))
    return model_of(
        nodes,
        [("frames", kind, (1, 5, 5))],
        [("y", TensorProto.FLOAT, (1, 2, 3, 3))],
        [
            ("axis", np.array([1])),
            ("scale", np.float32(scale)),
            ("zero", np.uint8(0)),
            ("kernel", RNG.normal(size=(2, 1, 3, 3)).astype(np.float32)),
        ],
    )


def test_bytes_stay_bytes():
    model = frames_model(TensorProto.UINT8)
    frames = RNG.integers(0, 256, (1, 5, 5)).astype(np.uint8)
    before = run(model, frames=frames)
    keep_bytes(model.graph)
    onnx.checker.check_model(model)
    kinds = [node.op_type for node in model.graph.node]
    assert kinds == ["Unsqueeze", "DequantizeLinear", "Conv"]
    np.testing.assert_array_equal(run(model, frames=frames), before)


def test_frames_of_floats_are_rounded_as_before():
    model = frames_model(TensorProto.FLOAT, scale=0.1)
    count = len(model.graph.node)
    keep_bytes(model.graph)
    assert len(model.graph.node) == count
    assert byte_map(frames_model(TensorProto.FLOAT, quantized=False).graph) is None
    assert byte_map(frames_model(TensorProto.UINT8, quantized=False).graph) == "map"
