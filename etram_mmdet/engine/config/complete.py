"""Fill in settings that follow from others: learning rate, schedule, needed hooks, precision."""

from __future__ import annotations

import math

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size

from etram_mmdet.datasets.shared_keys import LOADERS
from etram_mmdet.engine.config.epochs import EPOCH_LOOP, check_epochs, counts_epochs
from etram_mmdet.utils.errors import InputError

# Keys that mmengine takes together or not at all.
TOGETHER = {
    "train": ("train_dataloader", "train_cfg", "optim_wrapper"),
    "val": ("val_dataloader", "val_cfg", "val_evaluator"),
    "test": ("test_dataloader", "test_cfg", "test_evaluator"),
}
# Hooks that every training needs: what they do cannot be made up for afterwards.
NEEDED_HOOKS = (
    "ClassCheckHook",
    "FitToDataHook",
    "PlainCheckpointHook",
    "StopOnSignalHook",
    "TrainedDomainHook",
)


def check_steps(cfg: Config) -> None:
    """Refuse a training whose length or schedule cannot work.

    Refused are a training whose length is not clear, a schedule that would never change the
    learning rate, and ``accumulative_counts`` below 1.

    Args:
        cfg: a whole config; one without ``train_cfg`` passes.

    Raises:
        InputError: the message names the key, and says what to write instead.
    """
    train_cfg = cfg.get("train_cfg") or {}
    if not train_cfg:
        return
    if counts_epochs(train_cfg):
        check_epochs(train_cfg)
    if added_up(cfg) < 1:
        raise InputError(
            f"optim_wrapper.accumulative_counts={added_up(cfg)}, expected at least 1: the number "
            "of steps for each update of the weights"
        )
    schedulers = cfg.get("param_scheduler") or []
    for number, scheduler in enumerate(
        [schedulers] if isinstance(schedulers, dict) else schedulers
    ):
        _check_scheduler(f"param_scheduler.{number}: {scheduler.get('type')}", scheduler, train_cfg)


def _check_scheduler(what: str, scheduler: dict, train_cfg: dict) -> None:
    if str(scheduler.get("type")).startswith("ReduceOnPlateau"):
        raise InputError(
            f"{what} follows the results of validations, which a resumed training does not have; "
            "use MultiStepLR, CosineAnnealingLR or OneCycleLR, and EarlyStoppingHook to end a "
            "training that no longer improves"
        )
    is_converted = scheduler.get("convert_to_iter_based") and "end" in scheduler
    if scheduler.get("by_epoch", True) and not is_converted and not counts_epochs(train_cfg):
        raise InputError(
            f"{what} counts epochs (by_epoch=True is the default), but train_cfg counts steps, so "
            "the learning rate would never change. Set by_epoch=False and give the numbers in "
            "steps, or count epochs in train_cfg, too: "
            f"train_cfg=dict(_delete_=True, type='{EPOCH_LOOP}', max_epochs=..., val_interval=1)"
        )


def complete_hooks(cfg: Config) -> None:
    """Add the hooks of `NEEDED_HOOKS` that a config does not name, in place.

    Args:
        cfg: a whole config.
    """
    named = {hook.get("type") for hook in cfg.get("custom_hooks") or []}
    missing = [dict(type=name) for name in NEEDED_HOOKS if name not in named]
    if missing:
        cfg.custom_hooks = [*(cfg.get("custom_hooks") or []), *missing]


def complete_loaders(cfg: Config) -> None:
    """Remove settings that PyTorch refuses for a loader without processes, in place.

    Such a loader has ``num_workers=0``.

    Args:
        cfg: a whole config.
    """
    for name in LOADERS:
        loader = cfg.get(name)
        if isinstance(loader, dict) and not loader.get("num_workers"):
            loader["persistent_workers"] = False
            loader.pop("prefetch_factor", None)


def complete_schedule(cfg: Config, processes: int | None = None) -> None:
    """Fill in open learning rates and the length of the one-cycle schedule, in place.

    The rule is RVT's: lr = base_lr * sqrt(batch / base batch), with the batch of an update of the
    weights: the lanes of a step, times ``optim_wrapper.accumulative_counts``. With
    ``auto_scale_lr.enable`` (``--auto-scale-lr``) these are the lanes of all processes, whose
    number only a running training knows: until then the rates stay open.

    Args:
        cfg: a config with ``base_lr`` and ``auto_scale_lr.base_batch_size``; others are not
            changed.
        processes: number of processes of the training. Default: not known yet.

    Raises:
        InputError: ``--auto-scale-lr`` meets a stated learning rate, or a schedule does not fit the
            training.
    """
    scale = cfg.get("auto_scale_lr") or {}
    if (
        not all(map(cfg.get, TOGETHER["train"]))
        or not cfg.get("base_lr")
        or not scale.get("base_batch_size")
    ):
        return
    if scale.get("enable") and processes is None:
        return
    optimizer = cfg.optim_wrapper.optimizer
    by_rule = rate_by_rule(cfg, processes if scale.get("enable") else 1)
    if optimizer.get("lr") is None:
        optimizer.lr = by_rule
    elif scale.get("enable") and not math.isclose(optimizer.lr, by_rule):
        raise InputError(
            f"--auto-scale-lr: the config sets optim_wrapper.optimizer.lr={optimizer.lr:g}, so the "
            f"rate cannot be scaled (the rule gives {by_rule:.3g}); leave --auto-scale-lr out, or "
            "remove lr and the eta_max of OneCycleLR from the config"
        )
    for scheduler in cfg.get("param_scheduler") or []:
        if scheduler["type"] == "OneCycleLR" and not counts_epochs(cfg.train_cfg):
            if scheduler.get("eta_max") is None:
                scheduler["eta_max"] = optimizer.lr
            scheduler.setdefault("total_steps", cfg.train_cfg.max_iters)
            _check_schedule(scheduler, cfg.train_cfg.max_iters)


