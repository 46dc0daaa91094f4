"""Graphs are rewritten so that their work runs in 8 bits, and compute the same."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from etram_mmdet.deploy.export.int8_graph import (
    bend_by_tanh,
    byte_map,
    folded,
    keep_bytes,
    kept_in_floats,
)

RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(size=(4, 3)).astype(np.float32)

SHAPES = dict(x=(2, 4), other=(3, 2))


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


def test_products_with_maps_stay_in_floats(tmp_path):
    """Linear layers have constant weights; attention and the LSTM's sum of products have not."""
    nodes = [
        helper.make_node("Transpose", ["stored"], ["weight"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "weight"], ["a"], name="linear"),
        helper.make_node("Gemm", ["x", "weight", "a"], ["b"], name="lstm"),
        helper.make_node("MatMul", ["b", "other"], ["y"], name="attention"),
    ]
    model = model_of(
        nodes,
        [("x", TensorProto.FLOAT, (2, 4)), ("other", TensorProto.FLOAT, (3, 2))],
        [("y", TensorProto.FLOAT, (2, 2))],
        [("stored", WEIGHT.T.copy())],
    )
    onnx.save(model, tmp_path / "g.onnx")
    whole = folded(tmp_path / "g.onnx", tmp_path)
    onnx.checker.check_model(whole)
    names = kept_in_floats(whole.graph)
    assert len(names) == 2 and names[1] == "attention" and names[0].startswith("lstm")
    assert [each.domain for each in whole.opset_import] == [""]
    inputs = {name: RNG.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    np.testing.assert_allclose(run(whole, **inputs), run(model, **inputs), rtol=1e-5, atol=1e-6)


def test_gelu_by_tanh_is_within_half_a_thousandth():
    model = model_of(
        [helper.make_node("Gelu", ["x"], ["y"], approximate="none")],
        [("x", TensorProto.FLOAT, (1000,))],
        [("y", TensorProto.FLOAT, (1000,))],
    )
    x = np.linspace(-6, 6, 1000, dtype=np.float32)
    exact = run(model, x=x)
    bend_by_tanh(model.graph)
    assert 0 < np.abs(run(model, x=x) - exact).max() < 5e-4


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
