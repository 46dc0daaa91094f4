"""In which settings do two configs differ, or two models?"""

from __future__ import annotations

import copy
import inspect
from contextlib import suppress
from pathlib import Path

from mmengine.config import Config
from mmengine.device import get_device

from etram_mmdet.datasets.shared_keys import SHARED
from etram_mmdet.engine.config.complete import resolve
from etram_mmdet.engine.config.constructors import registered
from etram_mmdet.engine.config.keys import drop_variables
from etram_mmdet.engine.config.load import complete_config
from etram_mmdet.utils.errors import InputError

MOST_DIFFERENCES = 16
_DECIDED_AT_START = ("work_dir", "launcher", "resume", "load_from", "model_wrapper_cfg")

# They change how a model is trained or thresholded, not what its weights mean.
_IRRELEVANT = ("train_cfg", "test_cfg", "init_cfg", "with_cp")


def model_differences(config: dict, checkpoint: dict, path: str = "") -> list[str]:
    """One line per differing setting, like ``backbone.patch_size: config 4, checkpoint 2``.

    A setting that one side leaves out counts as its class's default. Losses and training or test settings are not
    compared.
    """
    lines = []
    for key in sorted({*config, *checkpoint}):
        if key in _IRRELEVANT or key.startswith("loss_"):
            continue
        ours, theirs = _setting(config, key), _setting(checkpoint, key)
        where = f"{path}{key}"
        if isinstance(ours, dict) and isinstance(theirs, dict):
            lines += model_differences(ours, theirs, f"{where}.")
        elif _plain(ours) != _plain(theirs):
            lines.append(f"{where}: config {_shown(ours)}, checkpoint {_shown(theirs)}")
    return lines


def _setting(cfg: dict, key: str) -> object:
    if key in cfg or "type" not in cfg:
        return cfg.get(key)
    classes = registered(cfg["type"])  # MODELS.get would import the module that a dotted name begins with
    for base in getattr(classes[0], "__mro__", ()) if classes else ():
        parameter = inspect.signature(base.__init__).parameters.get(key)
        if parameter is not None:
            return None if parameter.default is inspect.Parameter.empty else parameter.default
    return None


def _plain(value: object) -> object:
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return value.get("type", str(value))
    return "unset" if value is None else str(_plain(value))


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


def differences_to_parent(cfg: Config) -> list[str]:
    """What a config, with its options, changes of the files that its ``_base_`` names; one sentence at least.

    Both sides are complete, so that a setting counts whatever place it was written to.
    """
    path = Path(cfg.filename) if cfg.filename else None
    bases = Config._get_base_files(str(path)) if path and path.is_file() else []
    if not bases:
        return ["has no _base_ to differ from"]
    parents = Config({})
    for base in bases:
        parents.merge_from_dict(Config.fromfile(Config._get_cfg_path(base, str(path))[0]).to_dict())
    ours = copy.deepcopy(cfg)
    resolve(ours, get_device())
    with suppress(InputError):  # fragments may not make a whole config
        complete_config(parents)
        resolve(parents, get_device())
    drop_variables(parents)
    found = [line for line in config_differences(parents.to_dict(), ours.to_dict()) if not _is_said_elsewhere(line)]
    listed = found[:MOST_DIFFERENCES]
    if len(found) > len(listed):
        listed.append(f"and {len(found) - len(listed)} settings more")
    return [f"from {', '.join(bases)}{'' if found else ': nothing'}", *listed]


def _is_said_elsewhere(line: str) -> bool:
    """Whether a setting follows from another one, or is a path of this run."""
    setting = line.split(":")[0]
    is_shared = ".dataset." in setting and setting.split(".dataset.")[1].split(".")[0] in SHARED
    return is_shared or setting in _DECIDED_AT_START
