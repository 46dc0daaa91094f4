"""Checkpoints that carry their config and execute nothing when read.

mmengine's loader falls back to full unpickling and keeps the config as Python text. Here a file is read with
``weights_only=True``, the config in it is JSON, and whatever builds from it may use registered names only.
"""

from __future__ import annotations

import collections
import json
import os
import pickle
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer

from etram_mmdet.events.errors import InputError

CONFIG_KEY = "etram_mmdet_config"
# What may stand in a checkpoint beside tensors and plain containers; none of these runs code of a file.
_ALLOWED = [
    np.ndarray,
    np.dtype,
    np._core.multiarray._reconstruct,
    np._core.multiarray.scalar,
    *(type(np.dtype(t)) for t in ("f4", "f8", "i4", "i8", "u1", "bool")),
    collections.OrderedDict,
    collections.defaultdict,
]


def load_checkpoint_file(path: str | Path, map_location: str = "cpu") -> dict:
    """Read a checkpoint without executing what it contains.

    Raises:
        InputError: when the file is missing, damaged, not a checkpoint or needs more than :data:`_ALLOWED`.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint")
    try:
        with torch.serialization.safe_globals(_ALLOWED):
            checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        lines = str(error).splitlines()
        what = next((line for line in lines if "Unsupported" in line), lines[0]).split(". ")[0].strip()
        raise InputError(
            f"{path}: refused, because reading it needs more than tensors and plain values ({what}). "
            "A checkpoint of RVT or eTraM is converted with tools/convert_rvt.py"
        ) from error
    except (RuntimeError, EOFError, OSError, KeyError) as error:
        raise InputError(f"{path}: not a readable checkpoint ({_first_line(error)}); copy it again") from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise InputError(f"{path}: holds no state_dict, so it is not a checkpoint of this project")
    return checkpoint


def config_to_json(cfg: Config) -> str:
    """The config as data; tuples become lists."""
    return json.dumps(cfg.to_dict(), default=str)


def config_of(checkpoint: dict, path: str | Path) -> Config:
    """The config that a checkpoint carries.

    Raises:
        InputError: when it carries none, or one that names anything but registered classes.
    """
    text = checkpoint.get("meta", {}).get(CONFIG_KEY)
    if text is None:
        raise InputError(f"{path}: carries no config; give one: tools/test.py CONFIG {path}")
    config = json.loads(text)
    _refuse_import_paths(config, path)
    config.pop("custom_imports", None)  # names of modules to import: ours is imported already
    return Config(config)


def _refuse_import_paths(node: object, path: str | Path) -> None:
    """A ``type`` with a dot would make mmengine import and call whatever it names."""
    if isinstance(node, dict):
        name = node.get("type", "")
        if (isinstance(name, str) and "." in name) or "_scope_" in node:
            raise InputError(f"{path}: refused, its config asks for {name!r} instead of a registered class")
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        _refuse_import_paths(child, path)


def save_atomically(checkpoint: dict, path: str | Path) -> None:
    """Write next to ``path`` and rename, so that a killed process leaves the old file or the new one."""
    part = Path(f"{path}.part")
    torch.save(checkpoint, part)
    os.replace(part, path)


def make_plain(checkpoint: dict, cfg: Config) -> None:
    """Replace what mmengine would pickle, in place: the config becomes JSON, logged histories become tensors."""
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
    # OneCycleLR keeps a bound method among its numbers; loading leaves the fresh scheduler's own in place.
    checkpoint["param_schedulers"] = [
        {key: value for key, value in state.items() if not callable(value)}
        for state in checkpoint.get("param_schedulers", [])
    ]
    hub["runtime_info"] = {name: value for name, value in hub["runtime_info"].items() if _is_plain(value)}
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
    return value is None or isinstance(value, int | float | str)


def restore_histories(checkpoint: dict) -> None:
    """Undo :func:`make_plain` for the logged histories, in place."""
    hub = checkpoint.get("message_hub", {})
    hub["log_scalars"] = {
        name: HistoryBuffer(h["values"].tolist(), h["counts"].tolist(), h["max_length"]) if isinstance(h, dict) else h
        for name, h in hub.get("log_scalars", {}).items()
    }


_TENSOR_BUILDERS = {
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
    ("collections", "OrderedDict"),
}


class _TensorsOnly(pickle.Unpickler):
    """Unpickler that rebuilds tensors and puts an inert object in the place of everything else."""

    def find_class(self, module: str, name: str) -> type:
        storage = module == "torch" and name.endswith("Storage")
        if storage or (module, name) in _TENSOR_BUILDERS:
            return super().find_class(module, name)
        return _Inert


class _Inert:
    """Accepts whatever a pickle would do with an object and does nothing."""

    def __init__(self, *args: object, **kwargs: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...

    def __setitem__(self, key: object, value: object) -> None: ...

    def append(self, item: object) -> None: ...

    def extend(self, items: object) -> None: ...


def load_foreign_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """The ``state_dict`` of any PyTorch or Lightning checkpoint; objects in it are not built, code is not run.

    Raises:
        InputError: when the file is missing, damaged or holds no ``state_dict``.
    """

    class Module:
        Unpickler = _TensorsOnly
        load = staticmethod(lambda file, **kwargs: _TensorsOnly(file, **kwargs).load())
        __name__ = "tensors_only"

    if not Path(path).is_file():
        raise InputError(f"{path}: no such checkpoint")
    try:
        checkpoint = torch.load(path, map_location="cpu", pickle_module=Module, weights_only=False)
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: not a readable checkpoint ({_first_line(error)}); download it again") from error
    weights = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, dict) else {}
    tensors = {name: value for name, value in weights.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise InputError(f"{path}: holds no state_dict of tensors")
    return tensors


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
