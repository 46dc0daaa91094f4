"""Read configs and complete them."""

from __future__ import annotations

import copy
from pathlib import Path

from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

from etram_mmdet.datasets.shared_keys import (
    SHARED,
    adopt_data_keys,
    override_data_keys,
    share_data_keys,
)
from etram_mmdet.engine.config.complete import (
    check_steps,
    complete_hooks,
    complete_loaders,
    complete_schedule,
)
from etram_mmdet.engine.config.keys import (
    check_keys,
    check_options,
    drop_variables,
    use_whole_numbers,
)
from etram_mmdet.engine.config.reading import read_config
from etram_mmdet.engine.config.refusals import refused_settings
from etram_mmdet.models.building import complete_model
from etram_mmdet.models.detectors.one_stage import check_one_stage
from etram_mmdet.utils.environment import ROOT, find_config
from etram_mmdet.utils.errors import InputError

# Registers all plugins. Given as text, because this package must not import that module.
PLUGINS = "etram_mmdet.plugins"


def load_config(path: str | Path, options: dict | None = None) -> Config:
    """Read a config file and complete it.

    mmengine's ``Runner`` and mmdet's functions take the result.

    Args:
        path: a config file of your own, or the name of one that comes with the package.
        options: ``--cfg-options``, by dotted key. Default: none.

    Raises:
        InputError: there is no such file, nothing reads one of its keys or options, or it
            contradicts itself.
    """
    path = find_config(path)
    if not path.exists():
        raise InputError(f"{path}: no such config; {ROOT / 'configs'} holds the existing ones")
    import_modules_from_strings(PLUGINS)
    cfg = read_config(path)
    with refused_settings(cfg):
        check_one_stage(cfg.get("model") or {})  # first: the keys of two stages are unknown, too
        check_keys(cfg, path)
    apply_options(cfg, options)
    drop_variables(cfg)
    return cfg


def apply_options(cfg: Config, options: dict | None) -> None:
    """Merge ``--cfg-options`` into a config and complete it, in place.

    An option for one of the keys that all data sets share is set in every data set, whatever the
    config has there.

    Args:
        cfg: a config.
        options: values by dotted key, or None.
    """
    with refused_settings(cfg):
        _apply(cfg, options or {})


def _apply(cfg: Config, options: dict) -> None:
    check_options(cfg, options)
    shared = sorted({option.split(".")[0] for option in options} & {*SHARED})
    if any(cfg.get(key) is None for key in shared):
        adopt_data_keys(cfg)
    of_all = {key: value for key, value in (options).items() if key.split(".")[0] in shared}
    of_one = {key: value for key, value in (options).items() if key not in of_all}
    _merge(cfg, of_all)
    override_data_keys(cfg, shared)
    _merge(cfg, of_one)  # last, so that an option for one data set that says otherwise is refused
    use_whole_numbers(cfg)
    complete_config(cfg)


def _merge(cfg: Config, options: dict) -> None:
    for key, value in options.items():
        cfg.merge_from_dict({key: copy.deepcopy(value)})  # a merge takes what it was given apart


def complete_config(cfg: Config) -> None:
    """Fill in every setting of a config that follows from another one, in place.

    Args:
        cfg: a whole config.

    Raises:
        InputError: a setting is given twice and differently; the message names both places.
    """
    name_plugins(cfg)
    share_data_keys(cfg)
    complete_model(cfg)
    check_steps(cfg)
    complete_loaders(cfg)
    complete_schedule(cfg)
    complete_hooks(cfg)


def name_plugins(cfg: Config) -> None:
    """Make ``custom_imports`` begin with :data:`PLUGINS`, in place.

    That registers everything under mmdet's own tools too. Configs of versions before 0.2 name the
    package instead, whose import registered everything.

    Args:
        cfg: a config.
    """
    imports = cfg.get("custom_imports") or {}
    modules = imports.get("imports") or []
    modules = [modules] if isinstance(modules, str) else list(modules)
    others = [module for module in modules if module not in ("etram_mmdet", PLUGINS)]
    cfg.custom_imports = dict(imports, imports=[PLUGINS, *others])
