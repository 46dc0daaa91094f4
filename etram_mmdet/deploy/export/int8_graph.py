"""Rewrite an ONNX graph so that more of its work runs in 8 bits, before and after quantisation."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from etram_mmdet.utils.lazy import load

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

# They change the shape or the number format of the frames, but no value.
KEEPERS = ("Pad", "Cast", "Unsqueeze", "Reshape", "Squeeze", "QuantizeLinear", "DequantizeLinear")


def folded(path: str | Path) -> ModelProto:
    """The graph with its constants computed, such as a transposed weight.

    Only products with a constant weight can be stored in 8 bits.

    Args:
        path: an ONNX file, which stays as it is.
    """
    onnx = load("onnx", "onnx")
    onnxruntime = load("onnxruntime", "onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns of each constant that it removes
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    aside = Path(path).with_suffix(".folded")
    options.optimized_model_filepath = str(aside)
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    model = onnx.load(str(aside))
    aside.unlink()
    own = [each for each in model.opset_import if not each.domain]
    del model.opset_import[:]  # onnxruntime adds its own sets, which the graph does not use
    model.opset_import.extend(own)
    # So that quantisation does not advise to do what was done here.
    model.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
    return model


def split_gemms(graph: GraphProto) -> None:
    """Write ``Gemm`` with a computed third input as ``MatMul`` and ``Add``.

    The LSTM adds the product of its hidden state to that of its input in one ``Gemm``. Runtimes
    have no kernel in 8 bits for it, but for a product alone.

    Args:
        graph: the graph to change; its constants are folded.
    """
    helper = load("onnx.helper", "onnx")
    constants = {each.name: each for each in graph.initializer}
    nodes = []
    for node in graph.node:
        if not _adds_a_map(node, constants):
            nodes.append(node)
            continue
        left, weight, added = node.input
        product = f"{node.output[0]}_product"
        weight = _upright(graph, constants[weight], _attribute(node, "transB", 0))
        nodes.append(helper.make_node("MatMul", [left, weight], [product], name=product))
        nodes.append(helper.make_node("Add", [product, added], node.output, name=node.name))
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [each for each in graph.initializer if each.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _adds_a_map(node: NodeProto, constants: dict) -> bool:
    return (
        node.op_type == "Gemm"
        and len(node.input) == 3
        and node.input[1] in constants
        and node.input[2] not in constants
        and not _attribute(node, "transA", 0)
        and _attribute(node, "alpha", 1.0) == _attribute(node, "beta", 1.0) == 1.0
    )


def _upright(graph: GraphProto, weight, is_transposed: int) -> str:
    """Name of the weight (inputs, outputs); a transposed one is turned and added to the graph."""
    if not is_transposed:
        return weight.name
    numpy_helper = load("onnx.numpy_helper", "onnx")
    name = f"{weight.name}_upright"
    turned = np.ascontiguousarray(numpy_helper.to_array(weight).T)
    graph.initializer.append(numpy_helper.from_array(turned, name))
    return name


def products_of_maps(graph: GraphProto) -> list[str]:
    """Names of the matrix products without a constant factor: those of attention.

    They are small, and rounding both factors costs more time than 8 bits save.

    Args:
        graph: a graph whose constants are folded.
    """
    constants = {each.name for each in graph.initializer}
    return [
        node.name
        for node in graph.node
        if node.op_type == "MatMul" and not constants.intersection(node.input)
    ]


def byte_map(graph: GraphProto) -> str | None:
    """Name of the float tensor that holds the frames' bytes when they reach the first layer.

    It is None if the frames are floats, or if more than one layer reads them.

    Args:
        graph: the graph before quantisation.
    """
    path = _path_from_frames(graph)
    return path[-1].output[0] if any(node.op_type == "Cast" for node in path) else None


def keep_bytes(graph: GraphProto) -> None:
    """Let the first layer read the bytes of the frames, if quantisation gave them a scale of 1.

    Between, quantisation turns them into floats and back into the same bytes, which takes time.

    Args:
        graph: the graph after quantisation, which is changed.
    """
    path = _path_from_frames(graph)
    kinds = [node.op_type for node in path]
    if kinds[-2:] != ["QuantizeLinear", "DequantizeLinear"] or "Cast" not in kinds:
        return
    cast = path[kinds.index("Cast")]
    quantize, dequantize = path[-2:]
    path[kinds.index("Cast") + 1].input[0] = cast.input[0]
    dequantize.input[0] = quantize.input[0]
    graph.node.remove(cast)
    graph.node.remove(quantize)
    del graph.value_info[:]  # it states the types of tensors that are bytes now


def _path_from_frames(graph: GraphProto) -> list[NodeProto]:
    """The nodes from frames in bytes to the first layer, where there is only one way."""
    users = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            users[name].append(node)
    path = []
    name = graph.input[0].name
    if graph.input[0].type.tensor_type.elem_type != load("onnx", "onnx").TensorProto.UINT8:
        return path
    while len(users[name]) == 1 and users[name][0].op_type in KEEPERS:
        path.append(users[name][0])
        name = path[-1].output[0]
    return path


def _attribute(node: NodeProto, name: str, default):
    helper = load("onnx.helper", "onnx")
    found = [each for each in node.attribute if each.name == name]
    return helper.get_attribute_value(found[0]) if found else default
