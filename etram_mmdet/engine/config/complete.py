"""Fill in what a config leaves to be asked: input channels, learning rate, schedule length, precision."""

from __future__ import annotations

import math

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size, init_dist, is_distributed
from mmengine.model import is_model_wrapper
from torch import nn
from torch.distributed import init_process_group
from torch.utils.data import Dataset

from etram_mmdet.events.representations import channels_of
from etram_mmdet.models.building import takes_key
from etram_mmdet.utils.errors import InputError


def resolve(cfg: Config, device: str) -> list[str]:
    """Complete ``cfg`` in place; returns one sentence for the log per decision."""
    if cfg.get("launcher", "none") != "none":
        cfg.model_wrapper_cfg = dict(type="StreamDataParallel", broadcast_buffers=False)
    notes = _without_gpu(cfg) if device == "cpu" else []
    if device == "cuda":
        _check_half_precision(cfg.get("optim_wrapper") or {})
    fill_in_channels(cfg)
    if cfg.get("train_cfg"):
        notes.append(_learning_rate(cfg))
    return notes


def fill_in_channels(cfg: Config) -> None:
    """Give the backbone the channels of the configured representation; ``InputError`` where it states others."""
    loaders = [cfg.get(f"{part}_dataloader") for part in ("train", "val", "test")]
    described = [
        loader["dataset"]["representation"] for loader in loaders if loader and "representation" in loader["dataset"]
    ]
    backbone = cfg.get("model", {}).get("backbone")
    if not described or not backbone or not takes_key(backbone, "in_channels"):
        return
    channels = channels_of(described[0])
    stated = backbone.get("in_channels")
    if stated is None:
        backbone["in_channels"] = channels
    elif stated != channels:
        raise InputError(
            f"model.backbone.in_channels={stated}, but {described[0]['type']} makes {channels} channels; leave "
            "in_channels out of the config or correct the representation"
        )


def _learning_rate(cfg: Config) -> str:
    """lr = base_lr * sqrt(batch / base batch), RVT's rule, for every rate that the config leaves open.

    ``batch`` is that of one process, or that of all with ``auto_scale_lr.enable`` (``--auto-scale-lr``).
    """
    scale = cfg.auto_scale_lr
    batch = cfg.train_dataloader.batch_size * (get_world_size() if scale.get("enable") else 1)
    lr = cfg.base_lr * math.sqrt(batch / scale.base_batch_size)
    scale.enable = False  # done here; mmengine's own linear rule would not reach a one-cycle schedule
    optimizer = cfg.optim_wrapper.optimizer
    if optimizer.get("lr") is None:
        optimizer.lr = lr
    for scheduler in cfg.get("param_scheduler", []):
        if scheduler["type"] == "OneCycleLR":
            if scheduler.get("eta_max") is None:
                scheduler["eta_max"] = optimizer.lr
            scheduler.setdefault("total_steps", cfg.train_cfg.max_iters)
            _check_warm_up(scheduler["total_steps"], scheduler.get("pct_start", 0.3))
    return (
        f"learning rate {optimizer.lr:.3g} for batch size {batch} (rule: {cfg.base_lr:g} * sqrt(batch / "
        f"{scale.base_batch_size}) = {lr:.3g})"
    )


def _check_warm_up(steps: int, share: float) -> None:
    """OneCycleLR divides by the length of the warm-up, which it counts one step short."""
    if math.isclose(steps * share, 1):
        raise InputError(
            f"param_scheduler: pct_start={share} of {steps} steps is a warm-up of a single step, which OneCycleLR "
            f"cannot do; take train_cfg.max_iters={steps + 1}"
        )


def _without_gpu(cfg: Config) -> list[str]:
    notes = []
    wrapper = cfg.get("optim_wrapper") or {}
    if wrapper.get("type") == "AmpOptimWrapper":
        wrapper["type"] = "OptimWrapper"
        for key in ("loss_scale", "dtype"):
            wrapper.pop(key, None)
        notes.append("no GPU: training in float32 instead of mixed precision")
    cfg.sync_bn = None  # exists for GPUs only
    if cfg.get("launcher", "none") != "none":
        cfg.model_wrapper_cfg.device_ids = None
        notes.append("no GPU: processes talk through gloo, each with its own BatchNorm statistics")
    return notes


def _check_half_precision(wrapper: dict) -> None:
    if wrapper.get("dtype") == "bfloat16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise InputError(
            f"optim_wrapper.dtype='bfloat16', but {torch.cuda.get_device_name()} has no bfloat16; leave dtype out for "
            "float16, or train in float32 with optim_wrapper.type=OptimWrapper"
        )


def start_processes(cfg: Config, device: str) -> None:
    """Join the other processes of a launcher; mmengine's own way of doing so needs a GPU."""
    if cfg.get("launcher", "none") == "none" or is_distributed():
        return
    if device == "cpu":
        init_process_group("gloo")
    else:
        init_dist(cfg.launcher, **cfg.env_cfg.dist_cfg)


def check_classes(model: nn.Module, dataset: Dataset) -> None:
    """Raise ``InputError`` when the head and the data count classes differently."""
    head = (model.module if is_model_wrapper(model) else model).bbox_head
    classes = dataset.metainfo["classes"]
    if head.num_classes != len(classes):
        raise InputError(
            f"model.bbox_head.num_classes={head.num_classes}, but {dataset.folder} has {len(classes)} classes: "
            f"{', '.join(classes)}. Set num_classes={len(classes)} or another class_set"
        )


def check_same_classes(one: Dataset | None, other: Dataset) -> None:
    """Raise ``InputError`` where two data sets of a run call their classes differently; ``None`` for the first."""
    if one is None or list(one.metainfo["classes"]) == list(other.metainfo["classes"]):
        return
    raise InputError(
        f"{one.folder} has the classes {', '.join(one.metainfo['classes'])}, but {other.folder} has "
        f"{', '.join(other.metainfo['classes'])}; a network tells them by number, so give all data sets of a "
        "config one class_set and metainfo"
    )
