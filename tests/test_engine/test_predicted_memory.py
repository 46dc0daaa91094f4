"""The memory of a training step is predicted without allocating it."""

from __future__ import annotations

import json
import runpy

import pytest
import torch
from torch.nn import functional

from etram_mmdet.analysis.speed.model import build_fitted_model
from etram_mmdet.engine.config.load import load_config
from etram_mmdet.engine.memory import fake_model
from etram_mmdet.engine.memory.cuda_rules import CudaRules
from etram_mmdet.engine.memory.live_bytes import LiveBytes, block_bytes
from etram_mmdet.engine.memory.prediction import predict_step, training_precision
from etram_mmdet.engine.runner.memory import MOST_LANES, largest_batch, saved_bytes
from etram_mmdet.engine.summary.memory import predicted_memory
from etram_mmdet.testing import random_clips
from etram_mmdet.utils.errors import InputError
from tests.helpers.cli import run
from tests.helpers.paths import ROOT

CPU = torch.device("cpu")
HW = (32, 96)
SMALL = {
    "model.backbone.partition_size": (1, 3),
    "model.backbone.embed_dims": 16,
    "model.backbone.head_dim": 16,
}
SHALLOW = SMALL | {"model.backbone.out_stages": (1,), "model.neck.out_channels": 32}
GIB = 2**30


def built(name, options=SMALL):
    cfg = load_config(ROOT / "configs" / f"{name}.py", options)
    torch.manual_seed(0)
    return cfg, build_fitted_model(cfg, CPU)


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("baseline_tiny", "float32"),
        ("baseline", "bfloat16"),
        ("fourscale_sizeaware", "float32"),
        ("fourscale_sizeaware_auxsmall", "float32"),
        ("patch2_sizeaware", "bfloat16"),
        ("patch2_sizeaware_batch6", "float32"),
        ("patch2_sizeaware_abc", "float32"),
        ("seesaw", "float32"),
    ],
)
def test_kept_bytes_are_those_of_the_saved_tensors(name, precision):
    cfg, model = built(name)
    found = predict_step(cfg, model, HW, 2, 2, precision, "cpu")
    with torch.autocast("cpu", getattr(torch, precision), enabled=precision != "float32"):
        assert found.kept == pytest.approx(
            saved_bytes(model, random_clips(model, 2, 2, HW)), rel=0.05
        )
    assert found.gradients == sum(block_bytes(4 * p.numel()) for p in model.parameters())
    steps = sum(block_bytes(4) for _ in model.parameters())
    assert found.optimizer == 2 * found.gradients + steps  # AdamW
    assert found.peak >= found.weights + found.optimizer + found.kept


@pytest.mark.parametrize(("name", "gib"), [("baseline", 7.80), ("patch2_sizeaware_batch6", 10.04)])
def test_peaks_are_those_of_a_gpu(name, gib):
    """Peaks that an H200 had (docs/benchmarks.md); the goal is a tenth."""
    cfg = load_config(ROOT / "configs" / f"{name}.py")
    precision = training_precision(cfg)
    found = predict_step(cfg, build_fitted_model(cfg, CPU), (360, 640), 6, 5, precision)
    assert precision == "float16" and found.allocated / GIB == pytest.approx(gib, rel=0.02)
    assert found.allocated < found.needed < 12 * GIB


def peak(options=None, batch=4, name="patch2_sizeaware", **how):
    cfg, model = built(name, SHALLOW | (options or {}))
    return predict_step(cfg, model, HW, batch, 2, "float32", **how)


def test_settings_that_save_memory_do():
    plain = peak()
    recomputed = {"model.backbone.with_cp": True, "model.with_cp": True}
    assert peak(recomputed).kept < 0.6 * plain.kept
    parts = peak({"model.micro_batch": 1})
    assert parts.kept == pytest.approx(plain.kept / 4, rel=0.1) and parts.peak < 0.5 * plain.peak
    cfg, model = built("patch2_sizeaware", SHALLOW)
    half = predict_step(cfg, model, HW, 4, 2, "float16")
    assert 0.4 * plain.kept < half.kept < 0.8 * plain.kept and half.workspaces == 2**27


def test_optimizers_and_averages_are_counted():
    plain = peak()
    sgd = peak({"optim_wrapper.optimizer": dict(type="SGD", lr=0.1, momentum=0.9, _delete_=True)})
    assert sgd.optimizer == plain.gradients  # a moment
    added_up = peak({"optim_wrapper.accumulative_counts": 4})
    assert added_up.peak - plain.peak == pytest.approx(plain.gradients, rel=0.02)
    assert plain.averaged == 0 and peak(name="ema").averaged > 0


def test_nothing_of_that_size_is_allocated():
    """No machine has 3 TiB; the model and its state stay as they are."""
    cfg, model = built("patch2_sizeaware", SHALLOW)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert predict_step(cfg, model, (3840, 3840), 256, 2, "float32").peak > 3 * 2**40
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_memory_counts_from_its_first_tensor_to_its_last_view():
    with LiveBytes([], found=1) as live:
        one = torch.zeros(1000)
        view = one[:10]
        two = torch.zeros(1)
        assert live.now == 4096 + 512
        del one, two
        assert live.now == 4096 and live.peak == 4608
        del view
        assert live.now == 0


