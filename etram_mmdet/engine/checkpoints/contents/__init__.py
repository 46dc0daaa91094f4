"""Keys that are read from a checkpoint, and the type that each must have.

mmengine and PyTorch trust a checkpoint. mmengine evaluates ``meta.config`` as Python and removes
the file that ``best_ckpt`` names; PyTorch sets attributes of schedulers and optimizers from
whatever it finds. So only the keys listed here are passed on.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePath

from mmengine.logging import print_log

from etram_mmdet.engine.checkpoints.contents.checks import (
    BASE_SETTINGS,
    DURATION,
    FLAGS,
    HISTORIES,
    JSON,
    METAINFO,
    NUMBER,
    OPTIMIZER_STATE,
    OWN_STATES,
    PARAM_GROUPS,
    PATH,
    SCHEDULERS,
    SEED,
    SENSOR,
    SETTINGS,
    SPANS,
    STEP,
    STEPS,
    TENSORS,
    TEXT,
    Check,
)
from etram_mmdet.utils.errors import InputError

CONFIG_KEY = "etram_mmdet_config"
STEP_KEY = "step_us"  # from the end of one window of the training data to that of the next
SENSOR_KEY = "sensor_px"  # width and height of the sensor that the training data come from
DATA_KEY = "train_data"  # digest of the training data
DOMAIN_KEY = "trained_on"  # result of domain_of for the training data
PROCESSES_KEY = "processes"  # number of processes of the training
OWN_STATES_KEY = "own_states"  # of each process, see own_state.py

_KNOWN_META = {
    "epoch": STEP,
    "iter": STEP,
    "seed": SEED,
    "experiment_name": TEXT,
    "time": TEXT,
    "mmengine_version": TEXT,
    "dataset_meta": METAINFO,
    STEP_KEY: DURATION,
    SENSOR_KEY: SENSOR,
    DOMAIN_KEY: SPANS,
    DATA_KEY: TEXT,
    PROCESSES_KEY: STEP,
    CONFIG_KEY: JSON,
}
_RUNTIME_INFO = {
    "seed": SEED,
    "experiment_name": TEXT,
    "mmengine_version": TEXT,
    "loop_stage": TEXT,
    "epoch": STEP,
    "iter": STEP,
    "max_epochs": STEP,
    "max_iters": STEP,
    "dataset_meta": METAINFO,
    "eta": NUMBER,
    "run": TEXT,
    "keep_ckpt_ids": STEPS,
    "last_ckpt": PATH,
    "best_ckpt": PATH,
    "best_score": NUMBER,
}
_KNOWN_KEYS: dict[str, Check | dict] = {
    "meta": _KNOWN_META,
    "state_dict": TENSORS,
    "ema_state_dict": TENSORS,
    "message_hub": {
        "log_scalars": HISTORIES,
        "runtime_info": _RUNTIME_INFO,
        "resumed_keys": FLAGS,
    },
    "optimizer": {
        "state": OPTIMIZER_STATE,
        "param_groups": PARAM_GROUPS,
        "loss_scaler": SETTINGS,
        "base_param_settings": BASE_SETTINGS,
    },
    "param_schedulers": SCHEDULERS,
    OWN_STATES_KEY: OWN_STATES,
}
# mmengine keeps one of each for every measure that `save_best` names.
_NUMBERED = {"best_ckpt_": PATH, "best_score_": NUMBER}


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
    kept = _known(content, _KNOWN_KEYS, "", path, left_out)
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


def _check_of(key: object, keys: Mapping) -> Check | dict | None:
    if type(key) is not str:
        return None
    numbered = _NUMBERED if keys is _RUNTIME_INFO else {}
    return keys.get(key) or next(
        (c for start, c in numbered.items() if key.startswith(start)), None
    )


def _known(node: Mapping, keys: Mapping, place: str, path: str | Path, left_out: list[str]) -> dict:
    kept = {}
    for key, value in node.items():
        check = _check_of(key, keys)
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
        elif check.holds(value):
            # not the reader's own kind of dict
            kept[key] = dict(value) if isinstance(value, dict) else value
        else:
            raise InputError(
                f"{path}: {where} is not valid, expected {check.expected}; copy the file again"
            )
    return kept
