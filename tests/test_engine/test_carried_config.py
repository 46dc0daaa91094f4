"""A config in a checkpoint may name what computes; nothing is opened, downloaded or run for it."""

from __future__ import annotations

import copy
import functools
import inspect
import json
import re
import sys
from contextlib import nullcontext

import mmdet.registry
import pytest
from mmdet.registry import MODELS, TASK_UTILS
from torch import nn

from etram_mmdet.engine.checkpoints.carried_config import (
    check_frame,
    computes_only,
    evaluation_config,
    stored_config,
)
from etram_mmdet.engine.checkpoints.contents import CONFIG_KEY
from etram_mmdet.engine.config.complete import TOGETHER, check_together
from etram_mmdet.engine.config.constructors import TABLES, registered
from etram_mmdet.engine.config.load import load_config
from etram_mmdet.models.data_preprocessors.event_data_preprocessor import EventDataPreprocessor
from etram_mmdet.utils.errors import InputError
from tests.helpers.mmdet_configs import ONE_STAGE, one_stage_configs
from tests.helpers.paths import ROOT

NETWORKS = [f"mmdet.models.{room}." for room in ("backbones", "necks", "dense_heads", "losses")]
# What reads, downloads or runs something.
ACTS = re.compile(
    r"(?<![\w.])(eval|exec|open|__import__)\(|import_module|subprocess|os\.system|pickle|urlopen|"
    r"torch\.(load|hub)|from_pretrained|load_checkpoint|fileio|mmengine\.load|np\.load|json\.load"
)


@pytest.fixture(scope="module", autouse=True)
def _filled_registries():
    assert not registered("ClassThatNobodyKnows")  # looks everywhere


def of(registry: str) -> dict[str, type]:
    """Classes of a registry of mmdet, and of mmengine's registry that it inherits from."""
    own = getattr(mmdet.registry, registry)
    return {**own.parent.module_dict, **own.module_dict}


def is_ours(cls: type) -> bool:
    return cls.__module__.startswith("etram_mmdet.")


@functools.cache
def baseline() -> dict:
    return load_config(ROOT / "configs" / "baseline.py").model.to_dict()


def named(kind: object, place: str = "backbone") -> dict:
    """A stored config whose model has a part of this type."""
    return dict(model=copy.deepcopy(baseline()) | {place: dict(type=kind)})


@pytest.mark.parametrize("package", NETWORKS)
def test_every_network_part_of_mmdet_passes(package):
    names = {name for name, cls in of("MODELS").items() if cls.__module__.startswith(package)}
    assert len(names) >= 20
    refused = {name for name in names if not computes_only(name)}
    assert refused == ({"ATSSVLFusionHead"} if "dense_heads" in package else set())


@pytest.mark.parametrize(
    "name", ["mmdet.RTMDetHead", "SyncBN", "nearest", "Kaiming", "StackedHistogram"]
)
def test_scopes_layers_initializers_and_representations_pass(name):
    assert computes_only(name)


@pytest.mark.parametrize("folder", ONE_STAGE)
def test_models_of_one_stage_configs_pass(folder):
    for path, cfg in one_stage_configs(folder):
        parts = [
            cfg.get("model", {}).get(key)
            for key in ("backbone", "neck", "bbox_head", "train_cfg", "test_cfg")
        ]
        refused = {kind for kind in types(parts) if not computes_only(kind)}
        assert refused <= {"Pretrained"}, path


def types(node: object) -> set[str]:
    children = (
        node.values() if isinstance(node, dict) else node if isinstance(node, list | tuple) else ()
    )
    own = {node["type"]} if isinstance(node, dict) and "type" in node else set()
    return own.union(*map(types, children))


@pytest.mark.parametrize(
    "registry",
    ["HOOKS", "VISUALIZERS", "VISBACKENDS", "RUNNERS", "LOOPS", "OPTIMIZERS", "LOG_PROCESSORS"],
)
def test_what_drives_a_run_is_refused(registry):
    names = of(registry)
    assert names and not [name for name in names if computes_only(name)]


