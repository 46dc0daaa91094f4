"""From a checkpoint to a detector: open and check the file, and build from its config.

mmengine's loader falls back to full unpickling and evaluates the config in a file as Python. Here a
file is read as tensors and plain values, and its config may use registered names only.
"""

from __future__ import annotations

import copy
import logging
from pathlib import Path

import torch
from mmdet.visualization import get_palette
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.registry import init_default_scope
from mmengine.utils import import_modules_from_strings
from torch import nn
from torch.random import fork_rng

from etram_mmdet.datasets.shared_keys import (
    dataset_config,
    dataset_configs,
    metainfo_of,
    representation_of,
)
from etram_mmdet.engine.checkpoints.carried_config import (
    carried_by,
    check_frame,
    evaluation_config,
    stored_config,
)
from etram_mmdet.engine.checkpoints.contents import (
    CONFIG_KEY,
    DOMAIN_KEY,
    SENSOR_KEY,
    STEP_KEY,
    known_contents,
)
from etram_mmdet.engine.checkpoints.folder import checkpoint_file
from etram_mmdet.engine.checkpoints.tensor_file import read_tensor_file
from etram_mmdet.engine.checkpoints.weights import check_weights, load_strictly
from etram_mmdet.engine.config.differences import model_differences
from etram_mmdet.engine.config.load import PLUGINS, apply_options, load_config
from etram_mmdet.engine.config.refusals import refused_settings
from etram_mmdet.events.preprocessing.frame_times import STEP_US
from etram_mmdet.models.building import build_detector, complete_model
from etram_mmdet.models.inference import Streamer
from etram_mmdet.utils.errors import InputError

ALLOW_KEY = "allow_other_classes"  # of a config: a training may start from weights of other classes
_TRAINING = ("train_cfg", "train_dataloader", "optim_wrapper", "param_scheduler")


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
        cfg = _loaded(config, cfg_options)
    else:
        cfg = _config_for(content, config if is_trusted else None, weights, cfg_options)
    model = _built(cfg, content, weights, is_trusted)
    _describe(model, cfg, content or {}, weights)
    if palette != "none":
        classes = model.dataset_meta["classes"]
        model.dataset_meta = dict(classes=classes, palette=get_palette(palette, len(classes)))
    return model.to(place).eval()


def _describe(model: nn.Module, cfg: Config, content: dict, weights: str | Path | None) -> None:
    """Set what a detector says about itself and its training."""
    model.cfg = _with_loading(cfg)
    model.dataset_meta = metainfo_of(dataset_config(cfg)) | _stored_metainfo(content, weights)
    model.step_us = _trained_step_us(content, cfg)
    model.sensor_px = _trained_sensor_px(content, cfg)
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


def load_checkpoint_file(path: str | Path) -> dict:
    """Read a checkpoint without executing what it contains; tensors are on the CPU.

    Args:
        path: the file, or a work folder, of which the newest checkpoint is used.

    Raises:
        InputError: the file is missing, damaged, not a checkpoint, or holds more than tensors and
            plain values.
    """
    path = checkpoint_file(path)
    return known_contents(read_tensor_file(path), path)


def config_for_checkpoint(
    config: str | Path | Config | None, checkpoint: str | Path, options: dict | None
) -> Config:
    """The config to test a checkpoint with.

    Args:
        config: a config that describes the checkpoint's model. None: the config that the checkpoint
            carries.
        checkpoint: the file, or a work folder.
        options: ``--cfg-options``, by dotted key, or None.

    Raises:
        InputError: settings of ``config`` differ from the checkpoint's model or classes; the
            message names each.
    """
    content = load_checkpoint_file(checkpoint)
    cfg = _config_for(content, config, checkpoint, options)
    if config is None:
        with carried_by(checkpoint), fork_rng(devices=[]):
            model = build_detector(cfg, content["state_dict"], str(checkpoint))
            complete_model(cfg)
            check_frame(model, checkpoint)
        check_weights(model, content["state_dict"], str(checkpoint))
    cfg.load_from = str(checkpoint)
    cfg.resume = False
    cfg.merge_from_dict(dict.fromkeys(_TRAINING))
    return cfg


