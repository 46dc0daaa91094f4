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
from etram_mmdet.utils.private_names import private
from etram_mmdet.utils.text import changes, differences, shown

MOST_DIFFERENCES = 16
_DECIDED_AT_START = ("work_dir", "launcher", "resume", "load_from", "model_wrapper_cfg")

# They change how a model is trained or thresholded, not what its weights mean.
_IRRELEVANT = ("train_cfg", "test_cfg", "init_cfg", "with_cp")


def model_differences(config: dict, checkpoint: dict) -> list[str]:
    """One line per differing setting, like ``backbone.patch_size: config 4, checkpoint 2``.

    A setting that one side leaves out counts as its class's default. Losses and training or test settings are not
    compared.
    """
    found = differences([config, checkpoint], ignored=_is_irrelevant, setting=_setting)
    return [f"{path}: config {shown(ours)}, checkpoint {shown(theirs)}" for path, (ours, theirs) in found.items()]


def _is_irrelevant(key: str) -> bool:
    return key in _IRRELEVANT or key.startswith("loss_")


def _setting(cfg: dict, key: str) -> object:
    if key in cfg or "type" not in cfg:
        return cfg.get(key)
    classes = registered(cfg["type"])  # MODELS.get would import the module that a dotted name begins with
    for base in getattr(classes[0], "__mro__", ()) if classes else ():
        parameter = inspect.signature(base.__init__).parameters.get(key)
        if parameter is not None:
            return None if parameter.default is inspect.Parameter.empty else parameter.default
    return None


def differences_to_parent(cfg: Config) -> list[str]:
    """What a config, with its options, changes of the files that its ``_base_`` names; one sentence at least.

    Both sides are complete, so that a setting counts whatever place it was written to.
    """
    path = Path(cfg.filename) if cfg.filename else None
    files_of = private("mmengine.config.Config._get_base_files")
    path_of = private("mmengine.config.Config._get_cfg_path")
    if files_of is None or path_of is None:
        return ["is not compared with its _base_: this version of mmengine does not tell it"]
    bases = files_of(str(path)) if path and path.is_file() else []
    if not bases:
        return ["has no _base_ to differ from"]
    parents = Config({})
    for base in bases:
        parents.merge_from_dict(Config.fromfile(path_of(base, str(path))[0]).to_dict())
    ours = copy.deepcopy(cfg)
    resolve(ours, get_device())
    with suppress(InputError):  # fragments may not make a whole config
        complete_config(parents)
        resolve(parents, get_device())
    drop_variables(parents)
    found = [line for line in changes(parents.to_dict(), ours.to_dict()) if not _is_said_elsewhere(line)]
    listed = found[:MOST_DIFFERENCES]
    if len(found) > len(listed):
        listed.append(f"and {len(found) - len(listed)} settings more")
    return [f"from {', '.join(bases)}{'' if found else ': nothing'}", *listed]


def _is_said_elsewhere(line: str) -> bool:
    """Whether a setting follows from another one, or is a path of this run."""
    setting = line.split(":")[0]
    is_shared = ".dataset." in setting and setting.split(".dataset.")[1].split(".")[0] in SHARED
    return is_shared or setting in _DECIDED_AT_START
