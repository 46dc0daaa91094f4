"""Exported graphs compute what the detector computes, for every kind of head and backbone."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from etram_mmdet.deploy.description import Description, State
from etram_mmdet.deploy.export.onnx_file import step_graph, write_model
from etram_mmdet.deploy.export.step import Step
from etram_mmdet.deploy.post_processing import to_boxes
from etram_mmdet.models.inference import Streamer, fused
from etram_mmdet.models.layers.attention import LayerScale
from etram_mmdet.utils.errors import InputError
from tests.helpers.plugins import SMALL, data_with, fit_to_data, with_head
from tests.helpers.same_boxes import Found, assert_same_boxes
from tests.test_models.test_detector import BACKBONE, build

FRAME = (4, 28, 42)  # padding to 32x48
KINDS = {
    "RVTYOLOXHead": {},
    "ABCYOLOXHead": with_head(type="ABCYOLOXHead", test_scores="mean"),
    "AuxSmallYOLOXHead": with_head(
        type="AuxSmallYOLOXHead", small_classes=SMALL, merge_at_test=True
    ),
    "dws_conv": dict(backbone=BACKBONE | dict(dws_conv=True)),
}


def stirred(**keys) -> torch.nn.Module:
    """A small detector whose attention, norms and scores count."""
    torch.manual_seed(0)
    model = build(**keys)
    fit_to_data(model, data_with(0, 0, 1, 2))
    for module in model.modules():
        if isinstance(module, LayerScale):
            module.gamma.data.uniform_(0.3, 0.6)
        elif isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
        elif isinstance(module, torch.nn.Conv2d) and module.bias is not None:
            module.bias.data.normal_(0, 0.5)
    return model.eval()


def settled(**keys) -> torch.nn.Module:
    """The same with the thresholds of the description."""
    model = stirred(**keys)
    model.bbox_head.test_cfg.update(score_thr=0.05, nms=dict(type="nms", iou_threshold=0.65))
    return model


def exported(model: torch.nn.Module):
    """A step, its graph and its description."""
    step = Step(fused(model, linear=False), torch.float32)
    frames = torch.zeros((2, *FRAME), dtype=torch.uint8)
    states = step.first_states(frames)
    rows = [tensor for state in states for tensor in state]
    description = Description(
        classes=("pedestrian", "car", "bicycle"),
        palette=((0, 0, 0),) * 3,
        representation={},
        window_us=50_000,
        step_us=50_000,
        sensor_px=(42, 28),
        score_thr=0.05,
        nms=dict(type="nms", iou_threshold=0.65),
        batch=None,
        frame_shape=FRAME,
        states=tuple(State(f"s{i}", tuple(row.shape[1:]), "float32") for i, row in enumerate(rows)),
    )
    return step, step_graph(step, (frames, *rows), description), description


def random_frames(streams: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).poisson(0.3, (streams, *FRAME)).astype(np.uint8)


@pytest.fixture(scope="module")
def plain():
    """The detector of the first kind, exported once."""
    model = settled()
    return model, *exported(model)


@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_gives_the_boxes_of_its_detector(kind, plain):
    """Over six windows with the state carried, three streams at once, after NMS, too."""
    model, step, graph, description = plain
    if KINDS[kind]:
        model = settled(**KINDS[kind])
        step, graph, description = exported(model)
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    streamer = Streamer(model)
    states = None
    rows = [np.zeros((3, *state.shape), np.float32) for state in description.states]
    assert len(rows) == 2 * len(model.backbone.stages)
    names = [each.name for each in session.get_inputs()]
    for seed in range(6):
        frames = random_frames(3, seed)
        with torch.no_grad():
            expected = step(torch.from_numpy(frames), *map(torch.from_numpy, rows))
        outputs = session.run(None, dict(zip(names, (frames, *rows), strict=True)))
        for one, other in zip(expected, outputs, strict=True):
            np.testing.assert_allclose(other, one.numpy(), atol=1e-4, rtol=1e-4)
        rows = outputs[3:]
        found, states = streamer(torch.from_numpy(frames), states)
        assert max(len(each.scores) for each in found) > 5
        for stream, theirs in enumerate(found):
            ours = to_boxes(*(output[stream] for output in outputs[:3]), description)
            columns = (theirs[name].numpy() for name in ("bboxes", "scores", "labels"))
            assert_same_boxes(Found(ours.bboxes_xyxy, ours.scores, ours.labels), Found(*columns))


def test_a_graph_holds_standard_operators_only_and_no_norms(plain):
    """BatchNorm is folded; no table of places stands for a write into a view."""
    _, _, graph, _ = plain
    kinds = {node.op_type for node in graph.graph.node}
    assert {node.domain for node in graph.graph.node} == {""} and not graph.functions
    assert not kinds & {"BatchNormalization", "SplitToSequence", "Loop", "If"}
    largest = max(
        int(np.prod(each.dims)) for each in graph.graph.initializer if each.data_type == 7
    )
    assert largest <= 64  # int64 values are shapes, not tables


def test_agnostic_nms_and_a_limit_of_boxes():
    """Two equal boxes of two classes: one is left if classes may suppress each other."""
    bboxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [20, 0, 30, 10]], np.float32)
    objectness = np.array([0.5, 1.0, 0.9], np.float32)
    class_scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]], np.float32)

    def found(**options):
        description = exported_settings(**options)
        boxes = to_boxes(bboxes, objectness, class_scores, description)
        return [
            (int(k), round(float(s), 2)) for k, s in zip(boxes.labels, boxes.scores, strict=True)
        ]

    apart = [(1, 0.8), (0, 0.63), (0, 0.45)]
    assert found() == apart
    assert found(nms=dict(iou_threshold=0.5, class_agnostic=True)) == apart[:2]
    assert found(nms_pre=1) == apart[:1]
    assert found(score_thr=0.5) == apart[:2]


def exported_settings(**options) -> Description:
    plain = dict(score_thr=0.1, nms=dict(iou_threshold=0.5))
    return Description(("a", "b"), (), {}, 50_000, None, None, **plain | options)


def test_a_head_without_boxes_of_its_own_is_refused():
    model = build(
        bbox_head=dict(type="mmdet.RTMDetHead", num_classes=3, stacked_convs=1),
        train_cfg=None,
        test_cfg=dict(nms_pre=100, score_thr=0.05, nms=dict(type="nms", iou_threshold=0.6)),
    )
    with pytest.raises(InputError, match="RTMDetHead cannot be exported: only RVTYOLOXHead"):
        Step(model, torch.float32)


def test_operators_outside_the_standard_are_refused(tmp_path):
    node = onnx.helper.make_node("Fancy", ["a"], ["b"], domain="com.example")
    graph = onnx.helper.make_graph([node], "g", [], [])
    with pytest.raises(InputError, match=r"operators outside ONNX's standard \(com.example\)"):
        write_model(onnx.helper.make_model(graph), exported_settings(), tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())
