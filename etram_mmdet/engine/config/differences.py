"""Settings in which two configs, or two models, differ."""

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
from etram_mmdet.engine.config.epochs import count_in_steps, counts_epochs
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
    """One line per differing setting, such as ``backbone.patch_size: config 4, checkpoint 2``.

    A setting that one side leaves out counts as its class's default. Losses and settings of
    training and test are not compared.

    Args:
        config: ``model`` of the given config, as plain data.
        checkpoint: ``model`` of the checkpoint's config.
    """
    found = differences([config, checkpoint], ignored=_is_irrelevant, setting=_setting)
    return [
        f"{path}: config {shown(ours)}, checkpoint {shown(theirs)}"
        for path, (ours, theirs) in found.items()
    ]


def _is_irrelevant(key: str) -> bool:
    return key in _IRRELEVANT or key.startswith("loss_")


def _setting(cfg: dict, key: str) -> object:
    if key in cfg or "type" not in cfg:
        return cfg.get(key)
    # MODELS.get would import the module that a dotted name begins with
    classes = registered(cfg["type"])
    for base in getattr(classes[0], "__mro__", ()) if classes else ():
        parameter = inspect.signature(base.__init__).parameters.get(key)
        if parameter is not None:
            return None if parameter.default is inspect.Parameter.empty else parameter.default
    return None


# They say how a step fits the time and the memory, where data lie, or how the result is evaluated.
_FREE = (
    "num_workers persistent_workers prefetch_factor pin_memory timeout data_root with_cp "
    "micro_batch test_cfg init_cfg"
).split()
# Hooks that only watch and write, or are added to every config.
_WATCHING = """
    ResultsCsvHook EvaluationReportHook RunRecordHook RunSummaryHook FiniteLossHook DataWaitHook
    EventVisualizationHook ClassCheckHook FitToDataHook PlainCheckpointHook StopOnSignalHook
    TrainedDomainHook DetVisualizationHook MemoryProfilerHook
""".split()
# What completion fills in; a checkpoint of version 0.1 may leave it out.
_FILLED = (
    "num_classes in_channels out_channels num_outs strides feat_channels size_divisor lr eta_max "
    "total_steps"
).split()


def training_differences(stored: dict, given: dict, has_gpu: bool) -> dict[str, list]:
    """Settings of a training in which two complete configs differ.

    Args:
        stored: config of a checkpoint, as plain data.
        given: config of the run that is to go on from it.
        has_gpu: whether the config chooses the precision; on a CPU it is always float32.

    Returns:
        The stored and the given value, by dotted path.
    """
    sides = [_training(stored, has_gpu), _training(given, has_gpu)]
    found = differences(sides, ignored=_FREE.__contains__, setting=_training_setting)
    if not any(path.startswith("param_scheduler") for path in found):
        found.pop("train_cfg.max_iters", None)
    return {path: values for path, values in found.items() if not _follows(path, values, found)}


def _training(config: dict, has_gpu: bool) -> dict:
    """The part of a config that decides which weights a training gives."""
    kept = {
        key: config.get(key) for key in ("base_lr", "train_dataloader", "model", "param_scheduler")
    }
    wrapper = config.get("optim_wrapper") or {}
    precision = () if has_gpu else ("type", "dtype", "loss_scale")
    kept["optim_wrapper"] = {key: value for key, value in wrapper.items() if key not in precision}
    kept["train_cfg"] = dict(max_iters=(config.get("train_cfg") or {}).get("max_iters"))
    kept["custom_hooks"] = [
        hook for hook in config.get("custom_hooks") or [] if hook.get("type") not in _WATCHING
    ]
    return kept


def _training_setting(cfg: dict, key: str) -> object:
    """The value of a setting; its class's default if it is missing and completion never adds it."""
    return cfg.get(key) if key in _FILLED or key in SHARED else _setting(cfg, key)


def _follows(path: str, values: list, found: dict) -> bool:
    """Whether a difference only follows from another one, or from an older checkpoint.

    An older checkpoint was written before this setting was filled in.
    """
    key = path.split(".")[-1]
    if values[0] is None and (key in _FILLED or key in SHARED):
        return True
    return key == "total_steps" and "train_cfg.max_iters" in found


def differences_to_parent(cfg: Config) -> list[str]:
    """What a config and its options change in the files of its ``_base_``, in sentences.

    There is at least one sentence. Both sides are complete, so that a setting counts wherever it
    was written.

    Args:
        cfg: a complete config.
    """
    path = Path(cfg.filename) if cfg.filename else None
    files_of = private("mmengine.config.Config._get_base_files")
    path_of = private("mmengine.config.Config._get_cfg_path")
    if files_of is None or path_of is None:
        return ["not compared with its _base_: this version of mmengine does not give the files"]
    bases = files_of(str(path)) if path and path.is_file() else []
    if not bases:
        return ["has no _base_ to compare with"]
    parents = Config({})
    for base in bases:
        parents.merge_from_dict(Config.fromfile(path_of(base, str(path))[0]).to_dict())
    ours = copy.deepcopy(cfg)
    resolve(ours, get_device())
    with suppress(InputError):  # fragments may not make a whole config
        complete_config(parents)
        if counts_epochs(parents.get("train_cfg") or {}) and not counts_epochs(ours.train_cfg):
            length = ours.train_cfg.max_iters // ours.train_cfg.get("max_epochs", 1)
            count_in_steps(parents, length)
        resolve(parents, get_device())
    drop_variables(parents)
    found = [
        line for line in changes(parents.to_dict(), ours.to_dict()) if not _is_said_elsewhere(line)
    ]
    listed = found[:MOST_DIFFERENCES]
    if len(found) > len(listed):
        listed.append(f"and {len(found) - len(listed)} more settings")
    return [f"from {', '.join(bases)}{'' if found else ': nothing'}", *listed]


def _is_said_elsewhere(line: str) -> bool:
    """Whether a setting follows from another one, or is a path of this run."""
    setting = line.split(":")[0]
    is_shared = ".dataset." in setting and setting.split(".dataset.")[1].split(".")[0] in SHARED
    return is_shared or setting in _DECIDED_AT_START