def added_up(cfg: Config) -> int:
    """Number of steps whose gradients are added up before the weights change.

    Args:
        cfg: a config with ``optim_wrapper``, whose key is ``accumulative_counts``.
    """
    return cfg.optim_wrapper.get("accumulative_counts", 1)


def rate_by_rule(cfg: Config, processes: int) -> float:
    """The learning rate that follows from ``base_lr`` and the batch of one update.

    Args:
        cfg: a config with ``base_lr`` and ``auto_scale_lr.base_batch_size``.
        processes: number of processes whose lanes count.
    """
    if not cfg.train_dataloader.get("batch_size"):
        raise InputError(
            "train_dataloader.batch_size is missing; the learning rate is computed from it and "
            "base_lr"
        )
    batch = cfg.train_dataloader.batch_size * processes * added_up(cfg)
    return cfg.base_lr * math.sqrt(batch / cfg.auto_scale_lr.base_batch_size)


def check_together(cfg: Config) -> None:
    """Refuse a config with only some of the keys that training, validation or a test needs.

    Args:
        cfg: a whole config.

    Raises:
        InputError: a key is missing; the message names it.
    """
    for task, keys in TOGETHER.items():
        missing = [key for key in keys if not cfg.get(key)]
        if 0 < len(missing) < len(keys):
            others = " ".join(f"{key}=None" for key in keys)
            raise InputError(
                f"{task}: the config lacks {', '.join(missing)}; add it, or set all of these to "
                f"None: {others}"
            )


def _check_schedule(scheduler: dict, steps: int) -> None:
    """Refuse a one-cycle schedule whose length or warm-up does not fit the training.

    Its length has to be that of the training, and its warm-up more than one step: OneCycleLR
    divides by the length of the warm-up, which it counts one step short.
    """
    if scheduler["total_steps"] != steps:
        raise InputError(
            f"train_cfg.max_iters={steps}, but param_scheduler has a OneCycleLR with total_steps="
            f"{scheduler['total_steps']}; leave total_steps out of the config, or set both to the "
            "same number"
        )
    share = scheduler.get("pct_start", 0.3)
    if math.isclose(steps * share, 1):
        raise InputError(
            f"param_scheduler: pct_start={share} of {steps} steps is a warm-up of a single step, "
            f"which OneCycleLR cannot do; set train_cfg.max_iters={steps + 1}"
        )


def resolve(cfg: Config, device: str) -> list[str]:
    """Fill in settings that depend on the machine, in place.

    Args:
        cfg: a complete config.
        device: ``cpu`` or ``cuda``, where the training will run.

    Returns:
        One sentence for the log about each decision.

    Raises:
        InputError: the config asks for a precision that the GPU does not have.
    """
    if cfg.get("launcher", "none") != "none":
        cfg.model_wrapper_cfg = _wrapper(cfg)
    notes = _without_gpu(cfg) if device == "cpu" else []
    if device == "cuda":
        _check_half_precision(cfg.get("optim_wrapper") or {})
    complete_schedule(cfg, get_world_size())
    if cfg.get("auto_scale_lr"):
        # done; mmengine's own linear rule would not reach a one-cycle schedule
        cfg.auto_scale_lr.enable = False
    return notes


def _wrapper(cfg: Config) -> dict:
    """Config of the wrapper by which processes share a model.

    The config's own wrapper is used; mmengine's base class is replaced by ours.
    """
    usual = dict(
        type="StreamDataParallel",
        broadcast_buffers=False,
        find_unused_parameters=cfg.get("find_unused_parameters", False),
    )
    stated = dict(cfg.get("model_wrapper_cfg") or {})
    if str(stated.get("type")).endswith("MMDistributedDataParallel"):
        stated.pop("type")  # it knows nothing of micro_batch
    return usual | stated


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
        notes.append(
            "no GPU: processes communicate through gloo, and each one keeps its own BatchNorm "
            "statistics"
        )
    return notes


def _check_half_precision(wrapper: dict) -> None:
    if wrapper.get("dtype") == "bfloat16" and not torch.cuda.is_bf16_supported(
        including_emulation=False
    ):
        raise InputError(
            f"optim_wrapper.dtype='bfloat16', but {torch.cuda.get_device_name()} has no bfloat16; "
            "leave dtype out to train in float16, or train in float32 with "
            "optim_wrapper.type=OptimWrapper"
        )
