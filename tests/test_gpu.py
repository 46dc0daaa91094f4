"""Tests that need a GPU: `pytest -m gpu`.

They compare numbers with the CPU, and try mixed precision, CUDA graphs and memory.
"""

from __future__ import annotations

import copy
import math
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import build_optim_wrapper

from etram_mmdet.analysis.speed import cuda
from etram_mmdet.analysis.speed.gpu_check.same_numbers import last_maps
from etram_mmdet.analysis.speed.model import build_model
from etram_mmdet.engine.config.load import load_config
from etram_mmdet.engine.runner.memory import advice_when_out_of_memory
from etram_mmdet.models.inference import Streamer
from etram_mmdet.testing import random_clips
from etram_mmdet.utils.errors import InputError
from tests.helpers.paths import ROOT

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]

HW = (64, 96)
SMALL = {"model.backbone.partition_size": (1, 3)}
CUDA = torch.device("cuda")


def build(name="baseline_tiny", options=SMALL):
    cfg = load_config(ROOT / "configs" / f"{name}.py", options)
    torch.manual_seed(0)
    return cfg, build_model(cfg, CUDA)


@pytest.fixture(autouse=True)
def exact_products():
    with cuda.exact_products():
        yield


def stream(model, streams=1, **how):
    return last_maps(Streamer(model, **how), HW, 6, streams)


def assert_near(ours, expected, rtol=1e-3, atol=1e-4):
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=rtol, atol=atol)


def test_cuda_equals_cpu():
    _, model = build()
    assert_near(stream(model, streams=3), stream(copy.deepcopy(model).cpu(), streams=3))


def test_fused_equals_plain():
    _, model = build()
    assert_near(stream(model, fuse=True), stream(model))


def test_cuda_graphs_equal_eager():
    _, model = build()
    assert_near(stream(model, compiled=True), stream(model))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_low_precision_is_near(precision):
    _, model = build()
    expected = stream(model)
    for compiled in (False, True):
        assert_near(
            stream(model, precision=precision, compiled=compiled), expected, rtol=0.1, atol=0.05
        )


def test_boxes_of_a_compiled_stream_outlive_the_next_step():
    """CUDA graphs write every step's maps and states to the same place."""
    _, model = build()
    frames = [
        torch.cat(random_clips(model, 2, 1, HW, label_every=1, seed=index)["inputs"]).to(CUDA)
        for index in range(6)
    ]
    found = []
    for compiled in (False, True):
        streamer, states = Streamer(model, compiled=compiled), None
        found.append([])
        for frame in frames:
            boxes, states = streamer(frame, states)
            found[-1] += [each.scores.sort(descending=True).values[:10] for each in boxes]
    assert_near(*found)


def test_training_equals_cpu():
    _, model = build()
    losses = []
    for network in (copy.deepcopy(model).cpu().train(), model.train()):
        batch = network.data_preprocessor(random_clips(network, 2, 3, HW), True)
        loss, _ = network.parse_losses(network(**batch, mode="loss"))
        loss.backward()
        losses.append(
            (loss.item(), network.backbone.stages[0].downsample.conv.weight.grad.norm().item())
        )
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)


def test_mixed_precision_trains():
    cfg, model = build(options=SMALL | {"base_lr": 2e-3})
    wrapper = build_optim_wrapper(model.train(), cfg.optim_wrapper)
    assert type(wrapper).__name__ == "AmpOptimWrapper"
    data, history = random_clips(model, 2, 3, HW), []
    for _ in range(40):
        model.stream_states["loss"].reset()
        history.append(float(model.train_step(data, wrapper)["loss"]))
    assert all(map(math.isfinite, history)) and history[-1] < 0.8 * history[0]


def test_patch2_batch6_trains_in_12_gib():
    """The experiment that ran out of memory, in full size.

    It has frames of 384x640 after padding, clips of 5 frames, and mixed precision.
    """
    cfg, model = build("patch2_sizeaware_batch6", {})
    wrapper = build_optim_wrapper(model.train(), cfg.optim_wrapper)
    data = random_clips(
        model, cfg.train_dataloader.batch_size, cfg.train_dataloader.dataset.clip_length, (360, 640)
    )
    torch.cuda.reset_peak_memory_stats()
    for _ in range(2):
        model.train_step(data, wrapper)
    assert len(data["inputs"]) == 6
    assert torch.cuda.max_memory_allocated() / 2**30 <= 12


def test_out_of_memory_names_the_batch_that_fits():
    cfg, model = build()
    wrapper = build_optim_wrapper(model.train(), cfg.optim_wrapper)
    data = random_clips(model, 8, 3, HW)
    runner = SimpleNamespace(model=model, iter=0, optim_wrapper=wrapper)
    cuda.forget(CUDA)  # what the tests before took
    model.train_step({key: rows[:2] for key, rows in data.items()}, wrapper)
    torch.cuda.empty_cache()
    share = (torch.cuda.max_memory_reserved() + 2**26) / torch.cuda.get_device_properties(
        0
    ).total_memory
    torch.cuda.set_per_process_memory_fraction(share)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            model.train_step(data, wrapper)
        advice = advice_when_out_of_memory(runner, data)
        assert "8 lanes at a time do not fit" in advice and "model.micro_batch=" in advice
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_captured_graphs_equal_eager(precision):
    _, model = build()
    expected = stream(model, precision=precision)
    assert_near(stream(model, precision=precision, cuda_graphs=True), expected)


def test_graphs_of_compiled_networks_are_refused():
    _, model = build()
    with pytest.raises(InputError, match="has CUDA graphs already"):
        Streamer(model, compiled=True, cuda_graphs=True)