@pytest.mark.parametrize("registry", ["TRANSFORMS", "DATASETS", "METRICS"])
def test_loaders_and_data_sets_of_others_are_refused(registry):
    foreign = [name for name, cls in of(registry).items() if not is_ours(cls)]
    wrappers = {
        "ConcatDataset",
        "RepeatDataset",
    }  # an evaluation may stand on several data sets of ours
    assert len(foreign) > 20 and {name for name in foreign if computes_only(name)} == wrappers & {
        *foreign
    }


@pytest.mark.parametrize(
    "package", ["detectors", "language_models", "data_preprocessors", "mot", "trackers"]
)
def test_other_rooms_of_mmdet_are_refused(package):
    classes = [
        n for n, c in of("MODELS").items() if c.__module__.startswith(f"mmdet.models.{package}.")
    ]
    assert classes and not [name for name in classes if computes_only(name)]


def test_modules_of_what_passes_read_and_run_nothing_else():
    """Some backbones load the file that ``pretrained`` or ``init_cfg.checkpoint`` names.

    Those keys are refused below.
    """
    passing = [cls for table in TABLES for name, cls in table.items() if computes_only(name)]
    bases = {base for cls in passing for base in getattr(cls, "__mro__", (cls,))}
    networks = ("mmdet.models.", "mmcv.", "mmengine.model.")
    modules = {base.__module__ for base in bases if base.__module__.startswith(networks)}
    assert len(modules) > 100
    acting = {
        name.rpartition(".")[2]
        for name in modules
        if ACTS.search(inspect.getsource(sys.modules[name]))
    }
    assert acting == {"pvt", "swin", "detectors_resnet", "vgg", "weight_init"}


@pytest.mark.parametrize(
    "name",
    [
        *(
            "Pretrained",
            "mmdet.Pretrained",
            "BertModel",
            "AppearanceFreeLink",
            "CameraMotionCompensation",
        ),
        *("LoadImageFromFile", "DumpResults", "LocalVisBackend", "StreamRunner", "CheckpointHook"),
        *(
            "os.system",
            "torch.hub.load",
            "timm.create_model",
            "mmpretrain.TIMMBackbone",
            "antigravity.fly",
        ),
        *("mmdet.models.ResNet", "mmdet.mmdet.ResNet", "mmdet.", "", "open", "eval", "NoSuchClass"),
        *(None, 5, ["ResNet"], {"type": "ResNet"}, "__import__('os').system('true')"),
    ],
)
def test_whatever_reads_downloads_or_runs_is_refused(name):
    assert not computes_only(name)
    for place in ("backbone", "init_cfg", "train_cfg"):
        with pytest.raises(InputError, match="is not among the classes allowed in an untrusted"):
            evaluation_config(named(name, place), "x.pth")
    assert "antigravity" not in sys.modules


def test_text_that_mmcv_would_run_is_refused():
    """``batched_nms`` gives its type to ``eval``."""
    stored = named("ResNet")
    stored["model"]["test_cfg"]["nms"] = dict(type="__import__('os').getcwd", iou_threshold=0.5)
    with pytest.raises(InputError, match='names "__import__'):
        evaluation_config(stored, "x.pth")


@pytest.mark.parametrize("key", ["pretrained", "checkpoint", "lang_model_name"])
@pytest.mark.parametrize("is_inside", [False, True])
def test_names_of_further_files_are_refused(key, is_inside):
    stored = named("SwinTransformer")
    backbone = stored["model"]["backbone"]
    node = backbone.setdefault("init_cfg", dict(type="Normal")) if is_inside else backbone
    node[key] = "https://example.org/x.pth"
    with pytest.raises(
        InputError, match=f"{key}='https://example.org/x.pth', which would open or download"
    ):
        evaluation_config(stored, "x.pth")
    node[key] = None
    assert evaluation_config(stored, "x.pth").model.backbone.type == "SwinTransformer"


