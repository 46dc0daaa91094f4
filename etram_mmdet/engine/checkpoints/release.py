"""Make a small checkpoint to publish: only the parts that detection needs."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import torch

from etram_mmdet.engine.checkpoints.carried_config import evaluation_keys, stored_config
from etram_mmdet.engine.checkpoints.contents import (
    CONFIG_KEY,
    DATA_KEY,
    DOMAIN_KEY,
    SENSOR_KEY,
    STEP_KEY,
)
from etram_mmdet.engine.checkpoints.files import save_atomically
from etram_mmdet.engine.checkpoints.opening import load_checkpoint_file

_KEPT_META = ("iter", "seed", "dataset_meta", STEP_KEY, SENSOR_KEY, DOMAIN_KEY, DATA_KEY)
DIGITS = 16  # of a digest, as people compare it


def release(source: str | Path, target: str | Path) -> str:
    """Write the weights of a checkpoint, its classes and the config of its evaluation.

    Optimizer, recurrent states, logs and the settings of the training are left out. Kernels and
    matrices are stored as float16; norms and biases, which are few, are not changed.

    Args:
        source: a checkpoint, or a work folder, of which the newest one is used.
        target: the new file.

    Returns:
        The :func:`digest` of the new file.

    Raises:
        InputError: ``source`` is no checkpoint that carries its config, or ``target`` cannot be
            written.
    """
    content = load_checkpoint_file(source)
    meta = {key: content["meta"][key] for key in _KEPT_META if key in content["meta"]}
    meta[CONFIG_KEY] = json.dumps(evaluation_keys(stored_config(content, source)))
    weights = {name: _halved(tensor) for name, tensor in content["state_dict"].items()}
    save_atomically(dict(meta=meta, state_dict=weights), target)
    return digest(target)


def digest(path: str | Path) -> str:
    """The first `DIGITS` hexadecimal digits of a file's SHA-256.

    Args:
        path: the file.
    """
    return sha256(Path(path).read_bytes()).hexdigest()[:DIGITS]


def _halved(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.half() if tensor.is_floating_point() and tensor.dim() > 1 else tensor.clone()
