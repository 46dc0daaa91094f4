"""What makes a stream faster changes rounding only."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch import nn

from etram_mmdet.analysis.speed.model import build_model
from etram_mmdet.engine.config.load import load_config
from etram_mmdet.models import inference as fused_module
from etram_mmdet.models.inference import OneDNNLinear, Streamer
from etram_mmdet.testing import random_clips
from etram_mmdet.utils.errors import InputError
from tests.helpers.paths import ROOT
from tests.helpers.plugins import PLUGINS, build_plugin
from tests.test_models.test_detector import batch, build, predictions

HW = (32, 96)


@pytest.fixture
@torch.no_grad()
def model():
    cfg = load_config(
        ROOT / "configs" / "baseline_tiny.py", {"model.backbone.partition_size": (1, 3)}
    )
    cfg.model.backbone.out_stages = (1, 2)  # compiles in half the time
    torch.manual_seed(0)
    model = build_model(cfg, torch.device("cpu")).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():  # else biases are zero and branches almost switched off
        parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.normal_(generator=generator)
    return model


@torch.no_grad()
def stream(streamer, windows=3):
    """The head's maps of the last window, as one tensor per kind and level."""
    states = None
    for index in range(windows):
        (clip,) = random_clips(streamer.detector, 1, 1, HW, label_every=1, seed=index)["inputs"]
        maps, states = streamer.network(streamer.pad(clip), states)
    return [level.clone() for kind in maps for level in kind], states


def assert_close(ours, expected, share):
    for our, wanted in zip(ours, expected, strict=True):
        assert our.dtype == wanted.dtype and wanted.abs().max() > 0.5
        torch.testing.assert_close(our, wanted, rtol=0, atol=share * float(wanted.abs().max()))


def test_fused_model_gives_the_same_maps(model):
    fast = Streamer(model, fuse=True)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fast.detector.modules())
    gelus = [m.gelu for m in fast.detector.backbone.modules() if isinstance(m, OneDNNLinear)]
    assert len(gelus) == 2 * 2 * 4 and sum(gelus) == 2 * 2  # stages, blocks, linear layers
    assert any(isinstance(m, nn.BatchNorm2d) for m in model.modules()), (
        "the model itself must stay trainable"
    )
    assert_close(stream(fast)[0], stream(Streamer(model))[0], 1e-4)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_is_near_and_keeps_the_memory_in_float32(model, precision):
    model.bbox_head.register_buffer("class_counts", torch.tensor([1001.0]))
    fast = Streamer(model, precision)
    assert {p.dtype for p in fast.detector.parameters()} == {getattr(torch, precision)}
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert float(fast.detector.bbox_head.class_counts) == 1001, "no number of bfloat16"
    maps, states = stream(fast)
    assert [cell.dtype for _, cell in states] == [torch.float32] * 2
    assert_close([level.float() for level in maps], stream(Streamer(model))[0], 0.1)


def test_small_changes_add_up_in_the_memory_of_a_low_precision(model):
    """In bfloat16, 256 + 0.5 is 256, but the cell has to go on counting."""
    lstm = Streamer(model, "bfloat16").detector.backbone.stages[0].lstm
    with torch.no_grad():
        lstm.gates.weight.zero_()
        lstm.gates.bias.fill_(
            40
        )  # gates open: the cell adds tanh(40) = 1 a step and forgets nothing
        x = torch.zeros(600, 1, lstm.channels, 1, 1, dtype=torch.bfloat16)
        _, (_, cell) = lstm(x)
    assert cell.unique() == 600


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_model_gives_the_same_maps_from_one_compilation(model):
    compiled = Streamer(model, "bfloat16", compiled=True)
    stream(compiled, windows=2)
    with torch._dynamo.config.patch(error_on_recompile=True):
        maps = [level.float() for level in stream(compiled)[0]]
    assert_close(maps, [level.float() for level in stream(Streamer(model, "bfloat16"))[0]], 0.05)