def test_every_class_of_a_name_counts(monkeypatch):
    """The place of a ``type`` decides its registry, so a second meaning of a name counts."""
    assert computes_only("FPN")
    monkeypatch.setitem(TASK_UTILS.module_dict, "FPN", type("FPN", (), {"__module__": "elsewhere"}))
    assert not computes_only("FPN")


def test_a_constructor_that_needs_a_file_is_refused(monkeypatch):
    def __init__(self, checkpoint): ...

    cls = type("Reader", (), {"__init__": __init__, "__module__": "mmdet.models.necks.reader"})
    monkeypatch.setitem(MODELS.module_dict, "Reader", cls)
    assert not computes_only("Reader")


def test_batches_and_repeats_are_bounded_inside_wrappers():
    """``clip_length`` lies two wrappers deep, and a wrapper may repeat its data set very often."""

    def config(times=1, clip_length=5):
        inner = dict(
            type="RepeatDataset",
            times=times,
            dataset=dict(type="ETraMDataset", clip_length=clip_length),
        )
        loader = dict(batch_size=8, dataset=dict(type="ConcatDataset", datasets=[inner]))
        return dict(model=baseline(), val_dataloader=loader)

    assert evaluation_config(config(), "x.pth").val_dataloader.batch_size == 8
    with pytest.raises(InputError, match="asks for batches of 8000 frames"):
        evaluation_config(config(clip_length=1000), "x.pth")
    with pytest.raises(InputError, match="times=100000, more than 1024"):
        evaluation_config(config(times=100_000), "x.pth")


@pytest.mark.parametrize("has_validation", [True, False])
def test_a_training_without_validation_leaves_none(has_validation):
    """mmengine's Runner takes loader, loop and metric of the validation together or not at all."""
    stored = load_config(ROOT / "configs" / "baseline.py").to_dict()
    if not has_validation:
        stored.update(val_dataloader=None, val_cfg=None, val_evaluator=None)
    cfg = evaluation_config(stored, "a.pth")
    check_together(cfg)
    assert [bool(cfg.get(key)) for key in TOGETHER["val"]] == [has_validation] * 3
    assert all(map(cfg.get, TOGETHER["test"]))


@pytest.mark.parametrize(
    ("key", "value"),
    [("padding", 5000), ("dilation", 5000), ("scale_factor", 3000), ("scale_factor", 3000.0)],
)
def test_maps_that_fill_the_memory_are_refused(key, value):
    stored = named("CSPNeXt")
    stored["model"]["neck"] = dict(type="FPN", upsample_cfg={key: value})
    with pytest.raises(InputError, match=rf"asks for model\.neck\.upsample_cfg\.{key}="):
        evaluation_config(stored, "a.pth")


@pytest.mark.parametrize(
    ("hw", "is_refused"), [((384, 640), False), ((2048, 2048), False), ((4096, 4096), True)]
)
def test_frames_that_fill_the_memory_are_refused(hw, is_refused):
    """A frame of one pixel is padded to this size, whatever the file's few weights are."""
    model = nn.Module()
    model.data_preprocessor = EventDataPreprocessor(size_divisor=hw)
    with (
        pytest.raises(InputError, match="pads frames to multiples of")
        if is_refused
        else nullcontext()
    ):
        check_frame(model, "a.pth")


@pytest.mark.parametrize(
    ("representation", "edges"),
    [(dict(type="TimeSurface"), "events"), (dict(type="TimeSurface", edges="window"), "window")],
)
def test_a_time_surface_of_an_earlier_version_counts_age_from_the_last_event(representation, edges):
    """Its network was trained that way, but the config in its checkpoint does not state it."""
    data = dict(dataset=dict(type="ETraMDataset", representation=representation))
    carried = dict(
        model=dict(type="RecurrentDetector"), test_dataloader=data, representation=representation
    )
    stored = stored_config({"meta": {CONFIG_KEY: json.dumps(carried)}}, "x.pth")
    assert stored["representation"]["edges"] == edges
    assert stored["test_dataloader"]["dataset"]["representation"] == dict(
        type="TimeSurface", edges=edges
    )
