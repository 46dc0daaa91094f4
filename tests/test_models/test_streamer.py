"""What makes a stream faster changes rounding only."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch import nn

from etram_mmdet.benchmarks.model import build_model, random_clips
from etram_mmdet.engine.config import load_config
from etram_mmdet.events.errors import InputError
from etram_mmdet.models.fused import OneDNNLinear
from etram_mmdet.models.streamer import Streamer
from tests.conftest import ROOT

HW = (32, 96)


@pytest.fixture
@torch.no_grad()
def model():
    cfg = load_config(ROOT / "configs" / "baseline_tiny.py", {"model.backbone.partition_size": (1, 3)})
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
    assert any(isinstance(m, nn.BatchNorm2d) for m in model.modules()), "the model itself must stay trainable"
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
    """In bfloat16, 256 + 0.5 is 256; the cell has to count on."""
    lstm = Streamer(model, "bfloat16").detector.backbone.stages[0].lstm
    with torch.no_grad():
        lstm.gates.weight.zero_()
        lstm.gates.bias.fill_(40)  # gates open: the cell adds tanh(40) = 1 a step and forgets nothing
        x = torch.zeros(600, 1, lstm.channels, 1, 1, dtype=torch.bfloat16)
        _, (_, cell) = lstm(x)
    assert cell.unique() == 600


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_model_gives_the_same_maps(model):
    assert_close(stream(Streamer(model, compiled=True))[0], stream(Streamer(model))[0], 1e-4)


def test_no_compiler_is_a_sentence(model):
    with (
        torch._inductor.config.patch({"cpp.cxx": ("/no/compiler",), "fx_graph_cache": False}),
        pytest.raises(InputError, match=r"torch.compile fails here \(No working C\+\+ compiler.*run without compiling"),
    ):
        stream(Streamer(model, compiled=True))


def test_boxes_stay_within_the_frame(model):
    streamer = Streamer(model)
    (clip,) = random_clips(model, 1, 1, HW, label_every=1)["inputs"]
    (found,), _ = streamer(clip, None)
    assert len(found) > 10 and found.bboxes.min() == 0, "boxes of random weights reach every side"
    assert found.bboxes[:, ::2].max() == HW[1] and found.bboxes[:, 1::2].max() == HW[0]