def test_no_compiler_is_a_sentence(model):
    with (
        torch._inductor.config.patch({"cpp.cxx": ("/no/compiler",), "fx_graph_cache": False}),
        pytest.raises(
            InputError,
            match=r"torch.compile fails here \(No working C\+\+ compiler.*run without compiling",
        ),
    ):
        stream(Streamer(model, compiled=True))


def test_no_triton_is_a_sentence(model, monkeypatch):
    """The error is the one of a GPU; its class does not belong to those that wrap others."""

    def compiled(function, **_):
        def missing(*_):
            raise torch._inductor.exc.TritonMissing(None)

        return missing

    monkeypatch.setattr(torch, "compile", compiled)
    with pytest.raises(
        InputError, match=r"torch.compile fails here \(.*[Tt]riton.*run without compiling"
    ):
        stream(Streamer(model, compiled=True))


def test_too_many_forms_are_a_sentence(model, monkeypatch):
    """Otherwise the ninth model or size in a process would run uncompiled without a message."""
    original = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda function, **how: original(function, backend="eager", dynamic=False)
    )
    small = Streamer(model, compiled=True)
    monkeypatch.setattr(torch._dynamo.config, "recompile_limit", 2)
    small.backbone = lambda padded, states: ((padded[0],), states)
    small.maps = lambda features: features
    with pytest.raises(
        InputError, match=r"torch.compile fails here .*a few models and sizes per process"
    ):
        for width in (48, 96, 144):
            small.network(torch.zeros(1, 1, 20, 32, width), ())


def test_a_processor_without_bfloat16_gets_layers_that_work(model, monkeypatch):
    monkeypatch.setattr(fused_module, "_onednn_multiplies", lambda dtype: False)
    fast = Streamer(model, "bfloat16")
    assert not any(isinstance(m, OneDNNLinear) for m in fast.detector.modules())
    assert stream(fast)[0][0].isfinite().all()


@pytest.mark.parametrize("name", PLUGINS)
def test_every_head_says_what_evaluation_says(name):
    model = build_plugin(name)
    with torch.no_grad():  # fresh weights give many boxes one score, whose order would be chance
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    data = batch(labelled=((1, 1),) * 3)
    expected = predictions(model, data)
    streamer, states = Streamer(model), None
    for t in range(3):
        found, states = streamer(torch.stack([clip[t] for clip in data["inputs"]]), states)
        for lane, boxes in enumerate(found):
            wanted = expected[2 * t + lane].pred_instances
            assert len(boxes) == len(wanted) > 0 and torch.equal(boxes.labels, wanted.labels)
            torch.testing.assert_close(boxes.bboxes, wanted.bboxes, rtol=0, atol=1e-4)
            torch.testing.assert_close(boxes.scores, wanted.scores, rtol=0, atol=1e-6)


def test_boxes_of_other_heads_are_decoded_in_float32():
    """mmdet's own heads take the precision of their maps, in which 301 px would be 300 or 302."""
    model = build(bbox_head=dict(type="YOLOXHead", num_classes=3, feat_channels=8))
    streamer = Streamer(model, "bfloat16")
    maps = streamer.network(streamer.pad(torch.zeros(1, 4, 16, 600, dtype=torch.uint8)), None)[0]
    maps = [[torch.zeros_like(level) for level in kind] for kind in maps]
    (found,) = streamer.boxes(maps, (16, 600))
    assert found.bboxes.dtype == found.scores.dtype == torch.float32
    assert {301.0, 303.0} <= set(found.bboxes[:, 0].tolist()), (
        "cells of 2 px with boxes of 2 px around their corner"
    )


def test_boxes_may_reach_beyond_the_frame(model):
    """Evaluation uses the same boxes; they are cut only where they are drawn."""
    streamer = Streamer(model)
    (clip,) = random_clips(model, 1, 1, HW, label_every=1)["inputs"]
    (found,), _ = streamer(clip, None)
    assert len(found) > 10 and found.bboxes.min() < -1, (
        "boxes of random weights reach over every side"
    )
    assert found.bboxes[:, ::2].max() > HW[1] + 1 and found.bboxes[:, 1::2].max() > HW[0] + 1
