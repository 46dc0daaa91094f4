"""An exported detector of a few kilobytes: one fixed box, and a state that stays as it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from etram_mmdet.deploy.description import Description, State
from etram_mmdet.deploy.export.onnx_file import write_model
from tests.helpers.raw import HEIGHT, WIDTH

DESCRIPTION = Description(
    classes=("car", "bus"),
    palette=((255, 0, 0), (0, 255, 0)),
    representation=dict(type="StackedHistogram", bins=1),
    window_us=50_000,
    step_us=50_000,
    sensor_px=(WIDTH, HEIGHT),
    score_thr=0.001,
    nms=dict(type="nms", iou_threshold=0.45),
    frame_shape=(2, HEIGHT, WIDTH),
    states=(State("hidden1", (3, 4, 5), "float32"), State("cell1", (6, 4, 5), "float32")),
)
OUTPUTS = dict(
    boxes=np.array([[[4, 4, 20, 16]]], np.float32),
    objectness=np.array([[0.9]], np.float32),
    class_scores=np.array([[[0.8, 0.2]]], np.float32),
)


def tiny_model(description: Description = DESCRIPTION, **outputs: np.ndarray) -> ModelProto:
    """The graph of a description; ``outputs`` replace arrays of `OUTPUTS`."""
    values = OUTPUTS | outputs
    floats = [numpy_helper.from_array(value, f"{name}_value") for name, value in values.items()]
    nodes = [helper.make_node("Identity", [f"{name}_value"], [name]) for name in values]
    frames = helper.make_tensor_value_info(
        "frames", TensorProto.UINT8, [1, *description.frame_shape]
    )
    states = [
        [
            helper.make_tensor_value_info(prefix + each.name, TensorProto.FLOAT, [1, *each.shape])
            for each in description.states
        ]
        for prefix in ("", "next_")
    ]
    nodes += [
        helper.make_node("Identity", [each.name], [f"next_{each.name}"])
        for each in description.states
    ]
    found = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape)
        for name, value in values.items()
    ]
    graph = helper.make_graph(nodes, "g", [frames, *states[0]], [*found, *states[1]], floats)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def write_tiny(path: Path, model: ModelProto | None = None, **changes: object) -> Path:
    """Write the graph with a description in which some fields are others."""
    description = replace(DESCRIPTION, **changes)
    write_model(tiny_model() if model is None else model, description, path)
    return path
