"""Trainings that count epochs.

An epoch is one pass over the sampler; everything behind the config counts steps.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch.utils.data import Dataset

from etram_mmdet.utils.errors import InputError

EPOCH_LOOP = "EpochBasedTrainLoop"  # mmengine's name for a training that counts epochs
STEP_LOOP = "StreamTrainLoop"


def counts_epochs(train_cfg: Mapping) -> bool:
    """Whether a training's length is given in epochs; a complete config gives it in steps.

    Args:
        train_cfg: the key ``train_cfg`` of a config.
    """
    is_told = train_cfg.get("max_epochs") is not None and train_cfg.get("max_iters") is None
    return is_told or bool(train_cfg.get("by_epoch")) or train_cfg.get("type") == EPOCH_LOOP


def check_epochs(train_cfg: Mapping) -> None:
    """Refuse a training that counts epochs without their number, or that gives steps as well.

    Args:
        train_cfg: the key ``train_cfg`` of a config that counts epochs.

    Raises:
        InputError: ``max_epochs`` is missing, or ``max_iters`` is given.
    """
    if train_cfg.get("max_epochs") is None or train_cfg.get("max_iters") is not None:
        raise InputError(
            "train_cfg counts epochs, so it needs max_epochs and no max_iters. In a child config "
            "begin with "
            f"train_cfg=dict(_delete_=True, type='{EPOCH_LOOP}', max_epochs=..., val_interval=1)"
        )


def steps_of_epoch(cfg: Config, dataset: Dataset | None = None) -> int:
    """Steps of one epoch: the length of the training's sampler.

    The sampler counts the lanes of all processes.

    Args:
        cfg: a complete config, of which only the training's length is open.
        dataset: the training data. Default: they are read.
    """
    dataset = training_data(cfg) if dataset is None else dataset
    return len(Runner.build_dataloader(with_dataset(cfg.train_dataloader, dataset), seed=0))


def training_data(cfg: Config) -> Dataset:
    """Read the training data of a config.

    Args:
        cfg: a complete config, of which only the training's length is open.
    """
    init_default_scope(cfg.get("default_scope", "mmdet"))
    dataset = DATASETS.build(copy.deepcopy(cfg.train_dataloader.dataset))
    if hasattr(dataset, "full_init"):
        dataset.full_init()
    return dataset


def with_dataset(loader: Mapping, dataset: Dataset) -> dict:
    """The config of a loader of a data set that was read already.

    mmengine copies the config, and with it every object in it. It does not copy a function.

    Args:
        loader: config of the loader.
        dataset: its data set.
    """
    return dict(loader, dataset=dict(type=lambda: dataset))


def count_in_steps(cfg: Config, length: int) -> None:
    """Turn the length of a training from epochs into steps, in place.

    ``train_cfg`` keeps ``max_epochs``, from which hooks learn where an epoch ends. Schedules with
    ``by_epoch=True`` change with every step, as mmengine's ``convert_to_iter_based=True`` makes
    them.

    Args:
        cfg: a complete config, of which only the training's length is open.
        length: steps of one epoch.
    """
    train_cfg = cfg.train_cfg
    train_cfg.pop("by_epoch", None)
    if train_cfg.get("type", EPOCH_LOOP) == EPOCH_LOOP:
        train_cfg.type = STEP_LOOP
    train_cfg.max_iters = train_cfg.max_epochs * length
    for key in ("val_interval", "val_begin"):
        train_cfg[key] = train_cfg.get(key, 1) * length
    if train_cfg.get("dynamic_intervals"):
        train_cfg.dynamic_intervals = [
            (a * length, b * length) for a, b in train_cfg.dynamic_intervals
        ]
    for scheduler in cfg.get("param_scheduler") or []:
        if scheduler.get("by_epoch", True):
            _convert(scheduler, train_cfg.max_epochs, length)
    for hook in (cfg.get("default_hooks") or {}).values():
        if (
            isinstance(hook, dict)
            and hook.get("type") == "CheckpointHook"
            and hook.get("by_epoch", True)
        ):
            hook.by_epoch = False
            scaled = {
                key: hook[key] * length
                for key in ("interval", "save_begin")
                if hook.get(key, 0) > 0
            }
            hook.update(scaled)


def _convert(scheduler: dict, epochs: int, length: int) -> None:
    if scheduler["type"] == "OneCycleLR":  # whose length follows from that of the training
        scheduler["by_epoch"] = False
        if scheduler.get("total_steps") is not None:
            scheduler["total_steps"] *= length
    else:
        scheduler["convert_to_iter_based"] = True
        scheduler.setdefault("end", epochs)
