"""Tests the numbers of the benchmark that are the same on every machine, not its times."""

from __future__ import annotations

import gc
import json

import pytest
import torch
from torch import nn

from etram_mmdet.analysis.speed.model import build_model, macs_per_window, time_streaming
from etram_mmdet.analysis.speed.sweep import sweep
from etram_mmdet.analysis.speed.timing import Clock
from etram_mmdet.engine.config.load import load_config
from etram_mmdet.engine.runner.memory import parameters, saved_bytes
from etram_mmdet.models.inference import Streamer
from etram_mmdet.testing import random_clips
from tests.helpers.cli import run
from tests.helpers.paths import ROOT

HW = (64, 96)
SMALL = {"model.backbone.partition_size": (1, 3)}


@pytest.fixture
def cfg():
    return load_config(ROOT / "configs" / "baseline_tiny.py", SMALL)


@pytest.fixture
def model(cfg):
    return build_model(cfg, torch.device("cpu"))


class Square(nn.Module):
    """Keeps its input and nothing else: y = (w x)^2 saves x (the factor of w) and w x."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(1))
        self.data_preprocessor = lambda data, training: dict(x=data)

    def forward(self, x, mode):
        return ((self.w * x) ** 2).sum()


def test_saved_bytes_are_those_of_distinct_memory_without_weights():
    x = torch.ones(1000)
    assert saved_bytes(Square(), x) == 2 * 4000


def test_counting_saved_bytes_leaves_no_memory_behind(model):
    """The bytes are counted before training, so memory left behind would be missing in training."""

    def living():
        gc.collect()
        return sum(isinstance(each, torch.Tensor) for each in gc.get_objects())

    data = random_clips(model, 1, 2, HW)
    saved_bytes(model, data)  # leaves what the model itself keeps, its states
    before = living()
    saved_bytes(model, data)
    assert living() == before


def test_saved_bytes_grow_by_the_lane(model):
    one, two, three = (saved_bytes(model, random_clips(model, batch, 3, HW)) for batch in (1, 2, 3))
    assert one > 1e6
    # The assigner keeps what it finds, which differs from lane to lane.
    assert three - two == pytest.approx(two - one, rel=0.02)


def test_activation_checkpointing_keeps_less(cfg, model):
    cfg.model.backbone.with_cp = True
    with_cp = build_model(cfg, torch.device("cpu"))
    data = random_clips(model, 2, 3, HW)
    assert saved_bytes(with_cp, data) < 0.7 * saved_bytes(model, data)


def test_macs_are_those_of_the_reference():
    """RVT-T at 384 x 640 has 4.10 GMAC.

    They were counted on the reference for 3 classes. The head's last layers hardly matter.
    """
    cfg = load_config(ROOT / "configs" / "baseline_tiny.py", {"class_set": "etram3"})
    model = build_model(cfg, torch.device("cpu"))
    assert macs_per_window(model, (384, 640)) == pytest.approx(4.10e9, rel=0.02)
    assert parameters(model) == 4_405_336


def test_streaming_carries_the_state_and_adds_up(model, monkeypatch):
    states = []
    original = type(model).clip_features

    def spy(self, inputs, chosen, state):
        states.append(state)
        return original(self, inputs, chosen, state)

    monkeypatch.setattr(type(model), "clip_features", spy)
    clock = time_streaming(Streamer(model), HW, windows=4, warm_up=2)
    assert states[0] is None and all(state is not None for state in states[1:]) and len(states) == 6
    parts = [clock.seconds[p] for p in ("data", "backbone", "neck + head", "post-processing")]
    assert clock.seconds["window"] == [
        pytest.approx(sum(times)) for times in zip(*parts, strict=True)
    ]
    assert len(clock.seconds["window"]) == 4


def test_clock_reports_percentiles_in_milliseconds():
    clock = Clock(torch.device("cpu"))
    clock.seconds["a"] = [i / 1000 for i in range(101)]
    assert clock.milliseconds()["a"] == pytest.approx(dict(median=50, p5=5, p95=95))


def test_sweep_without_a_gpu_says_that_it_predicts(cfg, model):
    rows = sweep(cfg, model, 1, HW, limit_gib=5, cost=lambda batch: batch * 2**30)
    assert [row["batch"] for row in rows] == [1, 2, 4, 5] and rows[-1]["gib"] == 5
    assert all(row["how"].startswith("predicted for a GPU") for row in rows)


def test_tool_prints_a_table_and_writes_json(tmp_path):
    small = ["--cfg-options", "model.backbone.partition_size=(1,3)"]
    options = [
        "--frame",
        *HW,
        "--batch",
        2,
        "--windows",
        2,
        "--steps",
        1,
        "--json",
        tmp_path / "n.json",
    ]
    output = run("tools/benchmark.py", ROOT / "configs" / "baseline_tiny.py", *options, *small)
    numbers = json.loads((tmp_path / "n.json").read_text())
    assert set(numbers["streaming_ms"]) == {
        "data",
        "backbone",
        "neck + head",
        "post-processing",
        "window",
    }
    assert f"{numbers['streaming_ms']['window']['median']:.2f}" in output
    assert (
        f"{numbers['saved_bytes'] / 2**30:.2f} GiB" in output
        and "training, batch 2, clips of 5" in output
    )