def test_rules_are_those_of_a_gpu():
    half = torch.ones(2, 4, dtype=torch.float16)
    assert not half.is_cuda
    stage = built("baseline")[1].backbone.stages[0]
    many = torch.zeros(1).expand(9, 20, 2048, 2048)
    assert stage._frames_at_once(many) < 9
    with CudaRules():
        assert half.is_cuda
        # as on a card, where all frames go at once
        assert stage._frames_at_once(many) == 9
        assert functional.layer_norm(half, (4,)).dtype == torch.float16
        with torch.autocast("cpu", torch.float16):
            assert functional.layer_norm(half, (4,)).dtype == half.sum().dtype == torch.float32
            assert torch.addcmul(half, half, half).dtype == torch.float16
            assert torch.dot(half[0].float(), half[0]).dtype == torch.float32
        loss = half.float().requires_grad_().sum()
        seen = []
        loss.grad_fn.register_hook(lambda *_: seen.append(half.is_cuda))
        loss.backward()  # computes checkpointed layers again
    assert seen == [True]


def test_a_loss_that_lists_numbers_is_refused_in_a_sentence(monkeypatch):
    cfg, model = built("baseline_tiny", SHALLOW)
    monkeypatch.setattr(
        type(model.bbox_head), "loss", lambda self, x, _: dict(loss=x[0][0].masked_select(x[0] > 0))
    )
    with pytest.raises(InputError, match=r"cannot be predicted, because .*masked_select.*--sweep"):
        predict_step(cfg, model, HW, 1, 1, "float32")


@pytest.mark.parametrize(
    ("kind", "why"), [("LBFGS", "closure"), ("Adafactor", "not a callable"), ("Muon", "2D")]
)
def test_an_optimizer_that_cannot_be_used_is_a_sentence(kind, why):
    optimizer = dict(type=kind, lr=0.1, _delete_=True)
    with pytest.raises(InputError, match=rf"optimizer: {kind} cannot be used .*{why}.*AdamW"):
        peak({"optim_wrapper.optimizer": optimizer}, batch=1)


def test_a_precision_that_no_training_has_is_a_sentence():
    cfg, model = built("baseline_tiny", SHALLOW)
    with pytest.raises(InputError, match="dtype='float64': expected one of float32, bfloat16"):
        predict_step(cfg, model, HW, 1, 1, "float64")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--batch 0", "--batch 0: expected more than 0"),
        ("--clip -1", "--clip -1: expected more than 0"),
        ("--frame -32 96", "--frame -32: expected more than 0"),
        ("--frame 9000 96", "--frame 9000: expected at most 8192"),
        ("--batch 70000", "--batch 70000 --clip 1: a step of more than 65,536 frames"),
        ("--label-every 0", "--label-every 0: expected more than 0"),
        ("--sweep 8 nan", "--sweep: expected a finite number, got nan"),
        ("--sweep inf", "--sweep: expected a finite number, got inf"),
        ("--windows 0", "--windows 0: expected more than 0"),
        ("--steps -1", "--steps -1: expected 0 or more"),
    ],
)
def test_a_wrong_number_is_a_sentence(options, says, monkeypatch, capsys):
    tool = runpy.run_path(str(ROOT / "tools" / "benchmark.py"))
    monkeypatch.setattr("sys.argv", ["benchmark.py", "a.py", *options.split()])
    with pytest.raises(SystemExit):
        tool["parse_args"]()
    assert says in capsys.readouterr().err


def test_a_pytorch_without_fake_tensors_is_a_sentence(monkeypatch):
    monkeypatch.setattr(fake_model, "private", lambda name: None)
    with pytest.raises(InputError, match=r"has no torch\._subclasses\.fake_tensor"):
        fake_model.fake_maker()


def test_the_run_summary_of_a_gpu_tells_the_peak():
    _, model = built("patch2_sizeaware", SHALLOW)
    cfg = load_config(ROOT / "configs" / "patch2_sizeaware.py", SHALLOW)
    told = predicted_memory(cfg, model, HW, 2, 2)
    found = predict_step(cfg, model, HW, 2, 2, "float16")
    assert told.startswith(f"peak about {found.allocated / 2**20:,.0f} MiB in float16 (predicted)")
    assert f"a GPU needs about {found.needed / 2**20:,.0f} MiB" in told


def test_the_search_ends_where_the_cost_does_not_grow():
    """With micro_batch a larger batch hardly needs more."""
    asked = []

    def cost(batch):
        asked.append(batch)
        return 1.0

    assert max(largest_batch(cost, 2.0)) == MOST_LANES
    assert len(asked) < 12
    assert largest_batch(cost, 0.5) == {}


def test_tool_answers_whether_a_batch_fits(tmp_path):
    words = [f"{key}={value}".replace(" ", "") for key, value in SHALLOW.items()]
    options = [
        "--memory-of",
        "cuda",
        "--batch",
        2,
        "--clip",
        2,
        "--frame",
        *HW,
        "--sweep",
        0.1,
        0.65,
    ]
    output = run(
        "tools/benchmark.py",
        ROOT / "configs" / "patch2_sizeaware.py",
        *options,
        "--json",
        tmp_path / "memory.json",
        "--cfg-options",
        *words,
    )
    numbers = json.loads((tmp_path / "memory.json").read_text())
    assert "batch 2, clips of 2, every second frame labelled, float16" in output
    assert f"{numbers['memory']['needed'] / GIB:.2f} GiB" in output
    assert "batch 2 does not fit 0.1 GiB; the largest batch is none" in output
    small, large = numbers["largest"]
    assert small["batch"] == 0 and 2 <= large["batch"] < 8 and large["needed_gib"] <= 0.65
    assert f"batch 2 fits 0.65 GiB; the largest batch is {large['batch']}, which needs" in output
