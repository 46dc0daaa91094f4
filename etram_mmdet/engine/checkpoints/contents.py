"""Keys that are read from a checkpoint, and the type that each must have.

mmengine and PyTorch trust a checkpoint. mmengine evaluates ``meta.config`` as Python and removes
the file that ``best_ckpt`` names; PyTorch sets attributes of schedulers and optimizers from
whatever it finds. So only the keys listed here are passed on.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath

from mmengine.logging import print_log
from torch import Tensor

from etram_mmdet.events.limits import MAX_SIDE_PX
from etram_mmdet.utils.errors import InputError

CONFIG_KEY = "etram_mmdet_config"
STEP_KEY = "step_us"  # from the end of one window of the training data to that of the next
SENSOR_KEY = "sensor_px"  # width and height of the sensor that the training data come from
DATA_KEY = "train_data"  # digest of the training data
DOMAIN_KEY = "trained_on"  # result of domain_of for the training data
PROCESSES_KEY = "processes"  # number of processes of the training
OWN_STATES_KEY = "own_states"  # of each process, see own_state.py
MAX_STEP = 2**40
MAX_DURATION_US = 1_000_000_000
MAX_TEXT = 200
MAX_PATH = 4096

Check = Callable[[object], bool]


def _is_step(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_STEP


def _is_duration(value: object) -> bool:
    return type(value) is int and 0 < value <= MAX_DURATION_US


def _is_sensor(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(type(n) is int and 0 < n <= MAX_SIDE_PX for n in value)
    )


def _is_seed(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**32


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


def _is_spans(value: object) -> bool:
    """Pairs of finite numbers by name."""
    return isinstance(value, dict) and all(
        _is_text(name)
        and isinstance(span, list | tuple)
        and len(span) == 2
        and all(map(_is_finite, span))
        for name, span in value.items()
    )


def _is_finite(value: object) -> bool:
    return _is_number(value) and math.isfinite(value)


def _is_text(value: object) -> bool:
    return type(value) is str and len(value) <= MAX_TEXT


def _is_path(value: object) -> bool:
    """Whether it is the path of a checkpoint.

    The first version wrote whole paths, which are as long as folders are deep.
    """
    return type(value) is str and len(value) <= MAX_PATH


def _is_json(value: object) -> bool:
    return type(value) is str


def _is_steps(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_step, value))


def _is_tensor(value: object) -> bool:
    """Whether it is a tensor whose numbers are all in the file, so that a copy is no larger."""
    return (
        isinstance(value, Tensor)
        and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    )


def _is_row(value: object) -> bool:
    return _is_tensor(value) and value.dim() == 1


def _is_tensors(value: object) -> bool:
    return isinstance(value, dict) and all(
        _is_text(name) and _is_tensor(item) for name, item in value.items()
    )


def _is_setting(value: object) -> bool:
    """A number, a word, a flag, nothing, or a list of such."""
    if isinstance(value, list | tuple):
        return all(item is None or type(item) in (bool, int, float, str) for item in value)
    return value is None or type(value) in (bool, int, float, str)


def _is_settings(value: object) -> bool:
    return isinstance(value, dict) and all(
        _is_text(key) and _is_setting(item) for key, item in value.items()
    )


def _is_metainfo(value: object) -> bool:
    """Class names and their colours."""
    if not isinstance(value, dict) or not set(value) <= {"classes", "palette"}:
        return False
    colours = value.get("palette", ())
    names = value.get("classes", ())
    rows = isinstance(colours, list | tuple) and all(
        isinstance(row, list | tuple) for row in colours
    )
    return (
        isinstance(names, list | tuple)
        and all(map(_is_text, names))
        and rows
        and all(map(_is_setting, colours))
    )


def _is_history(value: object) -> bool:
    if not isinstance(value, dict) or set(value) != {"values", "counts", "max_length"}:
        return False
    if not (_is_row(value["values"]) and _is_row(value["counts"])):
        return False
    return (
        len(value["values"]) == len(value["counts"])
        and _is_step(value["max_length"])
        and value["max_length"] > 0
    )


def _is_histories(value: object) -> bool:
    """Logged numbers by name, each with memory of its own, so that a copy of all is no larger."""
    if not isinstance(value, dict) or not all(
        _is_text(name) and _is_history(item) for name, item in value.items()
    ):
        return False
    places = [
        item[part].data_ptr()
        for item in value.values()
        for part in ("values", "counts")
        if len(item[part])
    ]
    return len(places) == len(set(places))


def _is_flags(value: object) -> bool:
    return isinstance(value, dict) and all(
        _is_text(key) and type(item) is bool for key, item in value.items()
    )


def _is_optimizer_state(value: object) -> bool:
    """For each parameter, by number, its moments and step count."""
    return isinstance(value, dict) and all(
        _is_step(number)
        and isinstance(each, dict)
        and all(_is_tensor(v) or _is_setting(v) for v in each.values())
        for number, each in value.items()
    )


def _is_param_groups(value: object) -> bool:
    return isinstance(value, list) and all(
        _is_settings(group) and _is_steps(group.get("params")) for group in value
    )


def _is_base_settings(value: object) -> bool:
    return isinstance(value, dict) and all(
        _is_setting(item)
        or (isinstance(item, list) and all(map(_is_tensor, item)))
        or _is_tensor(item)
        for item in value.values()
    )


def _is_counts(value: object) -> bool:
    return isinstance(value, dict) and all(
        _is_step(key) and _is_step(number) for key, number in value.items()
    )


def _is_schedulers(value: object) -> bool:
    """Settings, lists of settings, and the milestones of ``MultiStepLR``."""
    return isinstance(value, list) and all(
        isinstance(each, dict)
        and all(
            _is_setting(v) or _is_counts(v) or (isinstance(v, list) and all(map(_is_settings, v)))
            for v in each.values()
        )
        for each in value
    )


def _is_stages(value: object) -> bool:
    """State of one lane: for each stage some maps (1, C, H, W)."""
    return isinstance(value, list | tuple) and all(
        isinstance(stage, list | tuple)
        and all(
            _is_tensor(row) and row.dim() == 4 and len(row) == 1 and row.is_floating_point()
            for row in stage
        )
        for stage in value
    )


def _is_lanes(value: object) -> bool:
    return isinstance(value, dict) and all(
        _is_step(lane) and _is_stages(stages) for lane, stages in value.items()
    )


def _is_own_states(value: object) -> bool:
    """Whether it holds lanes, buffers and gradients of each process, and nothing else."""
    return isinstance(value, list) and all(
        isinstance(state, dict)
        and set(state) == {"lanes", "buffers", "gradients"}
        and _is_lanes(state["lanes"])
        and _is_tensors(state["buffers"])
        and _is_tensors(state["gradients"])
        for state in value
    )


_META = {
    "epoch": _is_step,
    "iter": _is_step,
    "seed": _is_seed,
    "experiment_name": _is_text,
    "time": _is_text,
    "mmengine_version": _is_text,
    "dataset_meta": _is_metainfo,
    STEP_KEY: _is_duration,
    SENSOR_KEY: _is_sensor,
    DOMAIN_KEY: _is_spans,
    DATA_KEY: _is_text,
    PROCESSES_KEY: _is_step,
    CONFIG_KEY: _is_json,
}
_RUNTIME_INFO = {
    "seed": _is_seed,
    "experiment_name": _is_text,
    "mmengine_version": _is_text,
    "loop_stage": _is_text,
    "epoch": _is_step,
    "iter": _is_step,
    "max_epochs": _is_step,
    "max_iters": _is_step,
    "dataset_meta": _is_metainfo,
    "eta": _is_number,
    "run": _is_text,
    "keep_ckpt_ids": _is_steps,
    "last_ckpt": _is_path,
    "best_ckpt": _is_path,
    "best_score": _is_number,
}
_KEYS: dict[str, Check | dict] = {
    "meta": _META,
    "state_dict": _is_tensors,
    "ema_state_dict": _is_tensors,
    "message_hub": {
        "log_scalars": _is_histories,
        "runtime_info": _RUNTIME_INFO,
        "resumed_keys": _is_flags,
    },
    "optimizer": {
        "state": _is_optimizer_state,
        "param_groups": _is_param_groups,
        "loss_scaler": _is_settings,
        "base_param_settings": _is_base_settings,
    },
    "param_schedulers": _is_schedulers,
    OWN_STATES_KEY: _is_own_states,
}
# mmengine keeps one of each for every measure that `save_best` names.
_NUMBERED = {"best_ckpt_": _is_path, "best_score_": _is_number}


def known_contents(content: object, path: str | Path) -> dict:
    """The part of a checkpoint that this package reads; unknown keys are logged and left out.

    ``last_ckpt``, ``best_ckpt`` and similar paths become file names, without the folder before
    them.

    Args:
        content: from :func:`read_tensor_file`.
        path: the checkpoint's file, for messages.

    Raises:
        InputError: ``content`` is no checkpoint, or a value has a wrong type or is out of range.
    """
    if not isinstance(content, dict) or "state_dict" not in content:
        raise InputError(f"{path}: holds no state_dict, so it is not a checkpoint of this project")
    left_out: list[str] = []
    kept = _known(content, _KEYS, "", path, left_out)
    if left_out:
        shown = ", ".join(left_out[:5]) + (", ..." if len(left_out) > 5 else "")
        print_log(f"{path}: ignored the unknown keys {shown}", "current", logging.WARNING)
    name_files(kept.get("message_hub", {}).get("runtime_info", {}))
    for scheduler in kept.get("param_schedulers", []):
        scheduler.update(
            {key: Counter(value) for key, value in scheduler.items() if isinstance(value, dict)}
        )
    return kept


def name_files(runtime_info: dict) -> None:
    """Shorten paths of checkpoints, which mmengine remembers, to their file names, in place.

    Args:
        runtime_info: of mmengine's message hub.
    """
    for key, value in runtime_info.items():
        if (key == "last_ckpt" or key.startswith("best_ckpt")) and value is not None:
            runtime_info[key] = PurePath(value).name


def _known(node: Mapping, keys: Mapping, place: str, path: str | Path, left_out: list[str]) -> dict:
    kept = {}
    for key, value in node.items():
        check = keys.get(key) if type(key) is str else None
        if check is None and keys is _RUNTIME_INFO:
            check = next(
                (c for prefix, c in _NUMBERED.items() if str(key).startswith(prefix)), None
            )
        where = f"{place}{key:.60}" if type(key) is str else f"{place}(a {type(key).__name__})"
        if check is None:
            left_out.append(where)
        elif isinstance(check, dict):
            if not isinstance(value, dict):
                raise InputError(
                    f"{path}: {where} is a {type(value).__name__}, expected a dict; copy the file "
                    "again"
                )
            kept[key] = _known(value, check, f"{where}.", path, left_out)
        elif check(value):
            # not the reader's own kind of dict
            kept[key] = dict(value) if isinstance(value, dict) else value
        else:
            expected = check.__name__.removeprefix("_is_").replace("_", " ")
            raise InputError(
                f"{path}: {where} is not valid, expected {expected}; copy the file again"
            )
    return kept
