"""Build from the config of a checkpoint without trusting it.

A config decides which classes are built with which arguments, and some of mmdet's and mmengine's load pickles, download
or write files. So only the keys that an evaluation needs are taken, and only classes of this list may be named.
"""

from __future__ import annotations

from pathlib import Path

from mmdet.registry import DATA_SAMPLERS, DATASETS, METRICS, MODELS, TASK_UTILS, TRANSFORMS
from mmengine.config import Config

from etram_mmdet.events.errors import InputError
from etram_mmdet.events.representations import REPRESENTATIONS

_KEYS = (
    *("model", "data_root", "class_set", "representation", "window_us"),
    *("val_dataloader", "test_dataloader", "val_evaluator", "test_evaluator"),
)
_RUNTIME = dict(
    default_scope="mmdet",
    val_cfg=dict(type="ValLoop"),
    test_cfg=dict(type="TestLoop"),
    default_hooks=dict(sampler_seed=None, logger=dict(type="LoggerHook", interval=50, log_metric_by_epoch=False)),
    custom_hooks=[dict(type="ResultsCsvHook"), dict(type="EvaluationReportHook")],
    log_processor=dict(type="LogProcessor", window_size=50, by_epoch=False),
    env_cfg=dict(mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0), dist_cfg=dict(backend="nccl")),
    visualizer=dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")]),
)
# Classes of mmdet and mmengine that compute and do nothing else; every class of this package may be named too.
_STOCK = frozenset(
    """
    DefaultSampler pseudo_collate
    ResNet ResNeXt CSPDarknet CSPNeXt SwinTransformer FPN PAFPN BiFPN YOLOXPAFPN CSPNeXtPAFPN
    YOLOXHead RetinaHead FCOSHead ATSSHead GFLHead RTMDetHead RTMDetSepBNHead TOODHead
    BN SyncBN GN LN ReLU SiLU Swish GELU LeakyReLU Conv2d nms soft_nms
    CrossEntropyLoss FocalLoss QualityFocalLoss VarifocalLoss DistributionFocalLoss EQLV2Loss SeesawLoss
    IoULoss GIoULoss DIoULoss CIoULoss SIoULoss EIoULoss L1Loss SmoothL1Loss MSELoss GaussianFocalLoss
    SimOTAAssigner MaxIoUAssigner ATSSAssigner TaskAlignedAssigner DynamicSoftLabelAssigner PseudoSampler
    AnchorGenerator MlvlPointGenerator DeltaXYWHBBoxCoder DistancePointBBoxCoder TBLRBBoxCoder BboxOverlaps2D
    Kaiming Normal Constant Xavier Uniform TruncNormal
    """.split()
)


def evaluation_config(stored: dict, path: str | Path) -> Config:
    """A complete config to evaluate a checkpoint with, from the one that it carries.

    Raises:
        InputError: when that needs further modules, or names a class that is not on the list.
    """
    modules = set(map(str, (stored.get("custom_imports") or {}).get("imports", []))) - {"etram_mmdet"}
    if modules:
        _refuse(path, f"needs the modules {', '.join(sorted(modules))}")
    config = {key: stored[key] for key in _KEYS if key in stored}
    _check_types(config, path)
    return Config({**_RUNTIME, **config})


def _check_types(node: object, path: str | Path) -> None:
    if isinstance(node, dict):
        if "_scope_" in node or ("type" in node and not _is_known(node["type"])):
            _refuse(path, f"names {node.get('type')!r}, which is not on the list of classes that are built unseen")
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            _check_types(child, path)


def _is_known(name: object) -> bool:
    if not isinstance(name, str):
        return False
    registries = (MODELS, TASK_UTILS, DATASETS, DATA_SAMPLERS, TRANSFORMS, METRICS)
    tables = [REPRESENTATIONS, *(registry.module_dict for registry in registries)]
    classes = [table[name] for table in tables if name in table]
    return name in _STOCK or any(cls.__module__.startswith("etram_mmdet.") for cls in classes)


def _refuse(path: str | Path, why: str) -> None:
    raise InputError(f"{path}: its config {why}. Test it with a config that you trust: tools/test.py CONFIG {path}")
