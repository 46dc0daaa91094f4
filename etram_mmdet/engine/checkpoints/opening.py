"""From a checkpoint to a detector: open and check the file, and build from its config.

mmengine's loader falls back to full unpickling and evaluates the config in a file as Python. Here a
file is read as tensors and plain values, and its config may use registered names only.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from mmdet.visualization import get_palette
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from torch import nn

from etram_mmdet.datasets.shared_keys import dataset_config, dataset_configs, metainfo_of
from etram_mmdet.engine.checkpoints.carried_config import carried_by, check_frame
from etram_mmdet.engine.checkpoints.chosen_config import config_for, loaded
from etram_mmdet.engine.checkpoints.contents import DOMAIN_KEY
from etram_mmdet.engine.checkpoints.loading import load_checkpoint_file, load_strictly
from etram_mmdet.engine.checkpoints.trained_with import (
    check_checkpoint_classes,
    stored_metainfo,
    trained_sensor_px,
    trained_step_us,
)
from etram_mmdet.engine.config.refusals import refused_settings
from etram_mmdet.models.building import build_detector, complete_model
from etram_mmdet.models.inference import Streamer
from etram_mmdet.utils.errors import InputError


def init_detector(
    config: str | Path | Config,
    checkpoint: str | Path | None = None,
    palette: str = "none",
    device: str | None = None,
    cfg_options: dict | None = None,
) -> nn.Module:
    """Build a detector in evaluation mode from a config, a checkpoint or both.

    The arguments are those of ``mmdet.apis.init_detector``, in its order. Nothing in a checkpoint
    is executed.

    Args:
        config: a config (file, or a loaded one), or a checkpoint alone, which carries its config;
            ``demo`` is the small one that comes with the package (docs/models.md).
        checkpoint: weights for ``config``. Default: those that ``config`` carries, or new random
            ones.
        palette: colours of the classes, by a name that mmdet knows. Default: ``none``, the colours
            of the class set.
        device: ``cpu``, ``cuda``, ``cuda:1``. Default: the GPU if there is one.
        cfg_options: settings that replace those of the config, by dotted key. Default: none.

    Returns:
        The detector, with these attributes: ``cfg``; ``dataset_meta`` (classes, palette);
            ``step_us``, the microseconds between the ends of two windows in its training;
            ``sensor_px``, width and height of the sensor; ``trained_on``, from :func:`domain_of`
            its training data. ``step_us`` and ``sensor_px`` are ``None`` and ``trained_on`` is
            empty if they are not known.

    Raises:
        InputError: a file is missing, damaged or does not fit.
    """
    if not is_config(config) and checkpoint is not None:
        is_device = str(checkpoint).split(":")[0] in ("cpu", "cuda")
        advice = f"write device={str(checkpoint)!r}" if is_device else f"leave out {checkpoint}"
        raise InputError(
            f"{config}: is a checkpoint itself; {advice}, or name a config (.py) before it"
        )
    place = _usable(device or get_device())
    is_trusted = is_config(config)
    weights = checkpoint if is_trusted else config
    content = None if weights is None else load_checkpoint_file(weights)
    if content is None:
        cfg = loaded(config, cfg_options)
    else:
        cfg = config_for(content, config if is_trusted else None, weights, cfg_options)
    model = _built(cfg, content, weights, is_trusted)
    _describe(model, cfg, content or {}, weights)
    if palette != "none":
        classes = model.dataset_meta["classes"]
        model.dataset_meta = dict(classes=classes, palette=get_palette(palette, len(classes)))
    return model.to(place).eval()


def _describe(model: nn.Module, cfg: Config, content: dict, weights: str | Path | None) -> None:
    """Set what a detector says about itself and its training."""
    model.cfg = _with_loading(cfg)
    model.dataset_meta = metainfo_of(dataset_config(cfg)) | stored_metainfo(content, weights)
    model.step_us = trained_step_us(content, cfg)
    model.sensor_px = trained_sensor_px(content, cfg)
    model.trained_on = content.get("meta", {}).get(DOMAIN_KEY, {})


def _built(
    cfg: Config, content: dict | None, weights: str | Path | None, is_trusted: bool
) -> nn.Module:
    init_default_scope(cfg.get("default_scope", "mmdet"))
    if content is None:
        with refused_settings(cfg):
            return build_detector(cfg)
    with refused_settings(cfg) if is_trusted else carried_by(weights):
        model = build_detector(cfg, None if is_trusted else content["state_dict"], str(weights))
        complete_model(cfg)  # refuses a config that contradicts itself
    check_checkpoint_classes(content, cfg, str(weights))
    load_strictly(model, content["state_dict"], str(weights))
    if not is_trusted:
        _try_blank_frame(model, weights)
    return model


def _with_loading(cfg: Config) -> Config:
    """A copy of a config whose pipelines begin with a loading transform.

    ``mmdet.apis.inference_detector`` replaces that transform.
    """
    cfg = copy.deepcopy(cfg)
    for _, dataset in dataset_configs(cfg):
        if dataset.get("pipeline") and dataset["pipeline"][0].get("type") != "LoadEventFrame":
            dataset["pipeline"] = [dict(type="LoadEventFrame"), *dataset["pipeline"]]
    return cfg


def is_config(path: object) -> bool:
    """Whether an argument is a config and not a checkpoint.

    Args:
        path: a path, or a loaded config.
    """
    return isinstance(path, Config) or str(path).endswith(".py")


def _try_blank_frame(model: nn.Module, checkpoint: str | Path) -> None:
    """Run the model on a blank frame: some wrong values of a config show only there."""
    with carried_by(checkpoint):
        check_frame(model, checkpoint)
        Streamer(model.eval())(torch.zeros(1, model.in_channels, 2, 2, dtype=torch.uint8), None)


def _usable(device: str) -> str:
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch has either, by what is missing
        raise InputError(
            f"device {device!r} cannot be used here ({str(error).splitlines()[0]}); try cpu"
        ) from error
    return device
