"""Configs and command lines of the tools."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

from etram_mmdet.engine.checkpoints.files import CONFIG_KEY, load_checkpoint_file, stored_config
from etram_mmdet.engine.config.checkpoint_config import carried_by, check_model, evaluation_config
from etram_mmdet.engine.config.complete import fill_in_channels
from etram_mmdet.engine.config.differences import model_differences
from etram_mmdet.engine.config.keys import check_keys, check_options
from etram_mmdet.engine.config.known_keys import SHARED
from etram_mmdet.events.class_sets import get_class_set
from etram_mmdet.utils.bundled import ROOT, find_config
from etram_mmdet.utils.errors import InputError

# Registers all plugins. Named as text: it stands above this package in the order of imports.
PLUGINS = "etram_mmdet.plugins"
_TRAINING = ("train_cfg", "train_dataloader", "optim_wrapper", "param_scheduler")
_LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")


def load_config(path: str | Path, options: dict | None = None) -> Config:
    """Read a config file, one's own or one that comes with the package, and apply ``--cfg-options``.

    Raises:
        InputError: when there is no such file, or for keys in it or among the options that nothing reads.
    """
    path = find_config(path)
    if not path.is_file():
        raise InputError(f"{path}: no such config; {ROOT / 'configs'} holds the ones that exist")
    import_modules_from_strings(PLUGINS)
    cfg = Config.fromfile(path)
    name_plugins(cfg)
    check_keys(cfg, path)
    apply_options(cfg, options)
    return cfg


def name_plugins(cfg: Config) -> None:
    """Let ``custom_imports`` begin with :data:`PLUGINS`, which registers everything under mmdet's own tools too.

    Configs of versions before 0.2 name the package instead, whose import registered everything.
    """
    imports = cfg.get("custom_imports") or {}
    modules = imports.get("imports") or []
    modules = [modules] if isinstance(modules, str) else list(modules)
    others = [module for module in modules if module not in ("etram_mmdet", PLUGINS)]
    cfg.custom_imports = dict(imports, imports=[PLUGINS, *others])


def apply_options(cfg: Config, options: dict | None) -> None:
    """``--cfg-options``; ``data_root=...`` and its like reach the training, validation and test data."""
    check_options(cfg, options or {})
    for key, value in (options or {}).items():
        places = [f"{loader}.dataset.{key}" for loader in _LOADERS if cfg.get(loader)]
        for place in (key, *(places if key.split(".")[0] in SHARED else ())):
            cfg.merge_from_dict({place: copy.deepcopy(value)})  # a merge takes what it was given apart


def config_differences(before: dict, after: dict, path: str = "") -> list[str]:
    """One line per setting that differs, like ``model.backbone.patch_size: 4, now 2``; lists count as one setting."""
    lines = []
    for key in sorted({*before, *after}):
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            lines += config_differences(old, new, f"{path}{key}.")
        elif _as_lists(old) != _as_lists(new):
            lines.append(f"{path}{key}: {_short(old)}, now {_short(new)}")
    return lines


def _as_lists(value: object) -> object:
    if isinstance(value, dict):
        return {key: _as_lists(v) for key, v in value.items()}
    return [_as_lists(v) for v in value] if isinstance(value, list | tuple) else value


def _short(value: object) -> str:
    return value["type"] if isinstance(value, dict) and "type" in value else "unset" if value is None else str(value)


def config_for_checkpoint(config: str | Path | None, checkpoint: str | Path, options: dict | None) -> Config:
    """The config to test a checkpoint with: its own, or ``config`` where that describes the same model.

    Raises:
        InputError: naming each setting of ``config`` that differs from the checkpoint's model or classes.
    """
    content = load_checkpoint_file(checkpoint)
    if config is None:
        cfg = evaluation_config(stored_config(content, checkpoint), checkpoint)
        apply_options(cfg, options)
        check_model(cfg, content["state_dict"], checkpoint)
    else:
        cfg = load_config(config, options)
        fill_in_channels(cfg)
        if CONFIG_KEY in content.get("meta", {}):
            with carried_by(checkpoint):
                _refuse_differences(cfg, stored_config(content, checkpoint), config, checkpoint)
    cfg.load_from, cfg.resume = str(checkpoint), False
    cfg.merge_from_dict(dict.fromkeys(_TRAINING))
    return cfg


def _refuse_differences(cfg: Config, trained: dict, config: str | Path, checkpoint: str | Path) -> None:
    differences = model_differences(cfg.model.to_dict(), trained["model"])
    ours, theirs = cfg.get("class_set"), trained.get("class_set")
    if ours and theirs and get_class_set(ours).classes != get_class_set(theirs).classes:
        differences.append(f"class_set: config {ours}, checkpoint {theirs}")
    if differences:
        raise InputError(
            f"{config} describes another model than {checkpoint}:\n  "
            + "\n  ".join(differences)
            + f"\nTest the checkpoint with the config that it carries: tools/test.py {checkpoint}"
        )


@contextmanager
def exit_on_input_error() -> Iterator[None]:
    """Turn the errors that a user can mend into one line on stderr and exit status 1."""
    try:
        yield
    except (InputError, FloatingPointError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted")
