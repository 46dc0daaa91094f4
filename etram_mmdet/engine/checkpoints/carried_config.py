"""Build from the config of a checkpoint without trusting it.

A config decides which classes are built with which arguments, and some classes of mmdet and
mmengine load pickles, download or write files. So only the keys that an evaluation needs are used,
and only classes that compute and do nothing else may be named (:func:`computes_only`).
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config
from torch import nn

from etram_mmdet.datasets.shared_keys import KINDS, LOADERS, kind_name
from etram_mmdet.engine.checkpoints.contents import CONFIG_KEY
from etram_mmdet.engine.checkpoints.contents.checks import MAX_TEXT
from etram_mmdet.engine.config.constructors import TABLES, fill_registries
from etram_mmdet.events.representations import stated_options
from etram_mmdet.utils.errors import InputError

_EVALUATION_KEYS = (
    "model",
    "val_dataloader",
    "test_dataloader",
    "val_evaluator",
    "test_evaluator",
    "tta_model",
)
_RUNTIME = dict(
    default_scope="mmdet",
    val_cfg=dict(type="ValLoop"),
    test_cfg=dict(type="TestLoop"),
    default_hooks=dict(
        sampler_seed=None,
        logger=dict(type="LoggerHook", interval=50, log_metric_by_epoch=False),
        visualization=dict(type="EventVisualizationHook"),
    ),
    custom_hooks=[dict(type="ResultsCsvHook"), dict(type="EvaluationReportHook")],
    log_processor=dict(type="LogProcessor", window_size=50, by_epoch=False),
    env_cfg=dict(
        mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0), dist_cfg=dict(backend="nccl")
    ),
    visualizer=dict(type="EventVisualizer", vis_backends=[dict(type="LocalVisBackend")]),
)
# Classes registered from these packages compute and do nothing else: no hook, runner, data set or
# file client of mmdet's is among them, nor its detectors, which may read a second config.
_COMPUTING_PACKAGES = tuple(
    """
    etram_mmdet.datasets. etram_mmdet.evaluation. etram_mmdet.events. etram_mmdet.models.
    mmdet.models.backbones. mmdet.models.necks. mmdet.models.dense_heads. mmdet.models.losses.
    mmdet.models.layers. mmdet.models.task_modules.assigners. mmdet.models.task_modules.coders.
    mmdet.models.task_modules.prior_generators. mmdet.models.task_modules.samplers.
    mmcv.cnn.bricks. mmcv.ops. torch.nn.modules. mmengine.model.weight_init.
    mmengine.utils.dl_utils.parrots_wrapper.
    """.split()
)
# Of a data loader, of test_cfg.nms, and of the neck FPG.
_OTHERS = (
    "ConcatDataset RepeatDataset DefaultSampler pseudo_collate nms soft_nms conv last_conv "
    "interpolation_conv"
).split()
# Parameters that name something to read or download. A class that needs one is refused altogether
# (Pretrained, heads with a language model). Where it is optional, it has to be left out.
_SOURCES = ("checkpoint", "pretrained", "lang_model_name")


# Largest size of the config in a checkpoint; this project's largest has a tenth of the entries.
MAX_ENTRIES = 20_000
MAX_DEPTH = 20
# Largest values in a config in a checkpoint. Larger ones cost memory or minutes before any check
# can fail.
MAX_INTEGER = 1 << 20
MAX_OF_KEY = {
    "num_workers": 64,
    "prefetch_factor": 64,
    "batch_size": 4096,
    "clip_length": 1 << 14,
    "times": 1024,  # of RepeatDataset
    "bins": 256,
    "partition_size": 64,
    "patch_size": 64,
    "window_us": 1_000_000_000,
    "padding": 64,
    "output_padding": 64,
    "dilation": 64,
    "scale_factor": 64,  # of maps that a neck enlarges
}
MAX_FRAMES_PER_BATCH = 4096
# of the smallest padded frame; frames are padded to multiples of it. RVT's has 384 x 640.
MAX_PIXELS = 1 << 22


def stored_config(checkpoint: dict, path: str | Path) -> dict:
    """The config that a checkpoint carries, as plain data.

    It is for comparisons; nothing may be built from it.

    Args:
        checkpoint: from :func:`load_checkpoint_file`.
        path: the checkpoint's file, for messages.

    Raises:
        InputError: the checkpoint carries no readable config, or one whose class set is a file.
    """
    text = checkpoint.get("meta", {}).get(CONFIG_KEY)
    if text is None:
        raise InputError(f"{path}: carries no config; give one: tools/test.py CONFIG {path}")
    try:
        config = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:  # UnicodeError is a ValueError
        raise InputError(
            f"{path}: carries a config that is not JSON ({error}); copy the file again"
        ) from error
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
        raise InputError(
            f"{path}: carries a config without a model; give one: tools/test.py CONFIG {path}"
        )
    for number, (place, key, _) in enumerate(entries(config)):
        if number >= MAX_ENTRIES or len(key) > MAX_TEXT or place.count(".") >= MAX_DEPTH:
            raise InputError(
                f"{path}: its config has more than {MAX_ENTRIES} entries, is nested deeper than "
                f"{MAX_DEPTH} levels, or has keys of more than {MAX_TEXT} letters"
            )
    for place, key, value in list(entries(config)):
        if key == "class_set" and str(value).endswith(".json"):
            _refuse_config(
                path, f"says {place}={value!r:.80}, which would open or download another file"
            )
        if key == "representation" and isinstance(value, dict):
            # meaning of options that are left out, when it was trained
            value.update(stated_options(value, is_old=True))
    return config


def evaluation_config(stored: dict, path: str | Path) -> Config:
    """A complete config to evaluate a checkpoint with, made from the config that it carries.

    Args:
        stored: from :func:`stored_config`.
        path: the checkpoint's file, for messages.

    Raises:
        InputError: the config needs further modules, or names a class that does more than compute.
    """
    imports = stored.get("custom_imports") or {}
    modules = imports.get("imports", []) if isinstance(imports, dict) else [imports]
    foreign = (
        [name for name in modules if name not in ("etram_mmdet", "etram_mmdet.plugins")]
        if isinstance(modules, list)
        else [modules]
    )
    if foreign:
        _refuse_config(path, f"needs the modules {', '.join(map(str, foreign)):.200}")
    config = evaluation_keys(stored)
    for place, key, value in entries(config):
        _check_entry(place, key, value, path)
    for loader in LOADERS:
        _check_batch(config.get(loader), path)
    _check_test_cfg(config["model"].get("test_cfg"), path)
    # mmengine accepts all keys of validation or none
    validates = {} if config.get("val_dataloader") else dict(val_cfg=None)
    return Config({**_RUNTIME, **validates, **config})


def evaluation_keys(stored: dict) -> dict:
    """The part of a checkpoint's config that an evaluation needs.

    Args:
        stored: from :func:`stored_config`.
    """
    # a complete config: its loaders describe the data that were built
    has_data = stored.get("val_dataloader") or stored.get("test_dataloader")
    return {
        key: stored[key]
        for key in (*_EVALUATION_KEYS, *(() if has_data else KINDS))
        if key in stored
    }


def _check_batch(loader: object, path: str | Path) -> None:
    """Refuse a batch of too many frames, counted with the longest clip of all data sets."""
    batch = loader.get("batch_size") if isinstance(loader, dict) else None
    clips = (
        [value for _, key, value in entries(loader) if key == "clip_length"]
        if isinstance(batch, int)
        else []
    )
    frames = max((batch * clip for clip in clips if isinstance(clip, int)), default=0)
    if frames > MAX_FRAMES_PER_BATCH:
        _refuse_config(
            path, f"asks for batches of {frames} frames, more than {MAX_FRAMES_PER_BATCH}"
        )


def _check_test_cfg(test_cfg: object, path: str | Path) -> None:
    """Check the settings of post-processing, which are first read when a box is found."""
    if not isinstance(test_cfg, dict) or type(test_cfg.get("score_thr")) not in (int, float):
        _refuse_config(path, "has no number as model.test_cfg.score_thr")
    nms = test_cfg.get("nms", {"iou_threshold": 1.0})
    if not isinstance(nms, dict) or type(nms.get("iou_threshold")) not in (int, float):
        _refuse_config(path, "has no number as model.test_cfg.nms.iou_threshold")
    for key in ("nms_pre", "max_per_img", "min_bbox_size"):
        if type(test_cfg.get(key, 0)) is not int:
            _refuse_config(
                path, f"says model.test_cfg.{key}={test_cfg[key]!r:.40}, expected a whole number"
            )


def check_frame(model: nn.Module, path: str | Path) -> None:
    """Refuse a model that pads the smallest frame to one that fills the memory.

    Args:
        model: the built detector.
        path: the checkpoint's file, for the message.

    Raises:
        InputError: frames are padded to more than `MAX_PIXELS`.
    """
    hw = getattr(model.data_preprocessor, "size_divisor", None) or (1, 1)
    if math.prod(hw) > MAX_PIXELS:
        _refuse_config(
            path,
            f"pads frames to multiples of {' x '.join(map(str, hw))}, more than {MAX_PIXELS} "
            "pixels",
        )


@contextmanager
def carried_by(path: str | Path) -> Iterator[None]:
    """Turn errors of a block into errors that name a checkpoint and the config that it carries.

    A config has thousands of values, and each class meets a wrong one with an error of its own.

    Args:
        path: the checkpoint's file.

    Raises:
        InputError: the block raised an error.
    """
    try:
        yield
    except InputError as error:
        if str(path) in str(error):
            raise
        raise InputError(f"{path}: {error}") from error
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"{path}: nothing can be built from the config that it carries "
            f"({type(error).__name__}: {first:.200}). Test it with a config that you trust: "
            f"tools/test.py CONFIG {path}"
        ) from error


def _check_entry(place: str, key: str, value: object, path: str | Path) -> None:
    if key == "_scope_" or (key == "type" and not computes_only(value)):
        name = None if key == "_scope_" else value
        _refuse_config(
            path,
            f"names {name!r:.80}, which is not among the classes allowed in an untrusted config",
        )
    if key in _SOURCES and value is not None:
        _refuse_config(
            path, f"says {place}={value!r:.80}, which would open or download another file"
        )
    kind = KINDS.get(key, object)
    if value is not None and not isinstance(value, kind):
        _refuse_config(path, f"says {place}={value!r:.40}, expected {kind_name(key)}")
    most = MAX_OF_KEY.get(key, MAX_INTEGER)
    is_bounded = isinstance(value, int) or (isinstance(value, float) and key in MAX_OF_KEY)
    if is_bounded and abs(value) > most:
        _refuse_config(path, f"asks for {place}={value}, more than {most}")


def computes_only(name: object) -> bool:
    """Whether a ``type`` can only mean classes that compute and do nothing else.

    Every class that is registered under the name has to come from ``_COMPUTING_PACKAGES`` and must
    not need a file or a download (``_SOURCES``). A name in a scope is one of mmdet's own.

    Args:
        name: the ``type`` of a config.
    """
    if not isinstance(name, str) or "." in name.removeprefix("mmdet."):
        return False
    known = name.removeprefix("mmdet.")
    if not any(known in table for table in TABLES):
        fill_registries()
    classes = [table[known] for table in TABLES if known in table]
    return name in _OTHERS or (bool(classes) and all(map(_is_harmless, classes)))


def _is_harmless(cls: type) -> bool:
    constructors = (
        [base.__init__ for base in inspect.getmro(cls)] if inspect.isclass(cls) else [cls]
    )
    taken = {name for each in constructors for name in inspect.signature(each).parameters}
    return f"{cls.__module__}.".startswith(_COMPUTING_PACKAGES) and not taken & {*_SOURCES} - {
        "pretrained"
    }


def entries(config: dict) -> Iterator[tuple[str, str, object]]:
    """Every entry of nested dicts and lists.

    Args:
        config: the outermost dict.

    Yields:
        The dotted place of an entry, its key and its value; the key in a list is that of the list.
    """
    waiting: list[tuple[str, str, object]] = [("", "", config)]
    while waiting:
        place, own_key, node = waiting.pop()
        for name, value in node.items() if isinstance(node, dict) else enumerate(node):
            where = f"{place}.{name}" if place else str(name)
            key = name if isinstance(node, dict) else own_key
            yield where, key, value
            if isinstance(value, dict | list):
                waiting.append((where, key, value))


def _refuse_config(path: str | Path, why: str) -> None:
    raise InputError(
        f"{path}: its config {why}. Name a config that you trust before it: tools/test.py CONFIG "
        f"{path}; tools/detect.py and init_detector take one, too"
    )
