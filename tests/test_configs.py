"""Every config builds, trains a step, evaluates a batch and can be written and read.

Its settings are those that its name promises.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import OptimWrapper, build_optim_wrapper

from etram_mmdet.datasets import ClipRequest
from etram_mmdet.engine.config.complete import resolve
from etram_mmdet.engine.config.load import complete_config, load_config
from etram_mmdet.events.preprocessing.folder import preprocess_folder
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.models import fit_to_data
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.text import changes
from tests.helpers.paths import ROOT

CONFIGS = sorted((ROOT / "configs").glob("*.py"))


def expected_strides(name: str) -> tuple[int, ...]:
    """What the name of a config says of its strides."""
    if name.startswith("fourscale"):
        return (4, 8, 16, 32)
    if name.startswith("patch2"):
        return (4, 8, 16) if "stages234" in name else (2, 4, 8)
    return (8, 16, 32)


# Trainable parameters of RVT with 3 classes (facts of the reference), which differ from 8 classes
# by 5 outputs a level.
RVT_PARAMETERS = dict(baseline=18_536_856, baseline_small=9_870_456, baseline_tiny=4_405_336)


@pytest.fixture(scope="module")
def data_for(raw_sample, tmp_path_factory):
    """The small sample in the form that a config's dataset reads.

    That is recordings, or frames with the config's representation.
    """
    made = {}

    def data_root(dataset: dict) -> Path:
        if dataset["type"] == "RawEventDataset":
            return raw_sample
        settings = PreprocessSettings(
            representation=dict(dataset["representation"]), window_us=dataset["window_us"]
        )
        if str(settings) not in made:
            made[str(settings)] = tmp_path_factory.mktemp("data")
            assert not preprocess_folder(
                raw_sample, made[str(settings)], settings, workers=2
            ).problems
        return made[str(settings)]

    return data_root


def reduced(path, data_for) -> Config:
    """The config with small frames.

    Partitions are smaller and the classes are the sample's; nothing else changes.
    """
    data = data_for(load_config(path).train_dataloader.dataset)
    options = {
        "data_root": f"{data}/",
        "class_set": "etram8",
        "model.backbone.partition_size": (1, 3),
    }
    return load_config(path, options)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_builds_trains_evaluates_and_reloads(path, data_for, tmp_path):
    cfg = reduced(path, data_for)
    resolve(cfg, device="cpu")
    model = MODELS.build(cfg.model)
    assert (
        model.backbone.out_strides == tuple(model.bbox_head.strides) == expected_strides(path.stem)
    )
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    fit_to_data(model, dataset)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    assert type(wrapper) is OptimWrapper

    rows = [
        ClipRequest(*dataset.segments[i % len(dataset.segments)], True, i, (i,)) for i in range(2)
    ]
    batch = pseudo_collate([dataset[r._replace(stop=min(r.stop, r.start + 5))] for r in rows])
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    logs = model.train_step(batch, wrapper)
    assert all(math.isfinite(v) for v in logs.values()) and logs["loss"] > 0
    assert any((p - before[name]).abs().max() > 0 for name, p in model.named_parameters())

    val = DATASETS.build(cfg.val_dataloader.dataset)
    samples = model.eval().val_step(pseudo_collate([val[ClipRequest(0, 0, 5, True, 0, ())]]))
    assert samples and all("pred_instances" in s for s in samples)

    dumped = tmp_path / path.name
    cfg.dump(dumped)
    assert Config.fromfile(dumped).to_dict() == cfg.to_dict()


@pytest.mark.parametrize(
    ("config", "channels"),
    [("baseline", 20), ("mixed_density", 10), ("ternary_volume", 5), ("time_surface", 2)],
)
def test_input_channels_follow_from_the_representation(config, channels):
    cfg = load_config(ROOT / "configs" / f"{config}.py")
    assert MODELS.build(cfg.model).backbone.stages[0].downsample.conv.in_channels == channels


def test_options_of_the_representation_reach_all_data_and_the_model():
    cfg = load_config(
        ROOT / "configs" / "baseline.py", {"representation.bins": 3, "window_us": 20_000}
    )
    datasets = [cfg[f"{part}_dataloader"].dataset for part in ("train", "val", "test")]
    assert [(d.representation.bins, d.window_us) for d in datasets] == [(3, 20_000)] * 3
    assert cfg.model.backbone.in_channels == 6
    cfg.model.backbone.in_channels = 20
    with pytest.raises(
        InputError,
        match=r"backbone\.in_channels=20, but train_dataloader\.dataset has frames of 6 channels",
    ):
        complete_config(cfg)


@pytest.mark.parametrize("name", RVT_PARAMETERS)
def test_sizes_are_those_of_rvt(name):
    cfg = load_config(ROOT / "configs" / f"{name}.py", {"class_set": "etram3"})
    assert sum(p.numel() for p in MODELS.build(cfg.model).parameters()) == RVT_PARAMETERS[name]


@pytest.mark.parametrize("name", ["gen1", "1mpx"])
def test_published_data_sets_have_the_settings_of_rvt(name, monkeypatch):
    """By its config/experiment/gen1 and gen4, and the batch sizes of its README."""
    cfg = load_config(ROOT / "configs" / f"{name}.py")
    resolve(cfg, device="cuda")
    is_gen1 = name == "gen1"
    assert cfg.model.bbox_head.num_classes == (2 if is_gen1 else 3)
    assert tuple(cfg.model.backbone.partition_size) == ((8, 10) if is_gen1 else (6, 10))
    assert cfg.train_dataloader.batch_size == (8 if is_gen1 else 24)
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(2e-4 if is_gen1 else 0.000346, rel=2e-3)
    assert cfg.train_cfg.max_iters == 400_000 and cfg.optim_wrapper.clip_grad.clip_value == 1
    assert cfg.train_dataloader.batch_sampler.mode == "mixed"
    protocol = "prophesee_gen1:class" if is_gen1 else "prophesee:class"
    for part in ("train", "val", "test"):
        dataset = cfg[f"{part}_dataloader"].dataset
        assert dataset.clip_length == (21 if is_gen1 else 5)
        assert dataset.representation.downsample == ("none" if is_gen1 else "nearest")
        assert part == "train" or cfg[f"{part}_evaluator"].protocols[0] == protocol
    assert cfg.default_hooks.checkpoint.save_best == f"{protocol}/AP"
    for size, parent in (("tiny", "baseline_tiny"), ("small", "baseline_small")):
        ours, theirs = (
            load_config(ROOT / "configs" / f"{n}.py").model for n in (f"{name}_{size}", parent)
        )
        assert changes(theirs.to_dict(), ours.to_dict()) == changes(
            load_config(ROOT / "configs" / "baseline.py").model.to_dict(), cfg.model.to_dict()
        )


def test_patch2_sizeaware_is_the_experiment():
    cfg = load_config(ROOT / "configs" / "patch2_sizeaware.py")
    assert cfg.model.backbone.patch_size == 2 and tuple(cfg.model.backbone.out_stages) == (1, 2, 3)
    assert cfg.model.bbox_head.loss_bbox == dict(type="SizeAwareIoULoss", size_weight=2.0)
    assert cfg.model.bbox_head.num_classes == 8
    assert cfg.train_cfg.max_iters == 100_000 and cfg.train_dataloader.batch_size == 2
    assert cfg.data_root == "data/etram_cls8_sample/"


def test_demo_differs_in_width_resolution_and_schedule_only():
    """Everything else of the model and its training is patch2_sizeaware's."""
    demo, full = (load_config(ROOT / "configs" / f"patch2_sizeaware{s}.py") for s in ("_demo", ""))
    for cfg in (demo, full):
        for key in ("embed_dims", "head_dim", "partition_size"):
            cfg.model.backbone.pop(key)
        for key in ("num_csp_blocks", "out_channels"):
            cfg.model.neck.pop(key, None)
    assert demo.model == full.model
    assert demo.train_dataloader.dataset.pipeline == full.train_dataloader.dataset.pipeline
    assert demo.train_dataloader.batch_sampler == full.train_dataloader.batch_sampler
    for cfg in (demo, full):
        cfg.optim_wrapper.optimizer.pop("lr")  # follows from base_lr and the batch
    assert demo.optim_wrapper == full.optim_wrapper


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("patch2_sizeaware_abc", {"model.bbox_head.type": "ABCYOLOXHead"}),
        ("sizeaware_clsobj", {"model.bbox_head.type": "SizeAwareYOLOXHead"}),
        ("sizeaware_step", {"model.bbox_head.loss_bbox.mode": "step"}),
        ("sizeaware_linear", {"model.bbox_head.loss_bbox.mode": "linear"}),
        ("sizeaware_normalized", {"model.bbox_head.loss_bbox.normalize": True}),
        ("eqlv2", {"model.bbox_head.loss_cls": {"type": "EQLV2ClassLoss"}}),
        ("seesaw", {"model.bbox_head.loss_cls": {"type": "SeesawClassLoss"}}),
        (
            "label_smoothing",
            {"model.bbox_head.loss_cls": {"type": "SmoothedClassLoss", "smoothing": 0.1}},
        ),
    ],
)
def test_a_variant_differs_from_its_parent_in_what_it_is_about(config, says):
    parent = "patch2_sizeaware" if config.startswith("patch2") else "sizeaware"
    ours, theirs = (load_config(ROOT / "configs" / f"{name}.py") for name in (config, parent))
    differences = changes(theirs.to_dict(), ours.to_dict())
    assert [line.split(":")[0] for line in differences] == list(says)
    for key, value in says.items():
        assert (
            functools.reduce(lambda cfg, part: cfg[part], key.split("."), ours.to_dict()) == value
        )


