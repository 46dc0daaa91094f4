"""Compares our detector with a fake of RVT."""

from __future__ import annotations

import json

import numpy as np
import pytest

from etram_mmdet.analysis.speed.timing import compared, take_turns
from tests.helpers.cli import run
from tests.helpers.fake_rvt import write_fake_rvt

SMALL = ["--frame", 64, 96, "--windows", 2, "--steps", 1, "--frames", 20]
OPTIONS = ["--cfg-options", "model.backbone.partition_size=(1,3)", "model.backbone.embed_dims=32"]


@pytest.fixture
def rvt(tmp_path):
    return write_fake_rvt(tmp_path)


def test_same_weights_same_input_same_numbers(rvt, tmp_path):
    command = ["tools/benchmark_reference.py", rvt, "configs/baseline_small.py", *SMALL, "--fuse"]
    output = run(*command, "--json", tmp_path / "n.json", *OPTIONS, "model.backbone.head_dim=16")
    numbers = json.loads((tmp_path / "n.json").read_text())
    assert (
        numbers["streaming"]["difference"] < 1e-4
    )  # also after several windows: the state is carried by both
    assert numbers["memory"]["ours_bytes"] == pytest.approx(
        numbers["memory"]["reference_bytes"], rel=0.1
    )
    assert 0 < numbers["evaluation"]["difference"] < 1
    assert (
        f"{numbers['evaluation']['whole']['ours_ms']:.1f}"
        in output.split("same, with breakdown and interval")[1]
    )
    for part in ("streaming", "training", "evaluation"):
        assert (
            f"{numbers[part]['reference_ms']:.1f}" in output
            and f"{numbers[part]['ratio']:.2f}" in output
        )


def test_refusals_are_sentences(rvt, tmp_path):
    output = run(
        "tools/benchmark_reference.py",
        tmp_path / "none",
        "configs/baseline_tiny.py",
        *OPTIONS,
        ok=False,
    )
    assert "holds no config/model/maxvit_yolox/default.yaml; name a clone of" in output
    output = run("tools/benchmark_reference.py", rvt, "configs/patch2.py", *OPTIONS, ok=False)
    assert "out_stages=(1, 2, 3): RVT always builds four stages" in output


def test_turns_alternate_and_ratios_are_of_rounds():
    calls = []
    seconds = take_turns(
        {name: lambda n=name: calls.append(n) for name in ("reference", "ours")}, 3, warm_up=1
    )
    assert calls == ["reference", "ours"] * 4 and len(seconds["ours"]) == 3
    result = compared(dict(reference=np.array([1.0, 2.0, 4.0]), ours=np.array([0.5, 1.0, 8.0])))
    assert result == dict(reference_ms=2000, ours_ms=1000, ratio=0.5, ratio_of_best=0.5)
