"""Fusing for inference changes rounding only."""

from __future__ import annotations

import torch
from torch import nn

from etram_mmdet.benchmarks.model import build_model, random_clips, streaming_functions
from etram_mmdet.engine.config import load_config
from etram_mmdet.models.fused import OneDNNLinear, fused
from tests.conftest import ROOT


@torch.no_grad()
def test_fused_model_gives_the_same_maps():
    cfg = load_config(ROOT / "configs" / "baseline_tiny.py", {"model.backbone.partition_size": (1, 3)})
    model = build_model(cfg, torch.device("cpu")).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():  # else biases are zero and branches almost switched off
        parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.normal_(generator=generator)
    fast = fused(model)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fast.modules())
    gelus = [m.gelu for m in fast.backbone.modules() if isinstance(m, OneDNNLinear)]
    assert len(gelus) == 4 * 2 * 4 and sum(gelus) == 4 * 2  # stages, blocks, linear layers
    assert any(isinstance(m, nn.BatchNorm2d) for m in model.modules()), "the model itself must stay trainable"

    frames = model.data_preprocessor(random_clips(model, 1, 1, (32, 96), label_every=1))["inputs"]
    maps = []
    for network in (model, fast):
        backbone, head_maps = streaming_functions(network, compiled=False)
        states = None
        for _ in range(3):
            features, states = backbone(frames, states)
        maps.append([level for kind in head_maps(features) for level in kind])
    for plain, fast_one in zip(*maps, strict=True):
        assert plain.abs().max() > 0.5
        torch.testing.assert_close(fast_one, plain, rtol=0, atol=1e-4 * float(plain.abs().max()))


@torch.no_grad()
def test_fused_for_half_precision_holds_its_weights_in_it():
    """Under autocast it says what the plain model says there, without converting weights for every window."""
    cfg = load_config(ROOT / "configs" / "baseline_tiny.py", {"model.backbone.partition_size": (1, 3)})
    model = build_model(cfg, torch.device("cpu")).eval()
    fast = fused(model, torch.bfloat16)
    assert {m.weight.dtype for m in fast.modules() if isinstance(m, nn.Conv2d | nn.Linear)} == {torch.bfloat16}
    assert {m.weight.dtype for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)} == {torch.float32}
    frames = model.data_preprocessor(random_clips(model, 1, 1, (32, 96), label_every=1))["inputs"]
    scores = []
    for network in (model, fast):
        backbone, head_maps = streaming_functions(network, compiled=False)
        with torch.autocast("cpu", torch.bfloat16):
            _, states = backbone(frames, None)
            scores.append(head_maps(backbone(frames, states)[0])[0][0].float().sigmoid())
    torch.testing.assert_close(*scores, rtol=0.05, atol=1e-3)
