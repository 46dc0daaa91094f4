"""The config to test a checkpoint with: its own, or a given one that describes the same model."""

from __future__ import annotations

import copy
import logging
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.utils import import_modules_from_strings
from torch.random import fork_rng

from etram_mmdet.datasets.shared_keys import dataset_config, representation_of
from etram_mmdet.engine.checkpoints.carried_config import (
    carried_by,
    check_frame,
    evaluation_config,
    stored_config,
)
from etram_mmdet.engine.checkpoints.contents import CONFIG_KEY
from etram_mmdet.engine.checkpoints.loading import check_weights, load_checkpoint_file
from etram_mmdet.engine.config.differences import model_differences
from etram_mmdet.engine.config.load import PLUGINS, apply_options, load_config
from etram_mmdet.models.building import build_detector, complete_model
from etram_mmdet.utils.errors import InputError

_TRAINING = ("train_cfg", "train_dataloader", "optim_wrapper", "param_scheduler")


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
    cfg = config_for(content, config, checkpoint, options)
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


def config_for(
    content: dict, config: str | Path | Config | None, checkpoint: str | Path, options: dict | None
) -> Config:
    """The config for a checkpoint that was read.

    Args:
        content: from :func:`load_checkpoint_file`.
        config: as for :func:`config_for_checkpoint`.
        checkpoint: as for :func:`config_for_checkpoint`.
        options: as for :func:`config_for_checkpoint`.

    Raises:
        InputError: settings of ``config`` differ from the checkpoint's model.
    """
    if config is None:
        import_modules_from_strings(PLUGINS)
        cfg = evaluation_config(stored_config(content, checkpoint), checkpoint)
        if options:
            apply_options(cfg, options)
            _warn_of_other_frames(cfg, stored_config(content, checkpoint), checkpoint)
        return cfg
    cfg = loaded(config, options)
    if CONFIG_KEY in content.get("meta", {}):
        with carried_by(checkpoint):
            stored = stored_config(content, checkpoint)
            _refuse_differences(cfg, stored, config, checkpoint)
        _warn_of_other_frames(cfg, stored, checkpoint)
    return cfg


def loaded(config: str | Path | Config, options: dict | None) -> Config:
    """A complete config with options; a given one is not changed.

    Args:
        config: its file, or a config that was loaded before.
        options: ``--cfg-options``, by dotted key, or None.
    """
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