def _config_for(
    content: dict, config: str | Path | Config | None, checkpoint: str | Path, options: dict | None
) -> Config:
    if config is None:
        import_modules_from_strings(PLUGINS)
        cfg = evaluation_config(stored_config(content, checkpoint), checkpoint)
        if options:
            apply_options(cfg, options)
            _warn_of_other_frames(cfg, stored_config(content, checkpoint), checkpoint)
        return cfg
    cfg = _loaded(config, options)
    if CONFIG_KEY in content.get("meta", {}):
        with carried_by(checkpoint):
            stored = stored_config(content, checkpoint)
            _refuse_differences(cfg, stored, config, checkpoint)
        _warn_of_other_frames(cfg, stored, checkpoint)
    return cfg


def _loaded(config: str | Path | Config, options: dict | None) -> Config:
    if not isinstance(config, Config):
        return load_config(config, options)
    cfg = copy.deepcopy(config)
    apply_options(cfg, options)
    return cfg


def _refuse_differences(cfg: Config, trained: dict, config: object, checkpoint: str | Path) -> None:
    differences = model_differences(cfg.model.to_dict(), trained["model"])
    if differences:
        raise InputError(
            f"{config if isinstance(config, str | Path) else 'the config'} describes another model "
            f"than {checkpoint}:\n  "
            + "\n  ".join(differences)
            + "\nCorrect the config, or, for a checkpoint without plugins of your own, test it "
            f"with the config that it carries: tools/test.py {checkpoint}"
        )


def _warn_of_other_frames(cfg: Config, trained: dict, checkpoint: str | Path) -> None:
    """Warn if frames are downsampled in another way than in training."""
    now, then = (
        representation_of(dataset_config(each)).get("downsample", "none") for each in (cfg, trained)
    )
    if now != then:
        print_log(
            f"{checkpoint}: was trained on frames with downsample={then}, but the config has "
            f"downsample={now}: sizes of objects and numbers of events differ from its training",
            "current",
            logging.WARNING,
        )


def checkpoint_classes(content: dict, path: str | Path) -> list[str]:
    """Names of the classes that a checkpoint was trained to find; empty if it does not hold them.

    Args:
        content: from :func:`load_checkpoint_file`.
        path: the checkpoint's file, for messages.
    """
    return [str(name) for name in _stored_metainfo(content, path).get("classes", ())]


def check_checkpoint_classes(content: dict, cfg: Config, path: str) -> None:
    """Refuse a checkpoint of other classes than the data, or of the same classes in another order.

    Args:
        content: from :func:`load_checkpoint_file`.
        cfg: a complete config.
        path: the checkpoint's file, for the message.

    Raises:
        InputError: the classes differ.
    """
    theirs = checkpoint_classes(content, path)
    ours = list(metainfo_of(dataset_config(cfg))["classes"])
    if theirs and theirs != ours:
        allow = (
            f", or set {ALLOW_KEY}=True, which copies all weights but those of the class layers; "
            "in these, only the rows of classes with the same name are copied"
        )
        raise InputError(
            f"{path}: was trained to find {', '.join(theirs)}, but the config's data have "
            f"{', '.join(ours)}; choose the class_set or metainfo that it was trained with"
            f"{allow if cfg.get('train_cfg') else ''}"
        )


def _stored_metainfo(content: dict, path: str | Path) -> dict:
    """Class names and colours that a checkpoint was trained with; empty if not stored."""
    told = content.get("meta", {}).get("dataset_meta") or {}
    if "classes" in told:
        colours = dict(palette=list(map(tuple, told["palette"]))) if "palette" in told else {}
        return dict(classes=tuple(told["classes"]), **colours)
    if CONFIG_KEY not in content.get("meta", {}):
        return {}
    with carried_by(path):
        return metainfo_of(dataset_config(stored_config(content, path)))


def _trained_step_us(content: dict, cfg: Config) -> int | None:
    """Step of the training, from the checkpoint.

    For a checkpoint from before version 0.2 it follows from the config.
    """
    steps_as_rvt = dataset_config(cfg).get("frames") == "rvt"
    return content.get("meta", {}).get(STEP_KEY) or (STEP_US if steps_as_rvt else None)


def _trained_sensor_px(content: dict, cfg: Config) -> tuple[int, int] | None:
    told = content.get("meta", {}).get(SENSOR_KEY) or dataset_config(cfg).get("sensor_px")
    return tuple(told) if told else None


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