def test_ema_averages_beside_the_hooks_of_its_parent():
    ema, parent = (
        load_config(ROOT / "configs" / f"{name}.py").custom_hooks for name in ("ema", "sizeaware")
    )
    assert [hook for hook in ema if hook.type != "EMAHook"] == parent and len(ema) == len(
        parent
    ) + 1


@pytest.mark.parametrize("path", [p for p in CONFIGS if p.stem != "baseline"], ids=lambda p: p.stem)
def test_variants_are_short(path):
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    assert len(lines) <= 20


@pytest.mark.parametrize(
    ("batch", "processes", "enable", "factor"),
    [(8, 1, False, 8), (2, 4, False, 2), (2, 4, True, 8)],
)
def test_learning_rate_rule(batch, processes, enable, factor, monkeypatch):
    monkeypatch.setattr("etram_mmdet.engine.config.complete.get_world_size", lambda: processes)
    options = {"train_dataloader.batch_size": batch, "auto_scale_lr.enable": enable}
    cfg = load_config(ROOT / "configs" / "baseline.py", options)
    resolve(cfg, device="cuda")
    expected = 2e-4 * math.sqrt(factor / 8)
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(expected)
    assert cfg.param_scheduler[0].eta_max == pytest.approx(expected)
    assert cfg.optim_wrapper.type == "AmpOptimWrapper"


