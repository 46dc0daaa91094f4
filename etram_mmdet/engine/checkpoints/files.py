"""Write checkpoints of tensors and plain values only, with the config as JSON."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer

from etram_mmdet.engine.checkpoints.contents import CONFIG_KEY, name_files
from etram_mmdet.engine.checkpoints.tensor_file import read_tensor_file
from etram_mmdet.engine.runner.histories import thin
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import atomic_write


def config_to_json(cfg: Config) -> str:
    """A config as JSON; tuples become lists.

    Args:
        cfg: a config.
    """
    return json.dumps(cfg.to_dict(), default=str)


def save_atomically(checkpoint: dict, path: str | Path) -> None:
    """Atomic file writing of a checkpoint (temporary file, then rename).

    A killed process leaves the old file or the new one.

    Args:
        checkpoint: its content.
        path: the file.

    Raises:
        InputError: ``path`` cannot be written.
    """
    content = io.BytesIO()  # PyTorch does not say why it cannot write a file
    torch.save(checkpoint, content)
    with atomic_write(Path(path), content.tell()) as aside:
        aside.write_bytes(content.getbuffer())


def make_plain(checkpoint: dict, cfg: Config) -> None:
    """Replace everything in a checkpoint that mmengine would pickle, in place.

    The config becomes JSON, logged histories become tensors, and paths of checkpoints become file
    names.

    Args:
        checkpoint: as mmengine is about to save it.
        cfg: the config of the run.
    """
    checkpoint["meta"].pop("cfg", None)
    checkpoint["meta"][CONFIG_KEY] = config_to_json(cfg)
    hub = checkpoint["message_hub"]
    hub["log_scalars"] = {
        name: dict(
            values=torch.as_tensor(np.asarray(buffer.data[0], np.float64)),
            counts=torch.as_tensor(np.asarray(buffer.data[1], np.int64)),
            max_length=buffer.max_length,
        )
        for name, buffer in hub["log_scalars"].items()
    }
    # OneCycleLR keeps a bound method among its numbers; after loading, the new scheduler keeps its
    # own.
    if "param_schedulers" in checkpoint:
        checkpoint["param_schedulers"] = [
            {key: value for key, value in each.items() if not callable(value)}
            for each in checkpoint["param_schedulers"]
        ]
    hub["runtime_info"] = {
        key: _python_number(value)
        for key, value in hub["runtime_info"].items()
        if key != "cfg" and _is_plain(value)
    }
    name_files(hub["runtime_info"])
    hub["resumed_keys"] = {
        name: flag
        for name, flag in hub["resumed_keys"].items()
        if name in hub["runtime_info"] or name in hub["log_scalars"]
    }


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    return value is None or isinstance(value, int | float | str | np.number)


def _python_number(value: object) -> object:
    """A number of NumPy as a number of Python; other values unchanged."""
    return value.item() if isinstance(value, np.generic) else value


def restore_histories(checkpoint: dict) -> None:
    """Undo :func:`make_plain` for the logged histories, in place.

    Histories of evaluations are dropped: mmengine logs every one that it holds, even if it is no
    longer measured. Long histories are thinned, as in a training that was never stopped.

    Args:
        checkpoint: from :func:`load_checkpoint_file`.
    """
    hub = checkpoint.get("message_hub", {})
    hub["log_scalars"] = {
        name: HistoryBuffer(h["values"].tolist(), h["counts"].tolist(), h["max_length"])
        for name, h in hub.get("log_scalars", {}).items()
        if not name.startswith(("val/", "test/"))
    }
    thin(hub["log_scalars"])
    held = {*hub["log_scalars"], *hub.get("runtime_info", {})}
    hub["resumed_keys"] = {
        name: flag for name, flag in hub.get("resumed_keys", {}).items() if name in held
    }


def load_foreign_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """The ``state_dict`` of any PyTorch or Lightning checkpoint.

    Objects in the file are not built, and no code in it is run.

    Args:
        path: the file.

    Raises:
        InputError: the file is missing, damaged or holds no ``state_dict``.
    """
    checkpoint = read_tensor_file(path, unknown="ignore")
    weights = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, dict) else {}
    if not isinstance(weights, dict):
        weights = {}
    tensors = {
        k: value
        for k, value in weights.items()
        if isinstance(k, str) and isinstance(value, torch.Tensor)
    }
    if not tensors:
        raise InputError(f"{path}: holds no state_dict of tensors")
    return tensors