def test_half_precision_of_another_gpu_is_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "Tesla T4")
    cfg = load_config(ROOT / "configs" / "baseline.py", {"optim_wrapper.dtype": "bfloat16"})
    with pytest.raises(InputError, match="dtype='bfloat16', but Tesla T4 has no bfloat16"):
        resolve(cfg, device="cuda")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {},
            dict(type="StreamDataParallel", broadcast_buffers=False, find_unused_parameters=False),
        ),
        ({"find_unused_parameters": True}, dict(find_unused_parameters=True)),
        (
            {"model_wrapper_cfg": dict(type="MMDistributedDataParallel", static_graph=True)},
            dict(type="StreamDataParallel", static_graph=True, broadcast_buffers=False),
        ),
        (
            {"model_wrapper_cfg": dict(type="MyWrapper", broadcast_buffers=True)},
            dict(type="MyWrapper", broadcast_buffers=True),
        ),
    ],
)
def test_how_processes_share_the_model_is_as_the_config_says(options, expected):
    cfg = load_config(ROOT / "configs" / "baseline.py", options)
    cfg.launcher = "pytorch"
    resolve(cfg, device="cuda")
    assert expected.items() <= cfg.model_wrapper_cfg.to_dict().items()


def test_schedule_is_rvts(sample):
    """Linear from lr / 20 to lr in 0.5 % of the steps, then linear to lr / 10000."""
    import torch
    from mmengine.optim import OneCycleLR

    cfg = load_config(ROOT / "configs" / "baseline.py", {"train_cfg.max_iters": 1000})
    resolve(cfg, device="cpu")
    args = {k: v for k, v in cfg.param_scheduler[0].items() if k != "type"}
    optimizer = torch.optim.AdamW(
        [torch.nn.Parameter(torch.zeros(1))], lr=cfg.optim_wrapper.optimizer.lr
    )
    schedule = OneCycleLR(optimizer, **args)
    rates = []
    for _ in range(1000):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    peak = 2e-4 * math.sqrt(6 / 8)
    assert rates[0] == pytest.approx(peak / 20)
    assert max(rates) == pytest.approx(peak) and rates.index(max(rates)) in (4, 5)
    assert rates[502] == pytest.approx(peak / 2, rel=0.01)
    assert rates[-1] == pytest.approx(peak / 10000, rel=1e-3)


def test_cfg_options_reach_every_split(sample):
    cfg = load_config(ROOT / "configs" / "baseline.py", {"data_root": "x/", "class_set": "etram3"})
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        assert cfg[loader].dataset.data_root == "x/" and cfg[loader].dataset.class_set == "etram3"


def test_class_counts_must_agree(sample):
    from etram_mmdet.engine.hooks.class_check import check_classes
    from etram_mmdet.utils.errors import InputError

    dataset = SimpleNamespace(metainfo=dict(classes=("a", "b")), folder="d")
    model = SimpleNamespace(bbox_head=SimpleNamespace(num_classes=8))
    with pytest.raises(InputError, match="num_classes=8, but d has 2 classes: a, b"):
        check_classes(model, dataset)


def test_a_warm_up_of_one_step_is_refused():
    """Two hundred steps at half a percent would end in a division by zero."""
    with pytest.raises(
        InputError,
        match=r"pct_start=0.005 of 200 steps is a warm-up of a single step.*max_iters=201",
    ):
        load_config(ROOT / "configs" / "baseline.py", {"train_cfg.max_iters": 200})
    load_config(ROOT / "configs" / "baseline.py", {"train_cfg.max_iters": 201})


def test_a_schedule_of_another_length_is_refused():
    """Shortening the training of a complete config would cut off its schedule."""
    cfg = load_config(ROOT / "configs" / "baseline.py")
    cfg.train_cfg.max_iters = 500
    with pytest.raises(InputError, match=r"max_iters=500, but .* total_steps=100000"):
        complete_config(cfg)
